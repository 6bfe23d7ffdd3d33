//! What the server listens on: addresses that this machine lacks, all interfaces, IPv4 written
//! as IPv6, and the listen queue of the admin socket.
//!
//! The tests that need a network of their own run only when asked for: `make test-tools`.
#![cfg(target_os = "linux")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use common::http::{admin_of, get};
use common::serve::{stop_cleanly, suspend};
use common::{DEADLINE, Program, connect, finish, read_to_end, round_trip};
use rustix::process::Signal;

/// Addresses that no machine has: RFC 5737 and RFC 3849.
const ABSENT: [&str; 2] = ["192.0.2.1", "[2001:db8::1]"];

/// A port that nothing else has, and none of the two families.
fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn serve(variables: &[(&str, &str)], arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.arg("serve").args(arguments).env_remove("RUST_LOG");
    command.envs(variables.iter().copied());
    Program::spawn(command)
}

mod an_absent_address {
    use super::*;

    #[test]
    fn is_passed_over_with_a_warning_whichever_listener_it_is_of() {
        for absent in ABSENT {
            let absent = format!("{absent}:{}", free_port());
            for option in ["ECHO", "COUNTED", "WHOAMI"] {
                let variable = format!("ECHOPOOL_{option}");
                for list in [
                    format!("127.0.0.1:0,{absent}"),
                    format!("{absent},127.0.0.1:0"),
                ] {
                    let mut server = serve(&[(&variable, &list)], &[]);
                    let warning = server.wait_for(&absent);
                    assert!(warning.contains("WARN"), "{warning}");
                    let address = server.wait_for_listener(&option.to_lowercase());
                    assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), "{list}");
                    drop(connect(address));
                    stop_cleanly(server);
                }
            }
        }
    }

    #[test]
    fn of_one_listener_does_not_keep_another_from_being_served() {
        let absent = format!("{}:{}", ABSENT[0], free_port());
        let variables = [("ECHOPOOL_WHOAMI", &*absent), ("ECHOPOOL_COUNTED", &absent)];
        let mut server = serve(&variables, &["--echo", "127.0.0.1:0"]);
        let address = server.wait_for_listener("echo");
        round_trip(&mut connect(address), b"served");
        stop_cleanly(server);
    }

    #[test]
    fn is_passed_over_for_datagrams_and_beside_datagrams_as_well() {
        for [absent, present] in [
            ["--udp", "--echo"],
            ["--stamp", "--udp"],
            ["--echo", "--udp"],
        ] {
            let lacking = format!("{}:{}", ABSENT[0], free_port());
            let arguments = [absent, &lacking, present, "127.0.0.1:0"];
            let mut server = serve(&[], &arguments);
            let warning = server.wait_for(&lacking);
            assert!(warning.contains("WARN"), "{warning}");
            let protocol = present.trim_start_matches("--");
            let address = server.wait_for_listener(protocol);
            assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
            stop_cleanly(server);
        }
    }

    #[test]
    fn of_the_admin_socket_is_a_warning() {
        for absent in ABSENT {
            let absent = format!("{absent}:{}", free_port());
            let mut server = serve(&[], &["--echo", "127.0.0.1:0", "--admin", &absent]);
            assert!(server.wait_for(&absent).contains("WARN"));
            let address = server.wait_for_listener("echo");
            round_trip(&mut connect(address), b"served");
            stop_cleanly(server);
        }
    }

    #[test]
    fn is_an_error_where_there_is_no_other_to_be_served() {
        let [v4, v6] = ABSENT;
        let admin = &["--admin", "127.0.0.1:0"][..];
        for (arguments, named) in [
            (vec!["--echo", v4], v4),
            (vec!["--counted", v6], v6),
            (vec!["--udp", v4], v4),
            (vec!["--stamp", v6, "--udp", v4], v4),
            (vec!["--echo", v6, "--counted", v4], v6),
            ([&["--whoami", v4], admin].concat(), v4),
        ] {
            let ended = finish([&["serve"], &arguments[..]].concat(), "");
            let words = format!("echopool: could not listen on {named}:");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stderr.contains(&words), "{ended:?}");
        }
    }

    #[test]
    fn does_not_hide_an_address_that_another_program_has() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().to_string();
        let absent = format!("{}:{}", ABSENT[0], free_port());
        let arguments = ["serve", "--echo", "127.0.0.1:0", "--echo", &absent];
        for option in ["--counted", "--admin"] {
            let ended = finish([&arguments[..], &[option, &taken]].concat(), "");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let words = format!("could not listen on {taken}: address already in use");
            assert!(ended.stderr.contains(&words), "{ended:?}");
        }
    }

    /// The program on a network of its own, in which `script` has run before it.
    fn in_a_network(script: &str, arguments: &[&str]) -> Option<Program> {
        let can = Command::new("unshare").args(["-rn", "true"]).status();
        if !can.is_ok_and(|status| status.success()) {
            return None;
        }
        let script = format!("set -e; ip link set lo up; {script}; exec \"$0\" serve \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["-rn", "sh", "-c", &script, env!("CARGO_BIN_EXE_echopool")])
            .args(arguments)
            .env_remove("RUST_LOG");
        Some(Program::spawn(command))
    }

    /// Runs a script in the network of a program. Returns whether it succeeded.
    fn beside(program: &Program, script: &str) -> bool {
        let mut command = Command::new("nsenter");
        let pid = program.child.id().to_string();
        command.args(["-U", "-n", "--preserve-credentials", "-t", &pid]);
        command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_echopool")]);
        command.status().unwrap().success()
    }

    #[test]
    #[ignore = "needs unshare(1), nsenter(1) and ip(8)"]
    fn is_one_of_ipv6_that_is_switched_off() {
        let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
        let lists = [
            ("--counted", "127.0.0.1:4000,[::1]:4000"),
            ("--counted", "[::1]:4000,127.0.0.1:4000"),
            ("--echo", "localhost:4000"),
        ];
        for (option, list) in lists {
            let arguments = [option, list, "--admin", "[::1]:20163"];
            let Some(mut server) = in_a_network(off, &arguments) else {
                return;
            };
            let address = server.wait_for_listener(&option[2..]);
            assert_eq!(address, "127.0.0.1:4000".parse().unwrap());
            let client = format!("\"$0\" client {option} 127.0.0.1:4000 hello");
            let client = client.replace("--echo ", "");
            assert!(beside(&server, &client), "{list}");
            let warnings = server.log.iter().filter(|line| line.contains("WARN"));
            let warned: Vec<_> = warnings.filter(|line| line.contains("[::1]:")).collect();
            let named = usize::from(list.contains("[::1]"));
            assert!(warned.len() > named, "{:?}", server.log);
            stop_cleanly(server);
        }
    }

    /// As where the kernel has no IPv6 at all.
    #[test]
    #[ignore = "needs strace"]
    fn is_one_of_a_family_that_the_system_lacks() {
        let lacks = [
            "strace",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=socket:error=EAFNOSUPPORT:when=1",
        ];
        for arguments in [
            &["serve", "--counted", "[::1]:0,127.0.0.1:0"][..],
            &["serve", "--counted", "*:0"],
        ] {
            let mut command = Command::new(lacks[0]);
            command
                .args(&lacks[1..])
                .arg(env!("CARGO_BIN_EXE_echopool"))
                .args(arguments)
                .env_remove("RUST_LOG");
            let mut server = Program::spawn(command);
            assert!(server.wait_for_listener("counted").is_ipv4());
        }
    }

    /// As an IPv6 address that is still tentative at the start, and one of a link that is
    /// not there yet.
    #[test]
    #[ignore = "needs unshare(1), nsenter(1) and ip(8)"]
    fn is_served_once_the_machine_has_it() {
        // 100 probes, a second apart, before an address is the machine's own.
        let links = "ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
            echo 100 > /proc/sys/net/ipv6/conf/v0/dad_transmits
            ip address add fd00::1/64 dev v0";
        let options = ["--echo", "127.0.0.1:4444,[fd00::1]:4444,10.9.8.7:4444"];
        let arguments = [&options[..], &["--admin", "[fd00::1]:20163"]].concat();
        let Some(mut server) = in_a_network(links, &arguments) else {
            return;
        };
        for _ in 0..3 {
            server.wait_for("waiting for clients on echo://");
        }
        server.wait_for("metrics and health on http://[fd00::1]:20163");
        for address in ["fd00::1", "10.9.8.7"] {
            let warning = format!("this machine does not have the address {address} yet: ");
            assert!(server.logged(&warning), "{:?}", server.log);
        }
        let come = "ip address delete fd00::1/64 dev v0; ip address add fd00::1/64 dev v0 nodad
            ip address add 10.9.8.7/24 dev v0";
        assert!(beside(&server, come));
        for address in ["[fd00::1]:4444", "10.9.8.7:4444"] {
            let client = format!("\"$0\" client {address} hello");
            assert!(beside(&server, &client), "{address}");
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0), "{:?}", server.log);
    }
}

