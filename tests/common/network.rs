//! Network namespaces without names, which the kernel removes with the last process that has
//! them open. They need root and ip(8).
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::Program;

/// What has to be run by one thread that lives as long as its namespace.
type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with its loopback up.
pub struct Namespace {
    handle: File,
    /// The thread that starts processes: the kernel ends them when it ends.
    starter: Sender<Job>,
}

impl Namespace {
    /// # Errors
    /// Where this user may not make any, or not change its settings.
    pub fn new() -> io::Result<Self> {
        let (starter, jobs) = channel::<Job>();
        let (sender, handle) = channel();
        thread::spawn(move || {
            let handle = leave_network().and_then(|()| File::open("/proc/thread-self/ns/net"));
            let worked = handle.is_ok();
            let _ = sender.send(handle);
            if worked {
                jobs.iter().for_each(|job| job());
            }
        });
        let handle = handle.recv().expect("the thread answers")?;
        let namespace = Self { handle, starter };
        namespace.ip("link set lo up");
        // An address is there at once, and not after a second of looking for another host
        // that has it.
        namespace.try_set("ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Where programs find it.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }

    /// Runs it on a thread in this namespace. Threads that it starts stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.handle.as_fd(), network).expect("to enter it");
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a program in it, with its standard error captured.
    pub fn start(&self, command: Command) -> Program {
        let (sender, started) = channel();
        let job = move || drop(sender.send(Program::spawn(command)));
        self.starter.send(Box::new(job)).expect("the thread lives");
        started.recv().expect("the program starts")
    }

    /// Sets kernel parameters, named as below `/proc/sys/net`.
    pub fn set(&self, parameters: &[(&str, &str)]) {
        for (name, value) in parameters {
            let set = self.try_set(name, value);
            set.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn try_set(&self, name: &str, value: &str) -> io::Result<()> {
        let file = format!("/proc/sys/net/{name}");
        let set = self.run(|| fs::write(&file, value));
        set.map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
    }

    /// Runs lines of `ip -batch`, all of which must work.
    pub fn ip(&self, lines: &str) {
        let done = self.feed(&["ip", "-batch", "-"], lines);
        done.unwrap_or_else(|error| panic!("{error}: {lines}"));
    }

    /// Runs a program to its end with that input. Returns its output.
    ///
    /// # Errors
    /// What it said, if it could not be run or failed.
    pub fn feed(&self, words: &[&str], input: &str) -> Result<String, String> {
        let name = words[0];
        self.run(|| {
            let mut command = Command::new(name);
            command.args(&words[1..]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::piped());
            let child = command.spawn();
            let mut child = child.map_err(|error| format!("could not run {name}: {error}"))?;
            let mut stdin = child.stdin.take().expect("a pipe");
            // One that fails early does not take all of it.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            let output = child
                .wait_with_output()
                .map_err(|error| error.to_string())?;
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    Err(format!("{name} failed: {}", said.trim()))
                }
            }
        })
    }
}

/// Gives this thread, and what it starts from now on, an empty network namespace.
fn leave_network() -> io::Result<()> {
    // SAFETY: only unsharing the table of descriptors (FILES) can invalidate what other
    // threads hold, and that is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}
