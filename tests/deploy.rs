//! What `deploy/` holds, with the tools that read it: systemd's, hadolint,
//! kubernetes-validate.
//!
//! No service manager and no cluster runs here. The tests that need those tools
//! run only when asked for: `make test-tools`.
#![cfg(target_os = "linux")]

mod common;

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::http::{admin_of, get};
use common::{
    DEADLINE, Program, connect, full_duplex, read_to_end, reserve, round_trip, wait_until,
};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PROGRAM: &str = env!("CARGO_BIN_EXE_echopool");

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

/// What a tool says, which must be there and succeed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{command:?}: {status}: {stdout}{stderr}");
    stdout
}

mod systemd {
    use super::*;

    const UNITS: [&str; 5] = [
        "echopool.service",
        "echopool-echo.socket",
        "echopool-counted.socket",
        "echopool-udp.socket",
        "echopool-stamp.socket",
    ];

    #[test]
    #[ignore = "needs systemd-analyze"]
    fn the_service_is_exposed_to_no_more_than_1_5() {
        let service = deploy("systemd/echopool.service");
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold=15"]);
        // It ends with an error above the threshold.
        said(analyze.arg(service));
    }

    #[test]
    #[ignore = "needs systemd-analyze"]
    fn the_units_have_no_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        for unit in UNITS {
            // The program need not be installed.
            let text = fs::read_to_string(deploy("systemd").join(unit)).unwrap();
            let text = text.replace("/usr/bin/echopool", PROGRAM);
            fs::write(folder.path().join(unit), text).unwrap();
        }
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]);
        let units = UNITS.map(|unit| folder.path().join(unit));
        let output = verify.args(units).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        let ours = printed.lines().filter(|line| line.contains("echopool"));
        assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(output.status.success(), "{printed}");
    }

    /// The value of a setting in a unit.
    fn setting(unit: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(deploy("systemd").join(unit)).unwrap();
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(key, value)| (key == name).then(|| value.to_owned()))
    }

    /// By default systemd starts a service five times within ten seconds, 100 ms apart, and
    /// gives up.
    #[test]
    fn the_units_outlast_an_address_that_comes_late() {
        let service = "echopool.service";
        assert_eq!(setting(service, "Restart").as_deref(), Some("on-failure"));
        let limit = setting(service, "StartLimitIntervalSec");
        assert_eq!(limit.as_deref(), Some("0"), "it is tried for ever");
        let pause = setting(service, "RestartSec").unwrap();
        let pause = humantime::parse_duration(&pause).unwrap();
        let sensible = Duration::from_secs(1)..=Duration::from_secs(10);
        assert!(sensible.contains(&pause), "{pause:?}");
        for unit in &UNITS[1..] {
            assert_eq!(setting(unit, "FreeBind").as_deref(), Some("yes"), "{unit}");
        }
    }

    /// Without netlink the server does not know which addresses are its own: docs/udp.md.
    #[test]
    fn the_sandbox_lets_the_server_ask_for_the_addresses_of_the_machine() {
        let families = setting("echopool.service", "RestrictAddressFamilies").unwrap();
        let families: HashSet<_> = families.split(' ').collect();
        let needed = ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"];
        assert_eq!(families, HashSet::from(needed));
    }

    /// The names in one set of systemd's system calls, those of its subsets included.
    fn calls_of(set: &str) -> HashSet<String> {
        let mut analyze = Command::new("systemd-analyze");
        let text = said(analyze.args(["syscall-filter", "--no-pager", set]));
        let lines = text.lines().skip(1).map(str::trim);
        let mut calls = HashSet::new();
        for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match line.starts_with('@') {
                true => calls.extend(calls_of(line)),
                false => _ = calls.insert(line.to_owned()),
            }
        }
        calls
    }

    /// The system calls that the service may make, by its `SystemCallFilter=` lines.
    fn allowed() -> HashSet<String> {
        let unit = fs::read_to_string(deploy("systemd/echopool.service")).unwrap();
        let filters = unit
            .lines()
            .filter_map(|line| line.strip_prefix("SystemCallFilter="));
        let mut allowed = HashSet::new();
        for filter in filters {
            let (takes_away, names) = match filter.strip_prefix('~') {
                Some(names) => (true, names),
                None => (false, filter),
            };
            for name in names.split_whitespace() {
                let calls = match name.starts_with('@') {
                    true => calls_of(name),
                    false => HashSet::from([name.to_owned()]),
                };
                match takes_away {
                    true => allowed.retain(|call| !calls.contains(call)),
                    false => allowed.extend(calls),
                }
            }
        }
        allowed
    }

    /// The server under strace, from its start to its stop. `exec` of the program
    /// itself is the service manager's.
    #[test]
    #[ignore = "needs systemd-analyze and strace"]
    fn the_sandbox_allows_every_system_call_that_the_server_makes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("calls");
        let ear = folder.path().join("notify");
        let _ear = UnixDatagram::bind(&ear).unwrap();
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o"])
            .arg(&log)
            .args([PROGRAM, "serve", "--echo", "127.0.0.1:0", "--workers", "2"])
            .args(["--counted", "127.0.0.1:0", "--busy-poll", "1us"])
            .args(["--admin", "127.0.0.1:0"])
            .env("NOTIFY_SOCKET", &ear)
            .env("WATCHDOG_USEC", "200000")
            .env_remove("RUST_LOG");
        let mut server = Program::spawn(strace);
        let echo = server.wait_for_listener("echo");
        let counted = server.wait_for_listener("counted");
        let admin = admin_of(&mut server);
        full_duplex(connect(echo), 1, 4_000_000);
        for path in ["/metrics", "/readyz", "/"] {
            assert_eq!(get(admin, path).code, 200);
        }
        let mut client = connect(counted);
        std::io::Write::write_all(&mut client, b"x\0").unwrap();
        read_to_end(&mut client);
        let children = format!("/proc/{0}/task/{0}/children", server.child.id());
        let traced = fs::read_to_string(children).unwrap();
        let traced = traced.trim().parse().unwrap();
        let traced = rustix::process::Pid::from_raw(traced).unwrap();
        rustix::process::kill_process(traced, Signal::TERM).unwrap();
        assert!(server.wait().success(), "{:?}", server.log);

        let allowed = allowed();
        let calls = fs::read_to_string(&log).unwrap();
        let name = |line: &str| {
            let call = line
                .split_once(' ')?
                .1
                .trim_start()
                .split_once('(')?
                .0
                .to_owned();
            let is_name = call
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_name.then_some(call)
        };
        let made: HashSet<_> = calls.lines().filter_map(name).collect();
        for call in [
            "accept4",
            "splice",
            "sendto",
            "sched_setscheduler",
            "setpriority",
        ] {
            assert!(made.contains(call), "{call} was to be tried: {made:?}");
        }
        let denied: Vec<_> = made.difference(&allowed).collect();
        assert!(denied.is_empty(), "{denied:?}");
    }

    /// The program behind systemd-socket-activate, which starts it with the
    /// first client.
    fn activated(sockets: &[(&str, u16)], wrapper: &[&str]) -> Program {
        let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
        let mut activate = Command::new("systemd-socket-activate");
        for (_, port) in sockets {
            activate.arg(format!("--listen=127.0.0.1:{port}"));
        }
        activate
            .arg(format!("--fdname={}", names.join(":")))
            .args(wrapper)
            .args([PROGRAM, "serve"])
            .stdout(Stdio::null());
        let mut program = Program::spawn(activate);
        for _ in sockets {
            program.wait_for("Listening on 127.0.0.1:");
        }
        program
    }

    #[test]
    #[ignore = "needs systemd-socket-activate"]
    fn the_first_client_starts_the_server_and_is_served() {
        let reserved = [(); 2].map(|()| reserve(LOCALHOST, 0).unwrap());
        let [echo, counted] = [reserved[0].1, reserved[1].1];
        let sockets = [("echo", echo.port()), ("counted", counted.port())];
        let mut server = activated(&sockets, &[]);
        round_trip(&mut connect(echo), b"woke it");
        let mut client = connect(counted);
        std::io::Write::write_all(&mut client, b"three\0").unwrap();
        assert_eq!(read_to_end(&mut client), b"5 : three\0");
        assert_eq!(server.wait_for_listener("echo"), echo);
        assert_eq!(server.wait_for_listener("counted"), counted);
        server.signal(Signal::TERM);
        assert!(server.wait().success(), "{:?}", server.log);
    }

    #[test]
    #[ignore = "needs root, systemd-socket-activate and setpriv"]
    fn a_server_without_any_privilege_serves_port_7() {
        // As root, but without one capability: the files stay readable.
        let powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
        if first.trim().parse::<u16>().unwrap() > 7 {
            let mut alone = Command::new(powerless[0]);
            alone.args(&powerless[1..]);
            alone.args([PROGRAM, "serve", "--echo", "127.0.0.1:7"]);
            let mut alone = Program::spawn(alone);
            alone.wait_for("could not listen on 127.0.0.1:7: permission denied");
        }
        let server = activated(&[("echo", 7)], &powerless);
        let port_7 = (LOCALHOST, 7).into();
        full_duplex(connect(port_7), 7, 300_000);
        drop(server);
    }

    /// The thread of that name, of a running program.
    fn thread(program: &Program, name: &str) -> String {
        let threads = fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap();
        let mut threads = threads.map(|thread| thread.unwrap());
        let is_it = |thread: &fs::DirEntry| {
            let its = fs::read_to_string(thread.path().join("comm"));
            its.is_ok_and(|its| its.trim() == name)
        };
        let thread = threads.find(is_it).unwrap();
        thread.file_name().into_string().unwrap()
    }

    /// Holds a thread up in its next wait, until what is returned is dropped.
    fn held_up(program: &Program, name: &str) -> Program {
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=epoll_wait", "-e"]);
        strace.arg(format!(
            "inject=epoll_wait:delay_exit={}",
            DEADLINE.as_micros()
        ));
        strace.args(["-p", &thread(program, name)]);
        let mut strace = Program::spawn(strace);
        strace.wait_for("attached");
        strace
    }

    #[test]
    #[ignore = "needs strace"]
    fn health_fails_while_one_worker_or_the_main_thread_is_unresponsive() {
        let arguments = ["serve", "--echo", "127.0.0.1:0", "--workers", "2"];
        let mut server = Program::start([&arguments[..], &["--admin", "127.0.0.1:0"]].concat());
        server.wait_for_listener("echo");
        let admin = admin_of(&mut server);
        let said = || ["/healthz", "/readyz"].map(|path| get(admin, path).body);
        for (name, words) in [
            ("worker-1", "worker 1 does not respond"),
            ("echopool", "the main thread has not responded for "),
        ] {
            let strace = held_up(&server, name);
            wait_until("it to be seen", || {
                said().iter().all(|body| body.starts_with(words))
            });
            assert_eq!(get(admin, "/healthz").code, 503);
            drop(strace);
            wait_until("it to be healthy", || said() == ["ok\n", "ok\n"]);
        }
    }

    #[test]
    #[ignore = "needs strace"]
    fn ready_comes_no_sooner_than_every_worker_has_polled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_read_timeout(Some(DEADLINE)).unwrap();
        let late = Duration::from_secs(2);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", "trace=epoll_wait", "-e"]);
        // `when` counts for each thread: the first poll of each comes late.
        strace.arg(format!(
            "inject=epoll_wait:delay_enter={}:when=1",
            late.as_micros()
        ));
        strace.args([PROGRAM, "serve", "--echo", "127.0.0.1:0", "--workers", "3"]);
        strace.env("NOTIFY_SOCKET", &path).env_remove("RUST_LOG");
        let since = Instant::now();
        let _server = Program::spawn(strace);
        let mut news = [0; 256];
        let length = ear.recv(&mut news).unwrap();
        assert!(news[..length].starts_with(b"READY=1\n"));
        assert!(since.elapsed() >= late, "{:?}", since.elapsed());
    }

    #[test]
    #[ignore = "needs strace"]
    fn the_watchdog_is_not_notified_while_one_worker_is_unresponsive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_read_timeout(Some(DEADLINE)).unwrap();
        let watchdog = Duration::from_secs(1);
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--echo", "127.0.0.1:0", "--workers", "2"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .env_remove("RUST_LOG");
        let mut server = Program::spawn(command);
        server.wait_for_listener("echo");

        let strace = held_up(&server, "worker-1");
        server.wait_for("worker 1 has not responded for 250ms");
        // Notifications from before.
        ear.set_nonblocking(true).unwrap();
        while ear.recv(&mut [0; 256]).is_ok() {}
        ear.set_nonblocking(false).unwrap();
        ear.set_read_timeout(Some(watchdog)).unwrap();
        assert!(ear.recv(&mut [0; 256]).is_err(), "it would not be killed");
        // Once the worker runs again, the watchdog is notified again.
        drop(strace);
        ear.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut news = [0; 256];
        let length = ear.recv(&mut news).unwrap();
        assert_eq!(&news[..length], b"WATCHDOG=1\n");
    }
}