mod all_interfaces {
    use super::*;

    /// The same port of the loopback addresses that there are.
    fn loopbacks(port: u16) -> Vec<SocketAddr> {
        let v6 = has_ipv6().then_some(IpAddr::V6(Ipv6Addr::LOCALHOST));
        let hosts = [IpAddr::V4(Ipv4Addr::LOCALHOST)].into_iter().chain(v6);
        hosts.map(|host| SocketAddr::new(host, port)).collect()
    }

    #[test]
    fn are_a_star_for_every_listener_and_for_the_admin_socket() {
        let all = ["--echo", "*:0", "--whoami", "*:0", "--admin", "*:0"];
        let mut server = serve(&[], &all);
        let echo = server.wait_for_listener("echo");
        let whoami = server.wait_for_listener("whoami");
        let admin = admin_of(&mut server);
        for address in loopbacks(echo.port()) {
            round_trip(&mut connect(address), b"both families");
        }
        for address in loopbacks(whoami.port()) {
            assert!(!read_to_end(&mut connect(address)).is_empty());
        }
        for address in loopbacks(admin.port()) {
            assert_eq!(get(address, "/readyz").code, 200, "{address}");
        }
        stop_cleanly(server);
    }

    #[test]
    fn are_nothing_to_connect_to() {
        for arguments in [&["client", "*:7", "hello"][..], &["ping", "*", "-c", "1"]] {
            let ended = finish(arguments, "");
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let words = "could not resolve *: it means all interfaces";
            assert!(ended.stderr.contains(words), "{ended:?}");
        }
    }
}

