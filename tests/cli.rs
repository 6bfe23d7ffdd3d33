//! The command line: what is refused, what help tells, and what each address means.
#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use common::{Program, connect, finish, keyed, reserve, round_trip, wait_until};
use rustix::process::Signal;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Texts that are no address, whatever they are for.
const BAD_ADDRESSES: [&str; 22] = [
    "",
    ":",
    "70000",
    "65536",
    ":65536",
    "127.0.0.1:",
    "127.0.0.1:http",
    "127.0.0.1:65536",
    "127.0.0.1:-1",
    "127.0.0.1:+80",
    "127.0.0.1: 80",
    "[::1",
    "[::1]80",
    "[::1]:",
    "[::1]:99999",
    "[]:80",
    "[127.0.0.1]:80",
    "::1]:80",
    "a:b:c",
    "two words",
    "echo://localhost",
    "localhost/echo",
];

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// That the program refused `arguments` as wrong usage and said every one of `words`.
#[track_caller]
fn assert_usage_error(arguments: &[&str], words: &[&str]) {
    let ended = finish(arguments, "");
    assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no {word}: {ended:?}");
    }
}

mod usage {
    use super::*;

    #[test]
    fn a_bad_address_is_named() {
        for bad in BAD_ADDRESSES {
            let quoted = format!("'{bad}'");
            let words = [&*quoted, "ADDR"];
            assert_usage_error(&["client", bad], &words);
            assert_usage_error(&["client", bad, "a text"], &words);
            assert_usage_error(&["client", "--counted", bad], &words);
            assert_usage_error(&["serve", &format!("--echo={bad}")], &[&*quoted, "--echo"]);
            assert_usage_error(
                &["serve", &format!("--counted={bad}")],
                &[&*quoted, "--counted"],
            );
        }
    }

    #[test]
    fn one_bad_address_among_good_ones_is_named() {
        let arguments = [
            "serve",
            "--echo=127.0.0.1:0",
            "--counted=:0",
            "--echo",
            "host:x",
        ];
        assert_usage_error(&arguments, &["'host:x'", "--echo"]);
    }

    #[test]
    fn a_bad_number_or_duration_is_named() {
        for (option, bad) in [
            ("--workers", "0"),
            ("--workers", "-1"),
            ("--workers", "many"),
            ("--workers", "1.5"),
            ("--workers", ""),
            ("--workers", "99999999999999999999"),
            ("--backlog", "0"),
            ("--backlog", "-1"),
            ("--backlog", "4294967296"),
            ("--max-connections", "0"),
            ("--max-connections", "all"),
            ("--grace", "nonsense"),
            ("--grace", "1h30"),
            ("--max-lifetime", "0"),
            ("--memory-limit", "0"),
            ("--socket-buffer", "3G"),
            ("--grace", "-1s"),
            ("--grace", ""),
        ] {
            let quoted = format!("'{bad}'");
            let argument = format!("{option}={bad}");
            assert_usage_error(&["serve", "--echo=:0", &argument], &[&quoted, option]);
        }
        for bad in ["0s", "0", "nonsense", "-1s", ""] {
            let argument = format!("--timeout={bad}");
            let words = [&*format!("'{bad}'"), "--timeout"];
            assert_usage_error(&["client", &argument, "127.0.0.1:1"], &words);
        }
    }

    #[test]
    fn a_stall_limit_that_healthy_clients_come_up_against_is_refused_with_the_reason() {
        for bad in ["249ms", "20ms", "1ns", "249ms 999us"] {
            let argument = format!("--stall-timeout={bad}");
            let words = [
                &*format!("'{bad}'"),
                "--stall-timeout",
                "at least 250ms, since healthy clients acknowledge",
            ];
            assert_usage_error(&["serve", "--echo=:0", &argument], &words);
        }
        for good in ["250ms", "0s"] {
            // What else is wrong is all that is said.
            let ended = finish(["serve", "--workers=0", "--stall-timeout", good], "");
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(!ended.stderr.contains("--stall-timeout"), "{ended:?}");
        }
    }

    /// The error, without clap's words around it.
    fn error_of(arguments: &[&str]) -> String {
        let ended = finish(arguments, "");
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        ended.stderr
    }