mod kubernetes {
    use super::*;

    /// Every manifest, as JSON.
    fn manifests() -> Vec<Value> {
        let mut found = Vec::new();
        for entry in fs::read_dir(deploy("kubernetes")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let text = fs::read_to_string(&path).unwrap();
                let documents = serde_yaml_ng::Deserializer::from_str(&text);
                found.extend(documents.map(|each| Value::deserialize(each).unwrap()));
            }
        }
        found
    }

    /// The manifest of that kind and name.
    #[track_caller]
    fn manifest(kind: &str, name: &str) -> Value {
        let mut all = manifests().into_iter();
        let is_it = |each: &Value| each["kind"] == kind && each["metadata"]["name"] == name;
        all.find(is_it)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn pod(of: &Value) -> &Value {
        &of["spec"]["template"]["spec"]
    }

    fn server() -> Value {
        manifest("Deployment", "echopool")
    }

    #[test]
    fn every_file_belongs_to_the_whole_but_the_load() {
        let whole = manifests();
        let whole = whole
            .iter()
            .find(|each| each["kind"] == "Kustomization")
            .unwrap();
        let listed = whole["resources"].as_array().unwrap();
        let mut listed: Vec<_> = listed.iter().map(|file| file.as_str().unwrap()).collect();
        listed.extend(["bench-job.yaml", "kustomization.yaml", "bench-merge.sh"]);
        listed.sort_unstable();
        let files = fs::read_dir(deploy("kubernetes")).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = files.collect();
        files.sort();
        assert_eq!(files, listed);
    }

    #[test]
    fn a_pod_has_time_to_leave_the_load_balancer_and_to_drain() {
        let server = server();
        let container = &pod(&server)["containers"][0];
        let variables = container["env"].as_array().unwrap();
        let time = |name: &str| {
            let variable = variables.iter().find(|each| each["name"] == name).unwrap();
            humantime::parse_duration(variable["value"].as_str().unwrap()).unwrap()
        };
        let (lame_duck, grace) = (time("ECHOPOOL_LAME_DUCK"), time("ECHOPOOL_GRACE"));
        let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
        let limit = seconds(&pod(&server)["terminationGracePeriodSeconds"]);
        let sleep = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
        assert!(!lame_duck.is_zero() && !sleep.is_zero());
        let needed = sleep + lame_duck + grace + Duration::from_secs(5);
        assert!(limit >= needed, "{limit:?} < {needed:?}");
    }

    #[test]
    fn a_full_server_gets_no_further_clients_and_is_not_killed() {
        let server = server();
        let container = &pod(&server)["containers"][0];
        let path = |probe: &str| {
            let ask = &container[format!("{probe}Probe")]["httpGet"];
            assert_eq!(ask["port"], "admin", "{probe}");
            ask["path"].as_str().unwrap().to_owned()
        };
        let (readiness, liveness) = (path("readiness"), path("liveness"));
        assert_eq!(path("startup"), liveness);
        // The paths do what the probes are for, at a server of this test.
        let arguments = ["serve", "--echo", "127.0.0.1:0", "--max-connections", "1"];
        let mut echo = Program::start([&arguments[..], &["--admin", "127.0.0.1:0"]].concat());
        let address = echo.wait_for_listener("echo");
        let admin = admin_of(&mut echo);
        let probe = || [&readiness, &liveness].map(|path| get(admin, path).code);
        assert_eq!(probe(), [200, 200]);
        let mut client = connect(address);
        round_trip(&mut client, b"the only place");
        assert_eq!(probe(), [503, 200], "full");
    }

    #[test]
    fn probes_and_prometheus_find_the_admin_socket_and_clients_do_not() {
        let server = server();
        let container = &pod(&server)["containers"][0];
        let ports = container["ports"].as_array().unwrap();
        let admin = ports.iter().find(|port| port["name"] == "admin").unwrap();
        let port = admin["containerPort"].to_string();
        let arguments = container["args"].as_array().unwrap();
        let at = arguments.iter().position(|word| word == "--admin").unwrap();
        assert_eq!(arguments[at + 1], format!("*:{port}"));
        let annotations = &server["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scrape"], "true");
        assert_eq!(annotations["prometheus.io/port"], port);
        assert_eq!(annotations["prometheus.io/path"], "/metrics");
        let policy = manifest("NetworkPolicy", "echopool");
        let rules = policy["spec"]["ingress"].as_array().unwrap().iter();
        let has_admin = |rule: &&Value| rule["ports"].to_string().contains("admin");
        let rules: Vec<_> = rules.filter(has_admin).collect();
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0]["ports"].as_array().unwrap().len(), 1);
        assert!(!rules[0]["from"].as_array().unwrap().is_empty());
        let service = manifest("Service", "echopool");
        assert!(!service["spec"]["ports"].to_string().contains("admin"));
    }

    #[test]
    fn every_pod_is_without_privilege() {
        for (kind, name) in [("Deployment", "echopool"), ("Job", "echopool-bench")] {
            let manifest = manifest(kind, name);
            let pod = pod(&manifest);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["enableServiceLinks"], false, "{name}");
            let context = &pod["containers"][0]["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
        }
    }

    #[test]
    fn everything_is_about_the_same_pods() {
        let server = server();
        let labels = &server["spec"]["template"]["metadata"]["labels"];
        assert_eq!(&server["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&manifest("Service", "echopool")["spec"]["selector"], labels);
        let budget = manifest("PodDisruptionBudget", "echopool");
        assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
        let policy = manifest("NetworkPolicy", "echopool");
        assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
        let scaler = manifest("HorizontalPodAutoscaler", "echopool");
        assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], "echopool");
        assert!(
            server["spec"]["replicas"].is_null(),
            "they are the scaler's"
        );
        let ports = pod(&server)["containers"][0]["ports"].as_array().unwrap();
        let named: HashSet<_> = ports
            .iter()
            .map(|port| port["name"].as_str().unwrap())
            .collect();
        let service = manifest("Service", "echopool");
        for port in service["spec"]["ports"].as_array().unwrap() {
            assert!(
                named.contains(port["targetPort"].as_str().unwrap()),
                "{port}"
            );
        }
    }

    #[test]
    fn the_pods_of_the_load_run_together_and_once() {
        let job = manifest("Job", "echopool-bench");
        let spec = &job["spec"];
        assert_eq!(spec["completions"], spec["parallelism"]);
        assert_eq!(spec["completionMode"], "Indexed");
        assert_eq!(spec["backoffLimit"], 0);
        // The command line is one that the program takes, up to the name of the server.
        let arguments = pod(&job)["containers"][0]["args"].as_array().unwrap();
        let arguments = arguments.iter().map(|word| word.as_str().unwrap());
        let arguments = arguments.map(|word| word.replace("echopool:7", "no-such-host.invalid:7"));
        let ended = common::finish(arguments, "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("could not resolve no-such-host.invalid"),
            "{ended:?}"
        );
    }

    /// A folder with `echopool`, and a `kubectl` that knows two pods of a finished job.
    fn cluster(pods: [&str; 2]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = pods;
        let kubectl = format!(
            r#"#!/bin/sh
            case "$*" in
            *spec.completions*) echo 2 ;;
            *status.conditions*) echo Complete ;;
            "get pods"*completion-index=0) echo {first} ;;
            "get pods"*completion-index=1) echo {second} ;;
            logs*) cat "{}/$2" ;;
            *) exit 9 ;;
            esac"#,
            folder.path().display()
        );
        let path = folder.path().join("kubectl");
        fs::write(&path, kubectl).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(PROGRAM, folder.path().join("echopool")).unwrap();
        folder
    }

    fn merge(cluster: &Path, results: &Path) -> Output {
        let path = std::env::var("PATH").unwrap();
        let mut step = Command::new(deploy("kubernetes/bench-merge.sh"));
        step.arg(results);
        step.env("PATH", format!("{}:{path}", cluster.display()));
        step.output().unwrap()
    }

    #[test]
    fn the_results_of_all_pods_become_one() {
        let mut server = Program::start(["serve", "--echo", "127.0.0.1:0"]);
        let address = server.wait_for_listener("echo").to_string();
        let cluster = cluster(["a", "b"]);
        for pod in ["a", "b"] {
            let arguments = ["bench", &address, "-n", "100", "--warmup", "0s", "--quiet"];
            let ended = common::finish([&arguments[..], &["--json", "-"]].concat(), "");
            assert_eq!(ended.code, Some(0), "{ended:?}");
            fs::write(cluster.path().join(pod), ended.stdout).unwrap();
        }
        let results = cluster.path().join("results");
        let merged = merge(cluster.path(), &results);
        assert!(merged.status.success(), "{merged:?}");
        let count = |name: &str| {
            let text = fs::read(results.join(name)).unwrap();
            let json: Value = serde_json::from_slice(&text).unwrap();
            json["totals"]["echoed"].as_u64().unwrap()
        };
        assert_eq!(
            count("pod-0.json") + count("pod-1.json"),
            count("fleet.json")
        );
        assert!(count("fleet.json") >= 200);
        assert!(results.join("fleet.html").exists());
    }

    #[test]
    fn a_pod_whose_results_are_gone_is_reported_and_nothing_is_added_up() {
        let cluster = cluster(["a", ""]);
        fs::write(cluster.path().join("a"), "{}").unwrap();
        let results = cluster.path().join("results");
        let merged = merge(cluster.path(), &results);
        assert_eq!(merged.status.code(), Some(1));
        let error = String::from_utf8(merged.stderr).unwrap();
        assert!(
            error.contains("pod 1 of job echopool-bench is gone"),
            "{error}"
        );
        assert!(!results.join("fleet.json").exists());
    }

    #[test]
    #[ignore = "needs kubernetes-validate"]
    fn every_manifest_is_as_the_published_schemas_want_it() {
        for entry in fs::read_dir(deploy("kubernetes")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // kustomize's own kind is in no schema of the server.
            if name.ends_with(".yaml") && name != "kustomization.yaml" {
                let mut validate = Command::new("kubernetes-validate");
                said(validate.arg("--strict").arg(&path));
            }
        }
    }
}