#[test]
fn ipv4_written_as_ipv6_is_ipv4_for_every_listener_and_every_probe() {
    for mapped in ["[::ffff:127.0.0.1]:0", "[::ffff:7f00:1]:0"] {
        let options = ["--echo", mapped, "--counted", mapped];
        let admin = ["--whoami", mapped, "--admin", mapped];
        let mut server = serve(&[], &[&options[..], &admin].concat());
        for protocol in ["echo", "counted", "whoami"] {
            let address = server.wait_for_listener(protocol);
            assert!(address.is_ipv4(), "{address}");
            let mapped = format!("[::ffff:127.0.0.1]:{}", address.port());
            let option = format!("--{protocol}");
            let arguments = match protocol {
                "echo" => vec!["client", &mapped, "hello"],
                "counted" => vec!["client", &option, &mapped, "hello"],
                _ => vec!["client", &option, &mapped],
            };
            let ended = finish(arguments, "");
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
        let admin = admin_of(&mut server);
        assert!(admin.is_ipv4(), "{admin}");
        assert_eq!(get(admin, "/readyz").code, 200);
        stop_cleanly(server);
    }
}

/// With the system library's 128 these would not all be connected: the kernel drops the SYN of
/// a client that finds the queue full, and the client sends it again after a second.
#[test]
fn the_admin_sockets_listen_queue_is_as_long_as_the_servers() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let count = limit.trim().parse::<usize>().unwrap().min(600);
    let mut server = serve(&[], &["--echo", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let admin = admin_of(&mut server);
    suspend(&server);
    let waiting: Vec<_> = (0..count)
        .map(|_| TcpStream::connect_timeout(&admin, DEADLINE).unwrap())
        .collect();
    server.signal(Signal::CONT);
    assert_eq!(get(admin, "/healthz").code, 200);
    drop(waiting);
    stop_cleanly(server);
}
