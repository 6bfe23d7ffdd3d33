//! `echopool check` by its command line, and against our own server under every
//! option that changes the way of a byte.
#![cfg(unix)]

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::scope;
use std::time::{Duration, Instant};

use common::check::{check, read};
use common::faulty::{Faulty, echo, swallow};
use common::{Program, Server, end, finish, wait_until};
use echopool::check::{clauses, datagram};
use echopool::proto::Protocol;
use rustix::process::Signal;

/// What is skipped of a sound server unless it is asked for.
const SKIPPED: [&str; 2] = ["source-address", "idle"];

/// Every clause of our server, of both protocols.
mod ours {
    use super::*;

    /// Starts `echopool serve` after some shell commands.
    fn serve(before: &str, options: &str) -> (Program, SocketAddr, SocketAddr) {
        let mut shell = Command::new("sh");
        let ports = "--echo 127.0.0.1:0 --counted 127.0.0.1:0";
        let script = format!("{before}; exec \"$0\" serve {ports} {options}");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_echopool")]);
        shell.env_remove("RUST_LOG");
        let mut program = Program::spawn(shell);
        let echo = program.wait_for_listener("echo");
        let counted = program.wait_for_listener("counted");
        (program, echo, counted)
    }

    /// Checks a server with these options, of which nothing may fail.
    #[track_caller]
    fn assert_sound(before: &str, options: &str, asked: &str) {
        let (mut program, echo, counted) = serve(before, options);
        let of_echo = || check(echo, asked).assert_passed(&SKIPPED);
        let of_counted = || check(counted, &format!("--counted {asked}")).assert_passed(&SKIPPED);
        match asked {
            // They wait most of the time, and there is room for both.
            "" => scope(|scope| {
                scope.spawn(of_echo);
                of_counted();
            }),
            _ => {
                of_echo();
                of_counted();
            }
        }
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
    }

    #[test]
    fn as_it_comes() {
        assert_sound(":", "", "");
    }

    #[test]
    fn with_one_worker() {
        assert_sound(":", "--workers 1", "");
    }

    #[test]
    fn with_more_workers_than_processors() {
        assert_sound(":", "--workers 7", "");
    }

    #[test]
    fn polling_before_it_sleeps() {
        assert_sound(":", "--workers 1 --busy-poll 2ms", "");
    }

    #[test]
    fn copying_because_so_few_open_files_leave_no_pipes() {
        assert_sound("ulimit -n 120", "--workers 1", "--connections 64");
    }

    #[test]
    fn with_room_for_just_as_many_clients_and_the_rest_waiting() {
        let options = "--max-connections 8 --backlog 4096";
        assert_sound(":", options, "--connections 8");
    }

    #[test]
    fn with_little_room_in_buffers_and_under_limits_that_nobody_reaches() {
        let options = "--socket-buffer 64KiB --max-per-source 2000 --idle-timeout 30s \
                       --stall-timeout 30s --max-lifetime 1m --memory-limit 256MiB";
        assert_sound(":", options, "");
    }

    #[test]
    fn logging_every_read() {
        assert_sound(":", "-vv", "");
    }

    #[test]
    fn a_cap_below_the_connections_asked_for_is_found() {
        let (_program, echo, counted) = serve(":", "--max-connections 8");
        let skip = "--timeout 2s --skip message-16m,full-duplex,slow-reader";
        check(echo, skip).assert_failed(&["connections"]);
        check(counted, "--counted --timeout 2s").assert_failed(&["connections"]);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn what_tcp_agreed_on_is_told_in_every_protocol() {
        let (_program, echo, counted) = serve(":", "");
        for (address, options) in [(echo, ""), (counted, " --counted")] {
            let checked = check(address, &format!("--only options{options}"));
            checked.assert_passed(&[]);
            let seen = checked.seen("options");
            for part in ["; MSS sent ", ", path MTU 65,535; round trip "] {
                assert!(seen.contains(part), "{seen}");
            }
            assert!(!seen.contains("something between"), "{seen}");
        }
    }

    #[test]
    fn by_ipv6() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return;
        }
        let mut program = Program::start(["serve", "--echo", "[::1]:0"]);
        let echo = program.wait_for_listener("echo");
        check(echo, "").assert_passed(&SKIPPED);
    }

    #[test]
    fn a_silence_that_was_asked_for_is_held() {
        let server = Server::with_workers(1);
        let started = Instant::now();
        for (address, options) in [(server.echo, ""), (server.counted, "--counted")] {
            let checked = check(address, &format!("--only idle --idle 300ms {options}"));
            checked.assert_passed(&[]);
            assert_eq!(checked.seen("idle"), "alive after 300ms of silence");
        }
        assert!(started.elapsed() >= Duration::from_millis(600));
        server.stop();
    }
}

