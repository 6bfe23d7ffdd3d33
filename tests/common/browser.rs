//! A headless Chromium that goes on running, over the pipe of its debugging protocol.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DEADLINE, Program};

/// One page, and what happened to it.
pub struct Browser {
    _program: Program,
    _profile: TempDir,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    events: Vec<Value>,
}

impl Browser {
    /// Starts it with an empty page of that width and height.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It reads commands from descriptor 3 and writes to 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .args(["chromium", "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--remote-debugging-pipe", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-quic"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Killed, it would leave its socket in a folder of its own.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut program = Program::spawn(command);
        let commands = program.child.stdin.take().unwrap();
        let output = program.child.stdout.take().unwrap();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { break };
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            _program: program,
            _profile: profile,
            commands,
            messages,
            last: 0,
            session: None,
            events: Vec::new(),
        };
        browser.open(width, height);
        browser
    }

    fn open(&mut self, width: u32, height: u32) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", attach);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Network", "Log", "Runtime"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.resize(width, height);
        self.call("Emulation.setScrollbarsHidden", json!({"hidden": true}));
    }

    /// Gives the page another width and height.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// What reaches beyond the page's width, or is reached by scrolling sideways alone.
    pub fn hidden(&mut self) -> Value {
        self.evaluate(
            "[document.documentElement, ...document.querySelectorAll('.wide')]
                .filter((part) => part.scrollWidth > part.clientWidth)
                .map((part) => `${part.scrollWidth} > ${part.clientWidth}: ${part.textContent}`)",
        )
    }

    /// Sends a command and waits for its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        self.commands.write_all(&text).unwrap();
        loop {
            let message = self.messages.recv_timeout(DEADLINE);
            let message = message.expect("chromium must be installed and answer");
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Goes to `url`.
    #[track_caller]
    pub fn go(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url}));
        assert!(went["errorText"].is_null(), "{went}");
    }

    /// What an expression is in the page.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    /// Prefers `light` or `dark` from now on.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A picture of the page, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    /// All addresses that were asked for so far.
    pub fn requests(&self) -> Vec<String> {
        let of = |event: &Value| Some(event["params"]["request"]["url"].as_str()?.to_owned());
        self.told("Network.requestWillBeSent")
            .filter_map(of)
            .collect()
    }

    /// What the page complained of so far.
    pub fn complaints(&self) -> Vec<String> {
        let kinds = [
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
        ];
        let told = kinds.into_iter().flat_map(|kind| self.told(kind));
        told.map(ToString::to_string).collect()
    }

    fn told(&self, method: &'static str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["method"] == method)
    }
}