mod container {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// What follows an instruction of the Containerfile.
    fn instruction(name: &str) -> String {
        let text = fs::read_to_string(root().join("Containerfile")).unwrap();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name));
        found
            .unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .to_owned()
    }

    /// What the image is built from, by the list that its builders read: all but the files and
    /// folders named there is left out.
    fn context() -> Vec<PathBuf> {
        let list = fs::read_to_string(root().join(".dockerignore")).unwrap();
        let mut patterns = list.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(patterns.next(), Some("*"));
        let named = |line: &str| root().join(line.strip_prefix('!').unwrap());
        let mut left: Vec<_> = patterns.map(named).collect();
        let mut files = Vec::new();
        while let Some(path) = left.pop() {
            match path.is_dir() {
                true => left.extend(fs::read_dir(path).unwrap().map(|one| one.unwrap().path())),
                false => files.push(path),
            }
        }
        files
    }

    /// Docker and BuildKit read the one, Podman and Buildah the other.
    #[test]
    fn every_builder_is_given_the_same_files() {
        let [docker, podman] =
            [".dockerignore", ".containerignore"].map(|name| fs::read(root().join(name)).unwrap());
        assert_eq!(docker, podman);
    }

    #[test]
    fn the_context_is_kilobytes_and_cargo_finds_the_workspace_in_it() {
        let copy = tempfile::tempdir().unwrap();
        let mut size = 0;
        for file in context() {
            let to = copy.path().join(file.strip_prefix(root()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            size += fs::copy(file, to).unwrap();
        }
        assert!(size < 4_000_000, "{size} bytes");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--offline", "--no-deps", "--format-version=1"]);
        let metadata = said(cargo.current_dir(copy.path()));
        for member in ["echopool", "compare", "models"] {
            assert!(
                metadata.contains(&format!("\"name\":\"{member}\"")),
                "{member}"
            );
        }
    }

    /// The health check of the image, asked of a server with this admin socket.
    fn health_check(admin: &str) -> common::Ended {
        let check = instruction("HEALTHCHECK CMD ");
        let words: Vec<String> = serde_json::from_str(&check).unwrap();
        assert_eq!(words[0], "/usr/bin/echopool");
        let mut check = Command::new(PROGRAM);
        check.args(&words[1..]).env("ECHOPOOL_ADMIN", admin);
        check.stdout(Stdio::piped());
        common::end(Program::spawn(check))
    }

    #[test]
    fn a_server_is_healthy_whatever_it_serves_and_however_full_it_is() {
        let variable = instruction("ENV ECHOPOOL_ADMIN=");
        assert_eq!(variable, "127.0.0.1:20163");
        for options in [
            &["--echo", "127.0.0.1:0"][..],
            &["--counted", "127.0.0.1:0"],
            &["--echo", "127.0.0.1:0", "--proxy-protocol"],
            &["--echo", "127.0.0.1:0", "--max-connections", "1"],
        ] {
            let mut command = Command::new(PROGRAM);
            command.arg("serve").args(options);
            command
                .env("ECHOPOOL_ADMIN", "127.0.0.1:0")
                .env_remove("RUST_LOG");
            let mut server = Program::spawn(command);
            let address = server.wait_for_listener(&options[0][2..]);
            let admin = admin_of(&mut server);
            // Takes the only place, where there is one.
            let client = connect(address);
            wait_until("it to be served", || {
                let taken = get(admin, "/metrics").body;
                taken.contains("echopool_connections_open 1")
            });
            for address in [
                admin.to_string(),
                format!("*:{}", admin.port()),
                admin.port().to_string(),
            ] {
                let ended = health_check(&address);
                assert_eq!(
                    (ended.code, &*ended.stdout),
                    (Some(0), &b"ok\n"[..]),
                    "{ended:?}"
                );
            }
            drop(client);
        }
    }

    #[test]
    fn what_the_image_serves_it_exposes_and_its_example_opens() {
        let command: Vec<String> = serde_json::from_str(&instruction("CMD ")).unwrap();
        let exposed = instruction("EXPOSE ");
        let exposed: Vec<_> = exposed.split(' ').collect();
        let text = fs::read_to_string(root().join("Containerfile")).unwrap();
        for (option, port) in [
            ("--echo", "20162/tcp"),
            ("--udp", "20162/udp"),
            ("--counted", "4000/tcp"),
        ] {
            assert!(command.iter().any(|word| word == option), "{option}");
            assert!(exposed.contains(&port), "{port}");
        }
        assert!(text.contains("-p 7:20162 -p 7:20162/udp"), "{text}");
    }

    #[test]
    #[ignore = "needs hadolint"]
    fn the_containerfile_has_no_mistakes() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Containerfile");
        said(Command::new("hadolint").arg(file));
    }
}