mod command_line {
    use super::*;

    /// Whether what begins on this connection are all pairs of bytes.
    fn is_of_bytes(stream: &TcpStream) -> bool {
        let mut first = [0; 4];
        matches!(stream.peek(&mut first), Ok(4)) && first == [0, 0, 0, 1]
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn there_is_a_line_for_each_clause_and_one_for_all() {
        let server = Server::with_workers(1);
        let address = server.echo.to_string();
        let only = "connect,bytes,idle,urgent";
        let ended = finish(["check", &address, "--quiet", "--only", only], "");
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let said = text(ended.stdout);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 5, "{said}");
        let begins = format!("pass  connect           connected to {address} in ");
        assert!(lines[0].starts_with(&begins), "{said}");
        let pairs = "all 65,536 pairs of byte values came back, 131,072 bytes";
        assert_eq!(lines[1], format!("pass  bytes             {pairs}"));
        assert!(lines[2].starts_with("pass  urgent  "), "{said}");
        assert!(lines[3].starts_with("skip  idle  "), "{said}");
        assert!(lines[3].contains("--idle 5m"), "{said}");
        assert!(
            lines[4].starts_with("3 passed, 0 failed, 1 skipped in "),
            "{said}"
        );
        server.stop();
    }

    #[test]
    fn a_failure_says_what_was_seen_and_the_cause_and_what_to_do_come_behind() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let arguments = format!("check {} -q --only bytes --timeout 100ms", server.address);
        let ended = finish(arguments.split_whitespace(), "");
        assert_eq!((ended.code, &*ended.stderr), (Some(1), ""));
        let said = text(ended.stdout);
        let line = said.lines().next().unwrap();
        let seen = "FAIL  bytes             no data for 100ms after 0 of 16,384 bytes";
        assert_eq!(line, seen, "{said}");
        assert!(
            said.contains("\nbytes: follows from not-an-echo\nCAUSE not-an-echo (likely): "),
            "{said}"
        );
        assert!(
            said.contains("\n    to do: see what the server does"),
            "{said}"
        );
        assert!(
            said.contains("\n0 passed, 1 failed, 0 skipped in "),
            "{said}"
        );
    }

    #[test]
    fn the_json_has_the_keys_that_the_manual_names() {
        let server = Server::with_workers(1);
        let checked = check(server.echo, "--only connect,idle");
        let broken = Faulty::serve(|stream, _| swallow(&stream));
        let broken = check(broken.address, "--only bytes --timeout 100ms");
        let report = checked.report.as_object().unwrap();
        let manual = include_str!("../docs/check.md");
        for key in report.keys() {
            assert!(
                manual.contains(&format!("`{key}`")),
                "no {key} in the manual"
            );
        }
        for cause in broken.report["diagnosis"].as_array().unwrap() {
            for key in cause.as_object().unwrap().keys() {
                let name = format!("`diagnosis[].{key}`");
                assert!(manual.contains(&name), "no {name} in the manual");
            }
        }
        for clause in report["clauses"].as_array().unwrap() {
            for key in clause.as_object().unwrap().keys() {
                let name = format!("`clauses[].{key}`");
                assert!(manual.contains(&name), "no {name} in the manual");
            }
            assert!(clause["elapsed_ns"].is_u64(), "{clause}");
            assert!(clause["usually"].is_null(), "{clause}");
        }
        assert_eq!(report["format"], "echopool-check/1");
        assert_eq!(report["addresses"][0], server.echo.to_string());
        assert_eq!(report["protocol"], "echo");
        assert_eq!(
            (&report["passed"], &report["failed"]),
            (&1.into(), &0.into())
        );
        assert_eq!(
            (&report["skipped"], &report["interrupted"]),
            (&1.into(), &false.into())
        );
        server.stop();
    }

    #[test]
    fn clauses_are_chosen_by_name_in_their_own_order() {
        let server = Server::with_workers(1);
        let only = check(server.echo, "--only urgent,bytes --only connect");
        assert_eq!(only.names("pass"), ["connect", "bytes", "urgent"]);
        let skip = check(server.echo, "--only urgent,bytes,connect --skip bytes");
        assert_eq!(skip.names("pass"), ["connect", "urgent"]);
        let skip = check(server.counted, "--counted --skip reset,connect-storm");
        let names = [skip.names("pass"), skip.names("skip")].concat();
        assert_eq!(names.len(), clauses(Protocol::Counted).len() - 2);
        server.stop();
    }

    #[track_caller]
    fn assert_usage_error(arguments: &str, words: &[&str]) {
        let ended = finish(arguments.split_whitespace(), "");
        assert_eq!(ended.code, Some(2), "{arguments}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments}: {ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "no {word}: {ended:?}");
        }
    }

    #[test]
    fn wrong_usage_is_named() {
        assert_usage_error("check", &["<ADDR>"]);
        let similar = ["'conect'", "'connect'", "half-close-early"];
        assert_usage_error("check :1 --only conect", &similar);
        assert_usage_error("check :1 --skip bytes,conect", &similar);
        let other = ["echo protocol has no clause 'answer'", "half-close-early"];
        assert_usage_error("check :1 --only answer", &other);
        let other = ["counted protocol has no clause 'urgent'", "answer"];
        assert_usage_error("check :1 --counted --skip urgent", &other);
        let other = ["udp protocol has no clause 'urgent'", "reply-address"];
        assert_usage_error("check :1 --udp --skip urgent", &other);
        let other = ["echo protocol has no clause 'path-mtu'", "full-duplex"];
        assert_usage_error("check :1 --only path-mtu", &other);
        for of_tcp in ["--counted", "--whoami", "--connections 9", "--thorough"] {
            let arguments = format!("check :1 --udp {of_tcp}");
            let option = of_tcp.split(' ').next().unwrap();
            assert_usage_error(&arguments, &["--udp", option]);
        }
        assert_usage_error("check :1 --only bytes --skip bytes", &["no clause"]);
        for bad in ["0", "10001", "-1", "many"] {
            let arguments = format!("check :1 --connections={bad}");
            assert_usage_error(&arguments, &["--connections", bad]);
        }
        assert_usage_error(
            "check :1 --thorough --budget 1s",
            &["--thorough", "--budget"],
        );
        for option in ["--timeout", "--idle", "--budget"] {
            for bad in ["0s", "5x", "soon"] {
                let arguments = format!("check :1 {option}={bad}");
                assert_usage_error(&arguments, &[option, bad]);
            }
        }
        assert_usage_error("check --list --json", &["--list", "--json"]);
        assert_usage_error("check 127.0.0.1:99999", &["'127.0.0.1:99999'"]);
    }

    #[test]
    fn the_list_explains_each_clause_without_a_server() {
        for protocol in Protocol::ALL {
            let options = match protocol {
                Protocol::Echo => String::new(),
                other => format!("--{other}"),
            };
            let arguments = format!("check --list {options}");
            let ended = finish(arguments.split_whitespace(), "");
            assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
            let said = text(ended.stdout);
            for clause in clauses(protocol) {
                let line = format!("{}: {} ({})\n", clause.name, clause.proves, clause.rfc);
                assert!(said.contains(&line), "no {line} in {said}");
                let line = format!("    if not, usually {}\n", clause.usually);
                assert!(said.contains(&line), "no {line} in {said}");
            }
            let lines = 2 * clauses(protocol).len();
            assert_eq!(said.lines().count(), lines);
        }
        let ended = finish(["check", "--list", "--udp"], "");
        let said = text(ended.stdout);
        assert_eq!(said.lines().count(), 2 * datagram::clauses().len());
        assert!(
            said.contains("\nfragments: datagrams of a byte more "),
            "{said}"
        );
        let ended = finish(["check", "--list", "--only", "urgent"], "");
        assert_eq!(text(ended.stdout).lines().count(), 2);
    }

    #[test]
    fn the_help_names_every_option_and_default() {
        for option in ["--help", "-h"] {
            let ended = finish(["check", option], "");
            let said = text(ended.stdout);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for words in [
                "--counted",
                "--udp",
                "--timeout <DURATION>",
                "[default: 5s]",
                "--idle <DURATION>",
                "[default: skip this",
                "--budget <DURATION>",
                "[default: 2s]",
                "--thorough",
                "--connections <N>",
                "[default: 200]",
                "--only <CLAUSE>",
                "--skip <CLAUSE>",
                "--list",
                "--json",
                "[ADDR]",
            ] {
                assert!(said.contains(words), "no {words} in {said}");
            }
        }
        let said = text(finish(["check", "--help"], "").stdout);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in ["Exit codes: 0 ", "1 a clause failed", "echopool-check/1"] {
            assert!(said.contains(words), "no {words} in {said}");
        }
    }

    /// Starts a check, with a pipe for its standard output.
    fn start(server: SocketAddr, options: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        let arguments = format!("check {server} {options}");
        command.args(arguments.split_whitespace());
        command.env_remove("RUST_LOG").stdout(Stdio::piped());
        Program::spawn(command)
    }

    #[test]
    fn ctrl_c_ends_it_with_what_was_seen_so_far() {
        let connections = Arc::new(AtomicUsize::new(0));
        let server = Faulty::serve({
            let connections = Arc::clone(&connections);
            move |stream, _| {
                connections.fetch_add(1, Ordering::SeqCst);
                echo(&stream);
            }
        });
        // Held silent for an hour, unless it is interrupted.
        let options = "--json --only connect,idle,connect-storm --idle 1h";
        let program = start(server.address, options);
        // Those before are of `connect`, and of what the path carries.
        wait_until("the connection that is silent", || {
            connections.load(Ordering::SeqCst) == 3
        });
        program.signal(Signal::INT);
        let checked = read(end(program));
        assert_eq!(checked.code, Some(130), "{checked:#?}");
        assert_eq!(checked.report["interrupted"], true);
        let names = ["pass", "fail", "skip"].map(|verdict| checked.names(verdict));
        assert_eq!(names.concat(), ["connect"]);
    }

    #[test]
    fn a_failure_sets_the_exit_code_even_when_the_reader_has_left() {
        // Who reads sees one line, and leaves while the next clause waits for it.
        let (gone, left) = sync_channel(0);
        let left = Mutex::new(left);
        let server = Faulty::serve(move |stream, _| {
            if is_of_bytes(&stream) {
                return swallow(&stream);
            }
            left.lock().unwrap().recv().unwrap();
            echo(&stream);
        });
        let mut program = start(server.address, "--only bytes,full-duplex --timeout 1s");
        let mut stdout = BufReader::new(program.child.stdout.take().unwrap());
        let mut said = String::new();
        stdout.read_line(&mut said).unwrap();
        assert!(said.starts_with("FAIL  bytes  "), "{said}");
        drop(stdout);
        gone.send(()).unwrap();
        assert_eq!(program.wait().code(), Some(1), "{:#?}", program.log);
    }

    #[test]
    fn where_all_was_skipped_nothing_was_proved_and_that_is_no_success() {
        let server = Server::with_workers(1);
        let address = server.echo.to_string();
        let ended = finish(
            ["check", &address, "-q", "--only", "idle,source-address"],
            "",
        );
        assert_eq!((ended.code, &*ended.stderr), (Some(1), ""));
        let said = text(ended.stdout);
        assert!(
            said.contains("\n0 passed, 0 failed, 2 skipped in "),
            "{said}"
        );
        assert!(said.ends_with(", so nothing was proved\n"), "{said}");
        server.stop();
    }

    #[test]
    fn ctrl_c_after_a_failure_ends_it_with_1() {
        let server = Faulty::serve(|stream, _| match is_of_bytes(&stream) {
            true => swallow(&stream),
            false => echo(&stream),
        });
        let options = "--only bytes,idle --timeout 100ms --idle 1h";
        let mut program = start(server.address, options);
        let mut stdout = BufReader::new(program.child.stdout.take().unwrap());
        let mut said = String::new();
        stdout.read_line(&mut said).unwrap();
        assert!(said.starts_with("FAIL  bytes  "), "{said}");
        program.signal(Signal::INT);
        assert_eq!(program.wait().code(), Some(1));
        stdout.read_to_string(&mut said).unwrap();
        assert!(
            said.contains("\n0 passed, 1 failed, 0 skipped in "),
            "{said}"
        );
        assert!(
            said.ends_with(", interrupted before the others\n"),
            "{said}"
        );
    }
}