    #[test]
    fn a_bad_value_is_reported_with_what_would_do_in_every_command() {
        const COUNT: &str = "it must be a whole number, such as 1000, 50k or 2M";
        const LEFT_OUT: &str = "leave the option out to set no limit";
        const TIME: &str = "it must be a time, such as 250ms, 1.5s, 2m or 1h 30m; seconds without";
        const URL: &str = "an address is HOST:PORT, without the scheme and the path of a URL";
        const SIZE: &str = "it must be a number of bytes, such as 65536, 64k or 16MiB";
        const RATE: &str = "it must be a number of messages a second, such as 1000, 50k or 0.5/s";
        for (line, words) in [
            ("bench --rate 10kps HOST", RATE),
            ("bench -c 5kk HOST", COUNT),
            ("bench -c 0 HOST", "it must be from 1 to 16,777,216"),
            ("bench -n 0 HOST", "it must be from 1 to 9,007"),
            ("bench --threads x HOST", COUNT),
            ("bench --seed x HOST", COUNT),
            (
                "bench --size 1..0 HOST",
                "it must be from 1 to 4,294,967,296 bytes",
            ),
            (
                "bench --size 9..8 HOST",
                "the smaller size of a range comes first: 8..9",
            ),
            ("bench --size many HOST", SIZE),
            ("bench --warmup soon HOST", TIME),
            ("bench --duration 0 HOST", "it must be longer than 0s"),
            ("ping -i abc HOST", TIME),
            ("ping -W 0 HOST", "it must be longer than 0s"),
            (
                "ping -s 65MiB HOST",
                "it must be from 1 to 67,108,864 bytes",
            ),
            ("ping -c 1.5 HOST", COUNT),
            ("ping -c -1 HOST", COUNT),
            ("bench -n -4 HOST", COUNT),
            (
                "bench --rate -5 HOST",
                "it must be from 0.000001 to 100M a second",
            ),
            ("bench --size -64 HOST", SIZE),
            ("check --timeout -3 HOST", TIME),
            ("serve --idle-timeout -1", TIME),
            ("serve --socket-buffer -1", SIZE),
            ("bench http://localhost/", URL),
            ("client tcp://localhost:7", URL),
            ("serve --echo tcp://0.0.0.0:7", URL),
            ("check --connections all HOST", COUNT),
            ("check --timeout long HOST", TIME),
            ("check --idle 0 HOST", LEFT_OUT),
            ("client --timeout 1x HOST", TIME),
            ("serve --max-connections 0", LEFT_OUT),
            ("serve --max-per-source 0", LEFT_OUT),
            ("serve --idle-timeout 0s", LEFT_OUT),
            ("serve --backlog x", COUNT),
            ("serve --memory-limit lots", SIZE),
            ("serve --stall-timeout never", TIME),
            (
                "serve --stall-timeout 0.1",
                "at least 250ms, since healthy clients",
            ),
        ] {
            let error = error_of(&line.split(' ').collect::<Vec<_>>());
            assert!(error.contains(words), "{line}: no '{words}' in {error}");
        }
    }

    /// Two signals within a millisecond are one to the kernel.
    #[test]
    fn where_a_second_signal_is_spoken_of_so_are_signals_that_merge() {
        let mut texts: Vec<_> = ["serve", "ping", "check", "bench"]
            .iter()
            .map(|command| finish([command, "--help"], "").stdout)
            .map(|help| String::from_utf8(help).unwrap())
            .collect();
        texts.push(include_str!("../README.md").to_owned());
        for text in texts {
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let second = ["a second signal", "A second signal", "a second one"];
            assert!(second.iter().any(|each| words.contains(each)), "{text}");
            assert!(
                words.contains("kernel merges signals") || words.contains("kernel merges those"),
                "{text}"
            );
            assert!(words.contains("almost together"), "{text}");
        }
    }

    #[test]
    fn a_negative_value_is_reported_as_the_value_of_its_option() {
        const NUMBERS: [&str; 10] = [
            "N",
            "N/s",
            "COUNT",
            "SIZE",
            "BYTES",
            "BYTES|A..B",
            "DURATION",
            "BYTE",
            "DSCP",
            "ECN",
        ];
        let mut tried = 0;
        for command in ["serve", "client", "ping", "check", "bench", "health"] {
            let help = finish([command, "--help"], "").stdout;
            let help = String::from_utf8(help).unwrap();
            let lines = help.lines().filter_map(|line| line.trim().split_once("--"));
            for (_, option) in lines {
                let Some((name, value)) = option.trim_end().split_once(" <") else {
                    continue;
                };
                if !NUMBERS.contains(&value.split('>').next().unwrap()) {
                    continue;
                }
                for bad in ["-1", "-1s", "-0.5s", "-5k", "-1KiB", "-5/s", "-2..3"] {
                    let error = error_of(&[command, &format!("--{name}"), bad, "HOST"]);
                    let begin = format!("error: invalid value '{bad}' for '--{name} <");
                    assert!(
                        error.starts_with(&begin),
                        "{command} --{name} {bad}: {error}"
                    );
                    tried += 1;
                }
            }
        }
        assert!(tried > 200, "{tried}");
    }

