//! The whoami protocol: what the server says, and the client and the check that ask it.
#![cfg(unix)]

mod common;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use common::check::check;
use common::{Program, connect, expect_end, finish, read_to_end};

/// Starts the program with a whoami listener.
fn serve(address: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut program = Program::start([&["serve", "--whoami", address], arguments].concat());
    let address = program.wait_for_listener("whoami");
    (program, address)
}

/// A server of the test's own that answers every connection so.
fn answering(answer: impl Fn(&TcpStream) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A client may have left already.
            let _ = stream.write_all(answer(&stream).as_bytes());
        }
    });
    address
}

mod server {
    use super::*;

    #[test]
    fn every_client_is_sent_its_own_address_and_then_the_end() {
        let (_program, address) = serve("127.0.0.1:0", &["--workers", "1"]);
        // The first asks last: nobody waits for anybody.
        let mut clients: Vec<_> = (0..50).map(|_| connect(address)).collect();
        for client in clients.iter_mut().rev() {
            let own = client.local_addr().unwrap();
            assert_eq!(read_to_end(client), format!("{own}\n").as_bytes());
        }
    }

    #[test]
    fn what_the_client_sends_does_not_destroy_the_answer() {
        let (_program, address) = serve("127.0.0.1:0", &[]);
        for _ in 0..20 {
            let mut client = connect(address);
            client.write_all(&[b'x'; 64 * 1024]).unwrap();
            let own = client.local_addr().unwrap();
            assert_eq!(read_to_end(&mut client), format!("{own}\n").as_bytes());
        }
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_listener_is_told_its_ipv4_address() {
        let (_program, address) = serve(":0", &[]);
        let mut client = connect((Ipv4Addr::LOCALHOST, address.port()).into());
        let own = client.local_addr().unwrap();
        assert!(own.is_ipv4());
        assert_eq!(read_to_end(&mut client), format!("{own}\n").as_bytes());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_servers_tcp_knows_is_a_second_line_where_it_is_asked_to_tell() {
        let (_program, address) = serve("127.0.0.1:0", &["--whoami-tcp"]);
        let mut client = connect(address);
        let own = client.local_addr().unwrap();
        let answer = String::from_utf8(read_to_end(&mut client)).unwrap();
        let (line, tcp) = answer.split_once('\n').unwrap();
        assert_eq!(line, own.to_string());
        let tcp: serde_json::Value = serde_json::from_str(tcp.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(tcp["retransmits"], 0, "{tcp:#}");
        assert_eq!(tcp["options"]["sack"], true, "{tcp:#}");
        for key in ["smoothed_rtt_ns", "mss_sent_bytes", "path_mtu_bytes"] {
            assert!(
                tcp[key].as_u64().is_some_and(|figure| figure > 0),
                "{tcp:#}"
            );
        }
    }

    #[test]
    fn it_is_served_beside_the_others_and_alone_it_takes_their_place() {
        let (mut program, _) = serve("127.0.0.1:0", &["--echo", "127.0.0.1:0"]);
        // Listeners come in the order of the protocols.
        assert!(program.logged("waiting for clients on echo://"));
        let (mut alone, address) = serve("127.0.0.1:0", &[]);
        assert!(!alone.logged("waiting for clients on echo://"));
        expect_end(&mut {
            let mut client = connect(address);
            let mut line = vec![0; client.local_addr().unwrap().to_string().len() + 1];
            std::io::Read::read_exact(&mut client, &mut line).unwrap();
            client
        });
        for program in [&mut program, &mut alone] {
            program.signal(rustix::process::Signal::TERM);
            assert_eq!(program.wait().code(), Some(0));
        }
    }
}

mod client {
    use super::*;

    #[test]
    fn it_prints_the_address_that_the_server_sees() {
        let (_program, address) = serve("127.0.0.1:0", &[]);
        let ended = finish(["client", "--whoami", &address.to_string()], "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let said = String::from_utf8(ended.stdout).unwrap();
        let seen: SocketAddr = said.strip_suffix('\n').unwrap().parse().unwrap();
        assert_eq!(seen.ip(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_prints_what_both_ends_know_of_the_connection_if_the_server_tells() {
        let (_program, address) = serve("127.0.0.1:0", &["--whoami-tcp"]);
        let ended = finish(["client", "--whoami", &address.to_string()], "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let said = String::from_utf8(ended.stdout).unwrap();
        let lines: Vec<_> = said.lines().collect();
        let [seen, server, client] = lines[..] else {
            panic!("{said}");
        };
        assert!(seen.parse::<SocketAddr>().is_ok(), "{said}");
        for (line, whose) in [(server, "server: "), (client, "client: ")] {
            assert!(line.starts_with(whose), "{said}");
            let (_, rest) = line.split_once(" mss_announced=").expect("the figure");
            // What was received in the one or no segment that came by then is less.
            let announced: u64 = rest.split(' ').next().unwrap().parse().unwrap();
            assert!(announced >= 16 * 1024, "{said}");
            assert!(line.ends_with(" ecn=no"), "{said}");
        }
    }

    #[test]
    fn another_answer_is_an_error_that_shows_it() {
        let server = answering(|_| String::from("\x1b[2Jhello\n")).to_string();
        let ended = finish(["client", "--whoami", &server], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let words = "expected this client's address as a line, received \"\\x1b[2Jhello\\n\"";
        assert!(ended.stderr.contains(words), "{ended:?}");
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let ended = finish(["client", "--whoami", "--timeout", "100ms", &address], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("100ms"), "{ended:?}");
    }

    #[test]
    fn there_is_nothing_to_send() {
        for more in ["--counted", "hello"] {
            let ended = finish(["client", "--whoami", "127.0.0.1:1", more], "");
            assert_eq!(ended.code, Some(2), "{ended:?}");
        }
    }
}

mod check_of_the_address {
    use super::*;

    #[test]
    fn it_passes_where_the_server_sees_us_as_we_are() {
        for listen in ["127.0.0.1:0", "[::1]:0", ":0"] {
            let (_program, address) = serve(listen, &["--workers", "2"]);
            check(address, "--whoami").assert_passed(&[]);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_shows_what_both_ends_know_of_the_connection_if_the_server_tells() {
        let (_program, address) = serve("127.0.0.1:0", &["--whoami-tcp"]);
        let checked = check(address, "--whoami");
        checked.assert_passed(&[]);
        let seen = checked.seen("source-address");
        let words = [" the last; there retransmits=0 ", "; here retransmits=0 "];
        assert!(words.iter().all(|words| seen.contains(words)), "{seen}");
    }

    #[test]
    fn a_second_line_of_something_else_is_reported() {
        let answer = |stream: &TcpStream| format!("{}\nhello\n", stream.peer_addr().unwrap());
        let checked = check(answering(answer), "--whoami --only source-address");
        checked.assert_failed(&["source-address"]);
    }

    #[test]
    fn an_address_or_a_port_that_is_not_ours_is_reported() {
        let moved = |stream: &TcpStream| {
            let mut seen = stream.peer_addr().unwrap();
            seen.set_ip(Ipv4Addr::new(192, 0, 2, 7).into());
            format!("{seen}\n")
        };
        let server = answering(moved);
        let checked = check(server, "--whoami --only source-address");
        checked.assert_failed(&["source-address"]);
        let seen = checked.seen("source-address");
        assert!(seen.contains(": the server sees 192.0.2.7:"), "{seen}");
        let renumbered = |stream: &TcpStream| {
            let mut seen = stream.peer_addr().unwrap();
            seen.set_port(seen.port() ^ 1);
            format!("{seen}\n")
        };
        let checked = check(answering(renumbered), "--whoami");
        checked.assert_failed(&["source-address"]);
    }

    #[test]
    fn what_is_no_address_or_more_than_one_is_reported() {
        for (answer, words) in [
            ("no address\n", "the server told no address in 11 bytes"),
            ("", "the end came after"),
            (&"x".repeat(1000), "the server told no address in 128 bytes"),
        ] {
            let answer = answer.to_owned();
            let server = answering(move |_| answer.clone());
            let checked = check(server, "--whoami --only source-address");
            checked.assert_failed(&["source-address"]);
            let seen = checked.seen("source-address");
            assert!(seen.contains(words), "no {words:?} in {seen:?}");
        }
        let twice = |stream: &TcpStream| format!("{0}\n{0}\n", stream.peer_addr().unwrap());
        let checked = check(answering(twice), "--whoami --only source-address");
        checked.assert_failed(&["source-address"]);
    }
}