/// The manual has each clause as the program tells it.
#[test]
fn the_manual_has_a_row_for_each_clause() {
    let manual = include_str!("../docs/check.md");
    let mut rows = HashSet::new();
    for protocol in Protocol::ALL {
        for clause in clauses(protocol) {
            let row = format!(
                "| `{}` | {} | {} | {} |",
                clause.name, clause.proves, clause.usually, clause.rfc
            );
            assert!(manual.lines().any(|line| line == row), "no row {row}");
            rows.insert(row);
        }
    }
    for clause in datagram::clauses() {
        let row = format!(
            "| `{}` | {} | {} | {} |",
            clause.name, clause.proves, clause.usually, clause.rfc
        );
        assert!(manual.lines().any(|line| line == row), "no row {row}");
        rows.insert(row);
    }
    let (tables, _) = manual.split_once("## How to read it").unwrap();
    let written = tables.lines().filter(|line| line.starts_with("| `"));
    let strange: Vec<_> = written.filter(|row| !rows.contains(*row)).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

/// What takes long says what it is and how far.
mod steps {
    use rexpect::session::spawn_command;

    use super::*;

    fn plain(server: SocketAddr, options: &str) -> common::Ended {
        finish(format!("check {server} {options}").split_whitespace(), "")
    }

    #[test]
    fn a_long_clause_has_a_line_a_second_with_how_far_it_is() {
        let server = Server::with_workers(1);
        let ended = plain(server.echo, "--only connect,idle --idle 2500ms");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(lines[0].starts_with("idle (clause 2 of 2): "), "{ended:?}");
        assert!(lines[0].ends_with("s of 2s 500ms"), "{ended:?}");
        for options in [
            "-q --only idle --idle 1500ms",
            "--json --only idle --idle 1500ms",
        ] {
            assert_eq!(plain(server.echo, options).stderr, "", "{options}");
        }
        server.stop();
    }

    #[test]
    fn a_clause_that_hangs_is_named_while_it_does() {
        let server = Faulty::serve(|stream, _| swallow(&stream));
        let ended = plain(server.address, "--only bytes --timeout 1500ms");
        let first = ended.stderr.lines().next();
        let line = "bytes (clause 1 of 1): 1s of at most 40s";
        assert_eq!(first, Some(line), "{ended:?}");
    }

    #[test]
    fn on_a_terminal_the_line_is_redrawn_and_erased_before_the_outcome() {
        let server = Server::with_workers(1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        let options = format!("check {} --only idle --idle 2500ms", server.echo);
        command
            .args(options.split_whitespace())
            .env("TERM", "xterm");
        let deadline = common::DEADLINE.as_millis().try_into().unwrap();
        let mut session = spawn_command(command, Some(deadline)).unwrap();
        for _ in 0..2 {
            let line = r"\ridle \(clause 1 of 1\): [12]s of 2s 500ms\x1b\[K";
            session.exp_regex(line).unwrap();
        }
        session.exp_string("\r\x1b[Kpass  idle ").unwrap();
        session.exp_eof().unwrap();
        server.stop();
    }
}