    #[test]
    fn a_value_is_read_the_same_way_in_every_command() {
        for line in [
            "bench -c 1k --depth 1.5k -n 2M --threads 1 -s 1k..2KiB -r 0.5k/s -d 5 --warmup 0.5",
            "ping -c 5k -i 0.2s -s 64k -W 1m",
            "ping -i 0.2 -W 2",
            "check --connections 1k --timeout 1.5 --idle 300",
            "client --timeout 10",
            "serve --workers 2 --backlog 1k --max-connections 5k --max-per-source 2 --grace 5 \
             --idle-timeout 1.5 --socket-buffer 64k --memory-limit 1.5GiB --lame-duck 2",
        ] {
            // Only the option that nobody has is wrong.
            let arguments: Vec<_> = line.split_whitespace().chain(["--dance"]).collect();
            let error = error_of(&arguments);
            assert!(
                error.contains("unexpected argument '--dance'"),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn a_port_that_is_no_option_comes_with_where_it_belongs() {
        for (line, tip) in [
            (
                "client -p 20162 HOST",
                "the port is part of the address: HOST:20162",
            ),
            (
                "client HOST -p 7",
                "the port is part of the address: HOST:7",
            ),
            (
                "client --port=7 HOST",
                "the port is part of the address: HOST:7",
            ),
            ("ping HOST 7", "the port is part of the address: HOST:7"),
            (
                "check HOST 20162",
                "the port is part of the address: HOST:20162",
            ),
            (
                "bench --port HOST",
                "the port is part of the address: HOST:PORT",
            ),
            (
                "serve --port 7",
                "the port is the value of --echo, --counted, --whoami, --udp or --stamp: --echo 7",
            ),
            (
                "serve -p 7",
                "the port is the value of --echo, --counted, --whoami, --udp or --stamp: --echo 7",
            ),
            (
                "serve 7",
                "the port is the value of --echo, --counted, --whoami, --udp or --stamp: --echo 7",
            ),
            (
                "serve --udp --port 7",
                "the port is the value of --echo, --counted, --whoami, --udp or --stamp: --udp 7",
            ),
            (
                "serve --host 10.0.0.7",
                "the address is the value of --echo, --counted",
            ),
        ] {
            let error = error_of(&line.split(' ').collect::<Vec<_>>());
            assert!(error.contains(&format!("tip: {tip}")), "{line}: {error}");
            assert_eq!(error.matches("tip: ").count(), 1, "{line}: {error}");
            let command = line.split(' ').next().unwrap();
            let usage = format!("Usage: echopool {command} [OPTIONS]");
            assert!(error.contains(&usage), "{line}: {error}");
        }
        // Only client has words that may begin with a dash.
        assert!(error_of(&["client", "HOST", "-x"]).contains("'-- -x'"));
        assert!(!error_of(&["ping", "HOST", "-x"]).contains("tip: "));
        assert!(error_of(&["serve", "--wrokers", "2"]).contains("'--workers'"));
    }

    #[test]
    fn what_is_missing_unknown_or_contradictory_is_named() {
        assert_usage_error(&[], &["Usage: echopool", "serve", "client"]);
        assert_usage_error(&["client"], &["<ADDR>"]);
        assert_usage_error(&["dance"], &["'dance'"]);
        assert_usage_error(&["serve", "--dance"], &["'--dance'"]);
        assert_usage_error(&["client", "--dance", "127.0.0.1:1"], &["'--dance'"]);
        assert_usage_error(&["serve", "127.0.0.1:0"], &["'127.0.0.1:0'"]);
        assert_usage_error(&["serve", "--workers"], &["--workers"]);
        assert_usage_error(&["serve", "-v", "-q"], &["--verbose", "--quiet"]);
        assert_usage_error(&["serve", "-qvv"], &["--verbose", "--quiet"]);
    }

    /// What clap finds, and what each command finds itself.
    #[test]
    fn every_complaint_is_whole_lines() {
        for line in [
            "dance",
            "serve --workers many",
            "ping -s 0 HOST",
            "ping --udp -s 65508 HOST",
            "health",
            "bench --json - --csv - HOST",
            "check --counted --only urgent HOST",
            "check --only connect-storm --skip connect-storm HOST",
            "report --merge --html - FILE",
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.args(line.split(' ')).env("ECHOPOOL_ADMIN", "a:b:c");
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
            assert!(output.stderr.starts_with(b"error: "), "{line}: {output:?}");
            assert!(output.stderr.ends_with(b"\n"), "{line}: {output:?}");
            assert!(!output.stderr.ends_with(b"\n\n"), "{line}: {output:?}");
        }
    }
}

mod help {
    use super::*;

    /// What the program says of itself, on one line.
    fn ask(arguments: &[&str]) -> String {
        let ended = finish(arguments, "");
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let text = String::from_utf8(ended.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn assert_tells(arguments: &[&str], words: &[&str]) {
        let text = ask(arguments);
        for word in words {
            assert!(text.contains(word), "{arguments:?}: no {word} in: {text}");
        }
    }

    const ADDRESS: &str = "ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST";

    #[test]
    fn the_version_is_the_packages() {
        let version = concat!("echopool ", env!("CARGO_PKG_VERSION"));
        assert_eq!(ask(&["--version"]), version);
        assert_eq!(ask(&["-V"]), version);
    }

    #[test]
    fn the_programs_help_names_every_command() {
        for option in ["--help", "-h", "help"] {
            let words = [
                "echopool <COMMAND>",
                " serve ",
                " client ",
                " ping ",
                " check ",
            ];
            assert_tells(&[option], &words);
            // The probes stand next to each other.
            let text = ask(&[option]);
            let at = |name: &str| text.find(&format!(" {name} ")).unwrap();
            let places = ["serve", "client", "ping", "check", "bench", "report"].map(at);
            assert!(places.is_sorted(), "{text}");
        }
    }

    #[test]
    fn the_servers_help_names_every_option_and_default() {
        for option in ["--help", "-h"] {
            let words = [
                "--echo [<ADDR>]",
                "[default port: 20162]",
                "--counted [<ADDR>]",
                "[default port: 4000]",
                "--workers <N>",
                "[default: one per CPU]",
                "--backlog <N>",
                "[default: 4096]",
                "--max-connections <N>",
                "[default: what the limit on open files allows]",
                "--stall-timeout <DURATION>",
                "at least 250ms, or 0s for never",
                "--grace <DURATION>",
                "[default: 5s]",
                "-v, --verbose",
                "-q, --quiet",
            ];
            assert_tells(&["serve", option], &words);
        }
        let words = [
            ADDRESS,
            "RUST_LOG",
            "Exit codes: 0 ",
            " 1 an error",
            " 2 wrong usage",
            " 3 the grace period",
            " 130 a second signal",
        ];
        assert_tells(&["serve", "--help"], &words);
    }

    #[test]
    fn the_clients_help_names_every_option_and_default() {
        for option in ["--help", "-h"] {
            let words = [
                "<ADDR> [TEXT]...",
                "--counted",
                "--whoami",
                "--udp",
                "--size <SIZE>",
                "--timeout <DURATION>",
                "[default: 10s]",
            ];
            assert_tells(&["client", option], &words);
        }
        let words = [
            ADDRESS,
            "20162, 4000 with --counted, or 4001 with --whoami",
            "Exit codes: 0 ",
            " 1 it did not",
            " 2 wrong usage",
        ];
        assert_tells(&["client", "--help"], &words);
    }

    #[test]
    fn the_pings_help_names_every_option_and_default() {
        for option in ["--help", "-h"] {
            let words = [
                "-c, --count <COUNT>",
                "[default: until Ctrl-C]",
                "-i, --interval <DURATION>",
                "[default: 1]",
                "-s, --size <SIZE>",
                "[default: 64]",
                "-W, --timeout <DURATION>",
                "-q, --quiet",
                "--json",
                "--udp",
                "--ports <N>",
                "--dscp <DSCP>",
                "--ecn <ECN>",
                "--tos <BYTE>",
            ];
            assert_tells(&["ping", option], &words);
        }
        let words = [
            ADDRESS,
            "20162",
            "Exit codes: 0 ",
            " 1 otherwise",
            " 2 wrong usage",
            " 130 a second signal",
        ];
        assert_tells(&["ping", "--help"], &words);
    }
}

mod addresses {
    use super::*;

    /// `address` as a client of this machine reaches it.
    fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
        let port = address.port();
        let v4 = SocketAddr::new(LOCALHOST, port);
        let v6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
        match address.ip() {
            ip if !ip.is_unspecified() => vec![address],
            IpAddr::V4(_) => vec![v4],
            IpAddr::V6(_) => vec![v4, v6],
        }
    }

    #[test]
    fn every_form_with_port_0_listens_for_both_protocols() {
        let forms = ["127.0.0.1:0", ":0", "0", "localhost:0", "[::1]:0", "[::]:0"];
        for form in forms {
            if form.starts_with('[') && !has_ipv6() {
                continue;
            }
            let mut program = Program::start(["serve", "--echo", form, "--counted", form]);
            let echo = program.wait_for_listener("echo");
            let counted = program.wait_for_listener("counted");
            assert!(echo.port() != 0 && counted.port() != 0, "{form}");
            let all_interfaces = matches!(form, ":0" | "0");
            assert_eq!(
                echo.ip().is_unspecified(),
                all_interfaces || form == "[::]:0"
            );
            assert_eq!(
                echo.is_ipv6() && all_interfaces,
                has_ipv6() && all_interfaces
            );
            // A host that is an IPv6 address means IPv6 alone.
            let only_v6 = form == "[::]:0";
            for address in reachable(echo).into_iter().skip(usize::from(only_v6)) {
                round_trip(&mut connect(address), b"hello");
            }
            for address in reachable(counted).into_iter().skip(usize::from(only_v6)) {
                let ended = finish(["client", "--counted", &address.to_string(), "hello"], "");
                assert_eq!(ended.stdout, b"5 : hello\n", "{ended:?}");
            }
        }
    }

    #[test]
    fn every_form_with_a_port_reaches_the_server() {
        let mut program = Program::start(["serve", "--echo", ":0"]);
        let port = program.wait_for_listener("echo").port();
        let mut forms = vec![
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!(":{port}"),
            port.to_string(),
        ];
        if has_ipv6() {
            forms.push(format!("[::1]:{port}"));
        }
        for form in forms {
            let ended = finish(["client", &form, "hello"], "");
            assert_eq!(
                (ended.code, &*ended.stdout),
                (Some(0), &b"hello\n"[..]),
                "{form}"
            );
        }
    }

    #[test]
    fn one_pool_serves_several_listeners_of_each_protocol() {
        let echo = ["--echo", "127.0.0.1:0", "--echo", "127.0.0.1:0"];
        let counted = ["--counted", "127.0.0.1:0", "--counted", "127.0.0.1:0"];
        let serve = ["serve", "--workers", "1"];
        let mut program = Program::start([&serve[..], &echo, &counted].concat());
        let echo = [(); 2].map(|()| program.wait_for_listener("echo"));
        let counted = [(); 2].map(|()| program.wait_for_listener("counted"));
        // The echo clients stay connected, and the one worker serves them all.
        let mut clients = echo.map(connect);
        for (key, client) in clients.iter_mut().enumerate() {
            round_trip(client, &keyed(key as u64, 0, 1000));
        }
        for address in counted {
            let ended = finish(["client", "--counted", &address.to_string(), "hello"], "");
            assert_eq!(ended.stdout, b"5 : hello\n", "{ended:?}");
        }
        // Twice 1,000 bytes, and twice `5 : hello` with its NUL.
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
        assert!(
            program.logged("4 connections, 2020 bytes"),
            "{:?}",
            program.log
        );
    }

    #[test]
    fn a_counted_listener_alone_leaves_echo_out() {
        let mut program = Program::start(["serve", "--counted", "127.0.0.1:0"]);
        program.wait_for_listener("counted");
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
        assert!(!program.logged("echo://"), "{:?}", program.log);
    }

    /// The first thing that a server says: it waits on the address, or can't have it.
    fn first_words(arguments: &[&str], address: &str) -> String {
        let mut program = Program::start([&["serve"], arguments].concat());
        program.wait_for(address)
    }

    #[test]
    fn a_server_without_a_port_takes_the_protocols_own() {
        let all = if has_ipv6() { "[::]" } else { "0.0.0.0" };
        let mut cases = vec![
            (&[][..], "echo", all, 20162),
            (&["--echo"], "echo", all, 20162),
            (&["--echo", "127.0.0.1"], "echo", "127.0.0.1", 20162),
            (&["--counted"], "counted", all, 4000),
            (&["--counted", "127.0.0.1"], "counted", "127.0.0.1", 4000),
            (&["--udp"], "udp", all, 20162),
            (&["--udp", "127.0.0.1"], "udp", "127.0.0.1", 20162),
            (&["--stamp", "127.0.0.1"], "stamp", "127.0.0.1", 862),
        ];
        if has_ipv6() {
            cases.push((&["--counted", "::1"], "counted", "[::1]", 4000));
        }
        for (arguments, protocol, host, port) in cases {
            let address = format!("{host}:{port}");
            let said = first_words(arguments, &address);
            let waiting = format!("waiting for clients on {protocol}://{address}");
            // Someone else on this machine may have the port, or it may need a privilege.
            let taken = format!("could not listen on {address}");
            assert!(said.ends_with(&waiting) || said.contains(&taken), "{said}");
        }
    }

    #[test]
    fn the_same_port_twice_is_named() {
        // Whoever has them, one of the two can't be had.
        for (option, port) in [("--echo", 20162), ("--counted", 4000)] {
            let ended = finish(["serve", option, option], "");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let words = format!(":{port}: address already in use; ");
            assert!(
                ended.stderr.starts_with("echopool: could not listen on "),
                "{ended:?}"
            );
            assert!(ended.stderr.contains(&words), "{ended:?}");
        }
    }

    #[test]
    fn a_client_without_a_port_takes_the_protocols_own() {
        // Nobody listens here unless on all interfaces.
        let host = "127.77.1.2";
        for (options, port, answer) in [
            (&["client"][..], 20162, &b"hello\n"[..]),
            (&["client", "--counted"], 4000, b"5 : hello\n"),
            (&["client", "--udp"], 20162, b"hello\n"),
        ] {
            let ended = finish([options, &[host, "hello"]].concat(), "");
            let named = ended.stderr.contains(&format!(" {host}:{port}: "));
            assert!(named || ended.stdout == answer, "{ended:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_is_an_error_with_its_cause() {
        let holder = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap();
        let ended = finish(["serve", "--echo", &taken.to_string()], "");
        let message = format!("echopool: could not listen on {taken}: address already in use; ");
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.starts_with(&message), "{ended:?}");
        for of_many in ["224.0.0.1:0", "255.255.255.255:0", "[ff02::1]:0"] {
            let ended = finish(["serve", "--udp", of_many], "");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains("of many machines"), "{ended:?}");
        }
        let meant = finish(["serve", "--udp", "2001:db8::1:7000"], "");
        let tip = "if 7000 is the port, write [2001:db8::1]:7000";
        assert!(meant.stderr.contains(tip), "{meant:?}");
    }
}

mod families {
    use super::*;

    const PROBES: [&[&str]; 4] = [
        &["client"],
        &["ping", "-c1"],
        &["check", "--only=connect"],
        &["bench", "-q", "-n1", "--warmup=0s"],
    ];

    #[test]
    fn each_probe_can_use_one_family_alone() {
        let mut server = Program::start(["serve", "--echo=127.0.0.1:0"]);
        let v4 = server.wait_for_listener("echo").to_string();
        for probe in PROBES {
            for (option, address, code, stderr) in [
                ("-4", &*v4, 0, ""),
                ("--ipv4", &v4, 0, ""),
                ("-6", &v4, 1, "could not resolve 127.0.0.1: no IPv6 address"),
                (
                    "--ipv6",
                    &v4,
                    1,
                    "could not resolve 127.0.0.1: no IPv6 address",
                ),
                ("-4", "::1", 1, "could not resolve ::1: no IPv4 address"),
            ] {
                let ended = finish([probe, &[option, address]].concat(), "");
                assert_eq!(ended.code, Some(code), "{probe:?} {option}: {ended:?}");
                assert!(ended.stderr.contains(stderr), "{probe:?}: {ended:?}");
            }
            let both = [probe, &["-4", "-6", &v4]].concat();
            assert_usage_error(&both, &["--ipv4", "--ipv6"]);
        }
    }
}

mod logging {
    use super::*;

    /// Serves one client and stops. Returns all that was logged.
    fn log_of(options: &[&str], rust_log: Option<&str>) -> Vec<String> {
        let (_reserved, address) = reserve(LOCALHOST, 0).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args([&["serve", "--echo", &*address.to_string()], options].concat());
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        if let Some(filters) = rust_log {
            command.env("RUST_LOG", filters);
        }
        let mut program = Program::spawn(command);
        // A quiet server does not tell when it is ready.
        wait_until("the server to listen", || {
            TcpStream::connect(address).is_ok()
        });
        let mut client = connect(address);
        round_trip(&mut client, b"\x1b]0;owned\x07");
        drop(client);
        program.signal(Signal::TERM);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
        program.log.clone()
    }

    fn has(log: &[String], words: &str) -> bool {
        log.iter().any(|line| line.contains(words))
    }

    #[test]
    fn each_level_shows_what_it_says() {
        let log = log_of(&[], None);
        assert!(
            has(&log, "waiting for clients on echo://127.0.0.1:"),
            "{log:?}"
        );
        assert!(!has(&log, "DEBUG") && !has(&log, "TRACE"), "{log:?}");
        assert_eq!(log_of(&["-q"], None), [""; 0]);
        let log = log_of(&["-v"], None);
        assert!(has(&log, "DEBUG") && !has(&log, "TRACE"), "{log:?}");
        let log = log_of(&["-vv"], None);
        assert!(has(&log, "TRACE"), "{log:?}");
        // What a client sends is never shown raw.
        assert!(!has(&log, "\x1b") && !has(&log, "\x07"), "{log:?}");
    }

    #[test]
    fn rust_log_wins_over_the_options() {
        assert_eq!(log_of(&["-v"], Some("error")), [""; 0]);
        let log = log_of(&["-q"], Some("info"));
        assert!(has(&log, "waiting for clients on echo://"), "{log:?}");
    }
}

mod environment {
    use super::*;

    fn serve(variables: &[(&str, impl AsRef<OsStr>)], arguments: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.arg("serve").args(arguments).env_remove("RUST_LOG");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Program::spawn(command)
    }

    #[test]
    fn an_option_may_come_from_a_variable() {
        let variables = [
            ("ECHOPOOL_ECHO", "127.0.0.1:0,localhost:0"),
            ("ECHOPOOL_COUNTED", "127.0.0.1:0"),
            ("ECHOPOOL_WORKERS", "3"),
            ("ECHOPOOL_GRACE", "7s"),
        ];
        let mut server = serve(&variables, &[]);
        let first = server.wait_for_listener("echo");
        let second = server.wait_for_listener("echo");
        assert_ne!(first, second);
        server.wait_for_listener("counted");
        round_trip(&mut connect(second), b"both");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        // The client may or may not have been seen to leave.
        assert!(server.logged(" 7s to finish"), "{:?}", server.log);
        assert!(server.logged("total: 3 workers"), "{:?}", server.log);
    }

    #[test]
    fn the_command_line_wins_over_a_variable() {
        let variables = [("ECHOPOOL_WORKERS", "3"), ("ECHOPOOL_ECHO", "192.0.2.1:7")];
        let mut server = serve(&variables, &["--workers", "2", "--echo", "127.0.0.1:0"]);
        server.wait_for_listener("echo");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        assert!(server.logged("total: 2 workers"), "{:?}", server.log);
    }

    #[test]
    fn an_empty_variable_is_not_set_and_blanks_may_follow_a_comma() {
        let variables = [
            ("ECHOPOOL_ECHO", "127.0.0.1:0, localhost:0"),
            ("ECHOPOOL_COUNTED", " "),
            ("ECHOPOOL_MAX_LIFETIME", ""),
            ("ECHOPOOL_PROXY_PROTOCOL", ""),
            ("ECHOPOOL_ADMIN", ""),
            ("ECHOPOOL_WORKERS", " 2 "),
            ("RUST_LOG", ""),
        ];
        let mut server = serve(&variables, &[]);
        let first = server.wait_for_listener("echo");
        assert_ne!(first, server.wait_for_listener("echo"));
        // A server that waits for a PROXY header would not echo.
        round_trip(&mut connect(first), b"hello");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        assert!(server.logged("total: 2 workers"), "{:?}", server.log);
        for words in ["counted://", "WARN"] {
            assert!(!server.logged(words), "{words}: {:?}", server.log);
        }
    }

    #[test]
    fn a_variable_of_no_option_is_warned_of_with_the_nearest() {
        let variables = [
            ("ECHOPOOL_ECHO", "127.0.0.1:0"),
            ("ECHOPOOL_MAXCONNECTIONS", "5"),
            ("ECHOPOOL_GRCAE", "1s"),
            ("echopool_workers", "1"),
            ("ECHOPOOL_PORT", "7"),
            ("ECHOPOOL_COLOUR_OF_THE_SKY", "blue"),
            // What Kubernetes sets for services named echopool and echopool-echo.
            ("ECHOPOOL_SERVICE_HOST", "10.0.0.7"),
            ("ECHOPOOL_SERVICE_PORT_ECHO", "20162"),
            ("ECHOPOOL_PORT_20162_TCP_ADDR", "10.0.0.7"),
            ("ECHOPOOL_ECHO_PORT", "tcp://10.0.0.7:20162"),
            ("ECHOPOOL_GRAZE", ""),
            ("OTHER_GRACE", "1s"),
        ];
        let mut server = serve(&variables, &["--workers", "1"]);
        server.wait_for_listener("echo");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
        let warnings = server
            .log
            .iter()
            .filter_map(|line| line.split_once("WARN  "));
        let warnings: Vec<_> = warnings.map(|(_, text)| text).collect();
        let ignored = "is ignored: no option has this variable";
        assert_eq!(
            warnings,
            [
                format!("ECHOPOOL_COLOUR_OF_THE_SKY {ignored}; 'echopool serve --help' lists them"),
                format!("ECHOPOOL_GRCAE {ignored}; did you mean ECHOPOOL_GRACE?"),
                format!(
                    "ECHOPOOL_MAXCONNECTIONS {ignored}; did you mean ECHOPOOL_MAX_CONNECTIONS?"
                ),
                format!(
                    "ECHOPOOL_PORT {ignored}; the port is part of the address: ECHOPOOL_ECHO=PORT"
                ),
                format!("echopool_workers {ignored}; did you mean ECHOPOOL_WORKERS?"),
            ]
        );
    }

    /// The notes on variables behind the error of a server that does not start.
    fn notes(
        variables: &[(&str, impl AsRef<OsStr>)],
        arguments: &[&str],
        code: i32,
    ) -> Vec<String> {
        let mut server = serve(variables, arguments);
        assert_eq!(server.wait().code(), Some(code), "{:?}", server.log);
        let notes = server.log.iter().filter(|line| line.starts_with("note: "));
        notes.cloned().collect()
    }

    /// What to do about a variable whose value is wrong.
    const CORRECT: &str = "correct or unset it";

    fn note(variable: &str, option: &str, advice: &str) -> String {
        format!("note: the environment has {variable} for {option}: {advice}")
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, bad, option) in [
            ("GRACE", "soon", "--grace <DURATION>"),
            ("MAX_PER_SOURCE", "x", "--max-per-source <N>"),
            ("WORKERS", "none", "--workers <N>"),
            ("PROXY_PROTOCOL", "maybe", "--proxy-protocol"),
            ("COUNTED", "127.0.0.1:0,a:b", "--counted [<ADDR>]"),
        ] {
            let name = format!("ECHOPOOL_{name}");
            // The other has nothing to do with it.
            let variables = [(&*name, bad), ("ECHOPOOL_BACKLOG", "16")];
            let advice = match option {
                "--proxy-protocol" => "make it true or false, or unset it",
                _ => CORRECT,
            };
            let want = note(&format!("{name}={bad}"), option, advice);
            assert_eq!(notes(&variables, &[], 2), [want]);
        }
    }

    #[test]
    fn a_variable_that_is_no_text_is_named() {
        let bad = OsStr::from_bytes(b"5\xff");
        let variables = [
            ("ECHOPOOL_GRACE", bad),
            ("ECHOPOOL_BACKLOG", OsStr::new("16")),
        ];
        let want = note("ECHOPOOL_GRACE=5\u{fffd}", "--grace <DURATION>", CORRECT);
        assert_eq!(notes(&variables, &[], 2), [want]);
    }

    #[test]
    fn a_variable_that_switches_on_what_takes_an_address_is_named() {
        // A part of a name has 63 letters at most, so no server need be asked.
        let word = "yes".repeat(22);
        for (name, option) in [
            ("ECHOPOOL_COUNTED", "--counted [<ADDR>]"),
            ("ECHOPOOL_ADMIN", "--admin [<ADDR>]"),
        ] {
            let variables = [(name, &*word), ("ECHOPOOL_ECHO", "127.0.0.1:0")];
            let want = note(&format!("{name}={word}"), option, CORRECT);
            assert_eq!(notes(&variables, &[], 1), [want]);
        }
    }

    #[test]
    fn no_variable_is_named_for_what_the_command_line_got_wrong() {
        let variables = [("ECHOPOOL_WORKERS", "3"), ("ECHOPOOL_ECHO", "127.0.0.1:0")];
        let word = "no".repeat(33);
        for (arguments, code) in [
            (&["--workers", "many"][..], 2),
            (&["--dance"], 2),
            (&["--echo", &word], 1),
        ] {
            assert_eq!(notes(&variables, arguments, code), [""; 0]);
        }
    }

    #[test]
    fn the_servers_help_names_the_variables() {
        let help = finish(["serve", "--help"], "");
        let help = String::from_utf8(help.stdout).unwrap();
        for name in [
            "ECHO",
            "COUNTED",
            "WORKERS",
            "BACKLOG",
            "MAX_CONNECTIONS",
            "GRACE",
        ] {
            let words = format!("[env: ECHOPOOL_{name}=]");
            assert!(help.contains(&words), "no {words} in {help}");
        }
    }
}

mod standard_output {
    use std::fs::{File, OpenOptions};
    use std::path::Path;

    use super::*;
    use common::{Ended, Server};

    /// Every way to ask for something that goes to standard output.
    fn all(server: SocketAddr, results: &Path) -> Vec<String> {
        let results = results.display();
        let bench = format!("bench {server} --quiet --warmup 0s --count 1");
        vec![
            format!("client {server} hello"),
            format!("client {server}"),
            format!("ping {server} --count 1"),
            format!("ping {server} --count 1 --quiet"),
            format!("ping {server} --count 1 --json"),
            format!("check {server} --only bytes"),
            format!("check {server} --only bytes --json"),
            String::from("check --list"),
            bench.clone(),
            format!("{bench} --json -"),
            format!("{bench} --csv -"),
            format!("{bench} --html -"),
            format!("report {results}"),
            format!("report {results} {results}"),
            format!("report --merge {results}"),
            format!("report {results} --html -"),
            String::from("man"),
            String::from("completions bash"),
            String::from("help"),
            String::from("bench --help"),
            String::from("--version"),
        ]
    }

    /// Runs all with what the shell makes of standard output.
    fn each(redirect: &str, check: impl Fn(&str, &Ended)) {
        let server = Server::with_workers(1);
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results.json");
        let run = common::results::closed("a");
        serde_json::to_writer(File::create(&results).unwrap(), &run).unwrap();
        for arguments in all(server.echo, &results) {
            let program = env!("CARGO_BIN_EXE_echopool");
            let mut command = Command::new("sh");
            command.arg("-c");
            command.arg(format!(
                "echo hello | exec {program} {arguments} {redirect}"
            ));
            command.env_remove("RUST_LOG").stdout(Stdio::piped());
            check(&arguments, &common::end(Program::spawn(command)));
        }
        server.stop();
    }

    #[test]
    fn one_that_can_not_be_written_is_a_failure_of_every_command() {
        for (redirect, cause) in [
            (">&-", "it is closed"),
            ("<&- >&-", "it is closed"),
            ("1</dev/null", "it is open for reading only"),
            #[cfg(target_os = "linux")]
            (">/dev/full", "no space left on device"),
        ] {
            let said = format!("could not write standard output: {cause}");
            each(redirect, |arguments, ended| {
                assert_eq!(ended.code, Some(1), "{arguments} {redirect}: {ended:?}");
                assert!(ended.stderr.contains(&said), "{arguments}: {ended:?}");
            });
        }
    }

    #[test]
    fn one_that_is_thrown_away_is_none() {
        each(">/dev/null", |arguments, ended| {
            assert_eq!(ended.code, Some(0), "{arguments}: {ended:?}");
        });
        each("1<>/dev/null", |arguments, ended| {
            assert_eq!(ended.code, Some(0), "{arguments}: {ended:?}");
        });
    }

    #[test]
    fn a_reader_that_left_early_is_none() {
        let server = Server::with_workers(1);
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results.json");
        let run = common::results::closed("a");
        serde_json::to_writer(File::create(&results).unwrap(), &run).unwrap();
        for arguments in all(server.echo, &results) {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.args(arguments.split_whitespace());
            command.stdin(Stdio::null()).stdout(writer);
            let mut program = Program::spawn(command);
            let status = program.wait();
            assert_eq!(status.code(), Some(0), "{arguments}: {:?}", program.log);
        }
        server.stop();
    }

    #[test]
    fn a_run_whose_text_can_not_be_written_still_writes_its_files() {
        let server = Server::with_workers(1);
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("a.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(["bench", &server.echo.to_string(), "--quiet", "--count", "1"]);
        command.args(["--warmup", "0s", "--json"]).arg(&json);
        command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let mut program = Program::spawn(command);
        assert_eq!(program.wait().code(), Some(1), "{:?}", program.log);
        assert!(echopool::report::read::read(json.to_str().unwrap()).is_ok());
        server.stop();
    }
}

mod output_files {
    use super::*;

    #[test]
    fn a_path_that_can_not_be_written_is_refused_before_any_load() {
        // Whoever connects would be seen.
        let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(inside("none/a"), &link).unwrap();
        for (path, cause) in [
            (inside("none/a.json"), "no such file or directory"),
            (inside(""), "is a directory"),
            (inside(&"a".repeat(300)), "file name too long"),
            (link.display().to_string(), "no such file or directory"),
            (String::from("/proc/none"), "no such file or directory"),
        ] {
            for option in ["--json", "--csv", "--html"] {
                let ended = finish(["bench", &server, option, &path], "");
                assert_eq!(ended.code, Some(1), "{option} {path}: {ended:?}");
                let said = format!("could not write {path}: ");
                assert!(ended.stderr.contains(&said), "{ended:?}");
                assert!(ended.stderr.contains(cause), "{ended:?}");
                assert!(listener.accept().is_err(), "{option} {path}: load was made");
            }
            let ended = finish(["report", "no-such-file", "--html", &path], "");
            assert!(ended.stderr.contains("could not write "), "{ended:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

mod json {
    use super::*;

    #[test]
    fn a_name_that_is_unknown_is_reported_in_json_by_every_command_that_has_it() {
        // No name ends in .invalid, RFC 6761.
        for (arguments, key) in [
            (
                &["check", "host.invalid", "--json"][..],
                ("format", "echopool-check/1"),
            ),
            (
                &["check", "--counted", "host.invalid", "--json"],
                ("format", "echopool-check/1"),
            ),
            (&["ping", "host.invalid", "--json"], ("event", "failed")),
            (
                &["ping", "host.invalid", "--json", "--quiet"],
                ("event", "failed"),
            ),
            (
                &["bench", "host.invalid", "--json", "-"],
                ("format", "echopool-bench/1"),
            ),
        ] {
            let ended = finish(arguments, "");
            assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
            let value: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
            assert_eq!(value[key.0], key.1, "{arguments:?}");
            let error = value["error"].as_str().unwrap();
            assert!(
                error.starts_with("could not resolve host.invalid"),
                "{error}"
            );
            assert!(ended.stderr.contains(error), "{ended:?}");
        }
    }
}

mod without_effect {
    use super::*;

    #[test]
    fn options_of_something_that_is_not_served_are_warned_of() {
        let udp_options = ["--udp-rate=9", "--udp-low-ports", "--udp-buffer=64KiB"];
        let echo = ["serve", "--echo", "127.0.0.1:0", "--whoami-tcp"];
        let mut program = Program::start([&echo[..], &udp_options].concat());
        for option in [
            "--udp-rate",
            "--udp-buffer",
            "--udp-low-ports",
            "--whoami-tcp",
        ] {
            program.wait_for(&format!("{option} has no effect: it needs --"));
        }
        let udp = [
            "serve",
            "--udp",
            "127.0.0.1:0",
            "--proxy-protocol",
            "--udp-rate=9",
        ];
        let mut program = Program::start(udp);
        program.wait_for("--proxy-protocol has no effect: it needs --echo");
        program.wait_for("waiting for clients on udp://");
        assert!(
            !program.logged("--udp-rate has no effect"),
            "{:?}",
            program.log
        );
    }
}
