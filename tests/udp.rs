//! RFC 862 echo over UDP: every datagram comes back once, byte for byte, and the server joins
//! no attack.
#![cfg(target_os = "linux")]

mod common;

use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::http::{admin_of, metrics};
use common::network::Namespace;
use common::serve::{log_of, reported, stop_cleanly, suspend};
use common::trains::{receives_joined, send_segmented};
use common::udp::{client, has_no_more, local, receive, round_trip, serve, serve_on, v6};
use common::{Program, connect, finish, wait_until};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

mod answers {
    use super::*;

    #[test]
    fn every_size_comes_back_byte_for_byte_and_once() {
        let (program, server) = serve(&["--udp-rate", "off"]);
        let client = local();
        let sizes = [0, 1, 2, 508, 1200, 1472, 1473, 8972, 65_506, 65_507];
        for (key, size) in sizes.into_iter().enumerate() {
            round_trip(&client, server, &common::keyed(key as u64, 0, size));
        }
        assert!(has_no_more(&client, server));
        let log = log_of(program);
        let total = reported(&log, "total:");
        let bytes = sizes.iter().sum::<usize>() + 27;
        let words = format!(
            ", {} datagrams answered with {bytes} bytes",
            sizes.len() + 1
        );
        assert!(total.ends_with(&words), "{total}");
    }

    #[test]
    fn every_byte_value_comes_back() {
        let (_program, server) = serve(&[]);
        let all: Vec<u8> = (0..=255).collect();
        round_trip(&local(), server, &all);
    }

    #[test]
    fn it_comes_from_the_address_that_was_asked() {
        for (address, hosts) in [
            ("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.3.4.5"][..]),
            ("*:0", &["127.0.0.1", "127.0.0.2"][..]),
        ] {
            let (_program, server) = serve_on(address, &[]);
            for host in hosts {
                let asked = SocketAddr::new(host.parse().unwrap(), server.port());
                round_trip(&local(), asked, host.as_bytes());
            }
            if let Some(client) = v6().filter(|_| server.is_ipv6()) {
                let asked = SocketAddr::new("::1".parse().unwrap(), server.port());
                round_trip(&client, asked, b"by IPv6");
            }
        }
    }

    #[test]
    fn many_flows_on_two_workers_each_get_their_own() {
        let (program, server) = serve(&["--workers", "2"]);
        let clients: Vec<_> = (0..500).map(|_| local()).collect();
        for (key, client) in clients.iter().enumerate() {
            for part in 0..4 {
                let bytes = common::keyed(key as u64, part * 100, 100);
                client.send_to(&bytes, server).unwrap();
            }
        }
        for (key, client) in clients.iter().enumerate() {
            for part in 0..4 {
                let expected = common::keyed(key as u64, part * 100, 100);
                assert!(receive(client).0 == expected, "in order");
            }
        }
        let log = log_of(program);
        for worker in ["worker 0:", "worker 1:"] {
            assert!(reported(&log, worker).contains("datagrams"), "{log:#?}");
        }
    }

    #[test]
    fn a_flow_stays_with_one_worker() {
        let options = ["--workers", "2", "--udp-rate", "off"];
        let (mut program, server) = serve(&[&options[..], &["--admin", "127.0.0.1:0"]].concat());
        let admin = admin_of(&mut program);
        let mut before = [0.0; 2];
        for flow in 1..=20 {
            let client = local();
            for part in 0..20 {
                round_trip(&client, server, &common::keyed(flow, part, 100));
            }
            let mut received = before;
            wait_until("all to be counted", || {
                let samples = metrics(admin);
                let of = |worker: usize| {
                    let name = "echopool_worker_datagrams_received_total";
                    samples[&format!("{name}{{worker=\"{worker}\"}}")]
                };
                received = [of(0), of(1)];
                received.iter().sum::<f64>() == flow as f64 * 20.0
            });
            let more = [received[0] - before[0], received[1] - before[1]];
            assert!(more == [20.0, 0.0] || more == [0.0, 20.0], "{more:?}");
            before = received;
        }
        assert!(before.iter().all(|&received| received > 0.0), "{before:?}");
    }

    #[test]
    fn the_longest_by_ipv6_comes_back() {
        let Some(client) = v6() else { return };
        let (_program, server) = serve_on("[::1]:0", &[]);
        // RFC 8200: the payload of a packet has at most 65,535 bytes, of which the header has 8.
        round_trip(&client, server, &common::keyed(1, 0, 65_527));
    }

    #[test]
    fn each_of_several_addresses_is_served_from_the_same_workers() {
        let echo = ["--udp", "127.0.0.1:0", "--udp", "127.0.0.2:0"];
        let stamp = ["--stamp", "127.0.0.1:0", "--stamp", "127.0.0.3:0"];
        let serve = ["serve", "--workers", "1"];
        let mut program = Program::start([&serve[..], &echo, &stamp].concat());
        for host in ["127.0.0.1", "127.0.0.2"] {
            let server = program.wait_for_listener("udp");
            assert_eq!(server.ip().to_string(), host);
            round_trip(&local(), server, host.as_bytes());
        }
        for host in ["127.0.0.1", "127.0.0.3"] {
            let server = program.wait_for_listener("stamp");
            assert_eq!(server.ip().to_string(), host);
            let client = local();
            client.send_to(&[7; 44], server).unwrap();
            let (answer, from) = receive(&client);
            assert_eq!(
                (answer.len(), &answer[..4], from),
                (44, &[0; 4][..], server)
            );
        }
        let log = log_of(program);
        let words = "1 worker, 0 connections, 0 bytes echoed, 4 datagrams answered";
        assert!(reported(&log, "total:").contains(words), "{log:#?}");
    }

    #[test]
    fn no_datagram_is_answered_where_that_is_not_asked_for() {
        let mut program = Program::start(["serve", "--echo", "127.0.0.1:0"]);
        let server = program.wait_for_listener("echo");
        // Nobody has the port.
        UdpSocket::bind(server).unwrap();
        let log = log_of(program);
        assert!(!log.iter().any(|line| line.contains("udp://")), "{log:#?}");
    }

    #[test]
    fn a_client_that_has_gone_disturbs_no_other() {
        let (program, server) = serve(&[]);
        let client = local();
        for _ in 0..50 {
            // Its port is closed before the answer, which ICMP reports to the server.
            local().send_to(b"gone", server).unwrap();
            round_trip(&client, server, b"still here");
        }
        let log = log_of(program);
        assert!(
            reported(&log, "total:").contains(", 100 datagrams"),
            "{log:#?}"
        );
    }

    #[test]
    fn clients_of_tcp_are_served_beside_datagrams() {
        let serve = ["serve", "--workers", "1", "--udp-rate", "off"];
        let both = ["--echo", "127.0.0.1:0", "--udp", "127.0.0.1:0"];
        let mut program = Program::start([&serve[..], &both].concat());
        let (tcp, udp) = (
            program.wait_for_listener("echo"),
            program.wait_for_listener("udp"),
        );
        let (mut stream, client) = (connect(tcp), local());
        for turn in 0..100 {
            let bytes = common::keyed(turn, 0, 1000);
            common::round_trip(&mut stream, &bytes);
            round_trip(&client, udp, &bytes);
        }
        drop(stream);
        stop_cleanly(program);
    }
}

/// Between addresses that a machine under test does not have.
mod networks {
    use super::*;

    /// A network of its own, where this user may have one; the name of the test is told otherwise.
    fn network() -> Option<Namespace> {
        let made = Namespace::new();
        if let Err(error) = &made {
            eprintln!("skipped, no network namespace: {error}");
        }
        made.ok()
    }

    #[test]
    #[ignore = "needs root and ip(8)"]
    fn an_address_that_is_the_machines_by_a_route_only_answers_as_itself() {
        let Some(network) = network() else { return };
        network.ip("route add local 192.0.2.0/24 dev lo");
        network.run(|| {
            for address in ["0.0.0.0:0", "*:0", "192.0.2.9:0"] {
                let (program, server) = serve_on(address, &[]);
                for host in [9, 77] {
                    let asked = SocketAddr::from(([192, 0, 2, host], server.port()));
                    if server.ip().to_canonical().is_unspecified() || server == asked {
                        round_trip(&local(), asked, address.as_bytes());
                    }
                }
                stop_cleanly(program);
            }
        });
    }

    /// Two networks with a link between them. Returns the address of each, with its scope there.
    fn linked() -> Option<[(Namespace, Ipv6Addr); 2]> {
        let (server, client) = (network()?, network()?);
        let (there, here) = (server.path(), client.path());
        client.ip(&format!(
            "link add v0 netns {here} type veth peer name v1 netns {there}"
        ));
        let ends = [(server, "v1", 1), (client, "v0", 2)].map(|(network, link, host)| {
            let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1f, host);
            network.ip(&format!("link set {link} addrgenmode none up"));
            network.ip(&format!("address add {address}/64 dev {link} nodad"));
            (network, address)
        });
        Some(ends)
    }

    #[test]
    #[ignore = "needs root and ip(8)"]
    fn an_address_of_a_link_is_answered_by_its_scope() {
        let Some([(there, server), (here, client)]) = linked() else {
            return;
        };
        for address in ["*:0".into(), format!("[{server}%v1]:0")] {
            let (program, port) = there.run(|| {
                let (program, server) = serve_on(&address, &[]);
                (program, server.port())
            });
            here.run(|| {
                let scope = rustix::net::netdevice::name_to_index(local(), "v0").unwrap();
                let local = SocketAddrV6::new(client, 0, 0, scope);
                let asked = SocketAddrV6::new(server, port, 0, scope);
                let ours = super::client(&local.to_string());
                round_trip(&ours, asked.into(), address.as_bytes());
                // As a user writes it.
                let asked = format!("[{server}%v0]:{port}");
                let ended = finish(["client", "--udp", &*asked, "hello"], "");
                assert_eq!(ended.code, Some(0), "{ended:?}");
            });
            stop_cleanly(program);
        }
    }

    /// From another address of the machine, and a port that is the server's there.
    fn own_port_elsewhere(wrapper: &[&str]) -> Option<(Vec<String>, bool)> {
        let network = network()?;
        for host in ["10.9.8.1/24", "10.9.8.2/24"] {
            network.ip(&format!("address add {host} dev lo"));
        }
        let (log, is_answered) = network.run(|| {
            let serve = [
                env!("CARGO_BIN_EXE_echopool"),
                "serve",
                "--workers=1",
                "--udp",
            ];
            let words = [wrapper, &serve, &["10.9.8.1:0"]].concat();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).env_remove("RUST_LOG");
            let mut program = Program::spawn(command);
            let server = program.wait_for_listener("udp");
            let client = client(&format!("10.9.8.2:{}", server.port()));
            client.send_to(b"is it ours?", server).unwrap();
            let log = log_of(program);
            client.set_nonblocking(true).unwrap();
            (log, client.recv(&mut [0; 20]).is_ok())
        });
        Some((log, is_answered))
    }

    #[test]
    #[ignore = "needs root and ip(8)"]
    fn a_port_of_the_server_on_any_address_of_the_machine_is_its_own() {
        if let Some((log, is_answered)) = own_port_elsewhere(&[]) {
            assert!(!is_answered);
            let words = "is not answered: from a port of this server";
            assert!(log.iter().any(|line| line.contains(words)), "{log:#?}");
        }
    }

    #[test]
    #[ignore = "needs root, ip(8) and strace"]
    fn where_the_system_does_not_say_its_addresses_that_is_warned_of() {
        // Of all that the server does only the question for the addresses is sent by this call.
        let deaf = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e"];
        let inject = ["inject=sendto:error=EACCES"];
        if let Some((log, is_answered)) = own_port_elsewhere(&[&deaf[..], &inject].concat()) {
            assert!(is_answered, "as docs/udp.md says");
            let words = "the system does not say which addresses this machine has";
            let warnings = log.iter().filter(|line| line.contains(words));
            assert_eq!(warnings.count(), 1, "{log:#?}");
        }
    }
}

mod binding {
    use super::*;

    #[test]
    fn a_second_server_on_the_port_is_an_error() {
        for workers in ["1", "2"] {
            let (_program, server) = serve(&["--workers", workers]);
            for other in ["1", "2"] {
                let address = server.to_string();
                let ended = finish(["serve", "--udp", &*address, "--workers", other], "");
                assert_eq!(ended.code, Some(1));
                let words = format!("could not listen on {address} (UDP): address already in use");
                assert!(ended.stderr.contains(&words), "{}", ended.stderr);
            }
            round_trip(&local(), server, b"the first serves on");
        }
    }

    #[test]
    fn a_later_program_that_shares_the_port_is_refused() {
        for workers in ["1", "2"] {
            let (_program, server) = serve(&["--workers", workers]);
            let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            other.set_reuse_port(true).unwrap();
            let error = other.bind(&server.into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{workers}");
            round_trip(&local(), server, b"the first serves on");
        }
    }

    #[test]
    fn a_buffer_that_the_kernel_refuses_is_warned_of_by_its_setting() {
        let (program, _) = serve(&["--udp-buffer", "512MiB"]);
        let log = log_of(program);
        let line = reported(&log, "the kernel limits the receive buffer for datagrams");
        assert!(line.contains("(net.core.rmem_max)"), "{line}");
        let (program, _) = serve(&["--udp-buffer", "64KiB"]);
        let log = log_of(program);
        assert!(
            !log.iter().any(|line| line.contains("rmem_max")),
            "{log:#?}"
        );
    }

    /// The program, started with a socket as a service manager would: as descriptor 3.
    pub(super) fn under_manager(socket: UdpSocket, name: &str, arguments: &[&str]) -> Program {
        let script = "export LISTEN_PID=$$ LISTEN_FDS=1; \
                      exec \"$@\" 3<&0 0</dev/null";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_echopool"), "serve"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .env("LISTEN_FDNAMES", name)
            .stdin(Stdio::from(OwnedFd::from(socket)));
        Program::spawn(command)
    }

    #[test]
    fn a_socket_of_the_name_stamp_is_a_reflectors() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        let mut program = under_manager(socket, "stamp", &["--workers", "2"]);
        assert_eq!(program.wait_for_listener("stamp"), server);
        let request = [7; 44];
        let clients = [local(), local()];
        // One worker has them all: a session has one count.
        for number in 0..200_u32 {
            for client in &clients {
                client.send_to(&request, server).unwrap();
            }
            for client in &clients {
                let (answer, _) = receive(client);
                assert_eq!((&answer[24..36], answer.len()), (&request[..12], 44));
                assert_eq!(answer[..4], number.to_be_bytes());
            }
        }
        stop_cleanly(program);
    }

    #[test]
    fn a_socket_that_a_service_manager_hands_over_is_shared_by_all_workers() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = local();
        let server = socket.local_addr().unwrap();
        // It waits for the server.
        client.send_to(b"early", server).unwrap();
        let mut program = under_manager(socket.try_clone().unwrap(), "udp", &["--workers", "3"]);
        let warning = program.wait_for("ReceiveBuffer=");
        assert!(warning.contains("not 4194304"), "{warning}");
        assert_eq!(program.wait_for_listener("udp"), server);
        assert_eq!(receive(&client).0, b"early");
        for turn in 0..100 {
            round_trip(&client, server, &common::keyed(turn, 0, 100));
        }
        assert!(has_no_more(&client, server), "each is answered once");
        let log = log_of(program);
        assert!(
            reported(&log, "total:").contains(", 102 datagrams"),
            "{log:#?}"
        );
        // The manager still has it, for the next start.
        client.send_to(b"late", server).unwrap();
        assert_eq!(receive(&socket).0, b"late");
    }
}

mod trains {
    use super::*;

    /// Sends each of these numbers of datagrams of `size` bytes as one message; the last one of
    /// each is shorter. Returns all.
    fn send(client: &UdpSocket, server: SocketAddr, size: usize, counts: &[usize]) -> Vec<Vec<u8>> {
        send_segmented(client, size as i32);
        let mut all = Vec::new();
        for (key, &count) in counts.iter().enumerate() {
            let message = common::keyed(key as u64, 0, count * size - size / 3);
            client.send_to(&message, server).unwrap();
            all.extend(message.chunks(size).map(<[u8]>::to_vec));
        }
        all
    }

    #[test]
    fn each_datagram_of_a_train_comes_back_by_itself_and_in_its_order() {
        for (address, hosts) in [
            ("127.0.0.1:0", &["127.0.0.1"][..]),
            ("*:0", &["127.0.0.1", "127.0.0.7", "::1"][..]),
        ] {
            let arguments = ["--udp-rate", "off", "--workers", "2"];
            let (program, server) = serve_on(address, &arguments);
            let mut count = 0;
            for host in hosts {
                let asked = SocketAddr::new(host.parse().unwrap(), server.port());
                let any = if asked.is_ipv4() {
                    "127.0.0.1:0"
                } else {
                    "[::1]:0"
                };
                if UdpSocket::bind(any).is_err() {
                    continue;
                }
                for (size, counts) in [(3, &[60, 2, 64][..]), (100, &[64; 9]), (1200, &[54, 3])] {
                    let client = client(any);
                    let sent = send(&client, asked, size, counts);
                    for datagram in &sent {
                        let (echo, from) = receive(&client);
                        assert!(echo == *datagram, "{} bytes of {size}", echo.len());
                        assert_eq!(from, asked);
                    }
                    send_segmented(&client, 0);
                    assert!(has_no_more(&client, asked));
                    count += sent.len() + 1;
                }
            }
            let log = log_of(program);
            let words = format!(", {count} datagrams answered with");
            assert!(reported(&log, "total:").contains(&words), "{log:#?}");
        }
    }

    #[test]
    fn a_socket_that_is_handed_over_is_left_as_it_was_once_all_workers_have_closed_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (client, server) = (local(), socket.local_addr().unwrap());
        let arguments = ["--workers", "3", "--udp-rate", "off"];
        let mut program = binding::under_manager(socket.try_clone().unwrap(), "udp", &arguments);
        program.wait_for_listener("udp");
        assert!(receives_joined(&socket));
        for _ in 0..20 {
            let mut sent = send(&client, server, 100, &[20, 30]);
            let mut back: Vec<_> = sent.iter().map(|_| receive(&client).0).collect();
            sent.sort();
            back.sort();
            assert!(back == sent, "each once");
        }
        stop_cleanly(program);
        assert!(!receives_joined(&socket));
        send_segmented(&client, 4);
        client.send_to(b"one by one", server).unwrap();
        for part in ["one ", "by o", "ne"] {
            assert_eq!(receive(&socket).0, part.as_bytes());
        }
    }

    #[test]
    fn a_reflector_receives_none_and_answers_each_packet_by_its_number() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (client, server) = (local(), socket.local_addr().unwrap());
        let mut program = binding::under_manager(socket.try_clone().unwrap(), "stamp", &[]);
        program.wait_for_listener("stamp");
        assert!(!receives_joined(&socket));
        send_segmented(&client, 44);
        client.send_to(&[7; 3 * 44], server).unwrap();
        for number in 0..3_u32 {
            let (answer, _) = receive(&client);
            assert_eq!(
                (answer.len(), &answer[..4]),
                (44, &number.to_be_bytes()[..])
            );
        }
        stop_cleanly(program);
    }
}

mod queues {
    use super::*;

    #[test]
    fn a_stop_answers_what_has_arrived() {
        for workers in ["1", "2"] {
            let (mut program, server) = serve(&["--workers", workers, "--udp-rate", "off"]);
            suspend(&program);
            let clients: Vec<_> = (0..20).map(|_| local()).collect();
            for client in &clients {
                for part in 0..5 {
                    client.send_to(&[part], server).unwrap();
                }
            }
            program.signal(Signal::TERM);
            program.signal(Signal::CONT);
            for client in &clients {
                for part in 0..5 {
                    assert_eq!(receive(client).0, [part]);
                }
            }
            assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
            let total = reported(&program.log, "total:");
            assert!(total.contains(", 100 datagrams"), "{total}");
            // Its port is free again.
            UdpSocket::bind(server).unwrap();
        }
    }

    #[test]
    fn a_stop_frees_the_port_while_connections_go_on() {
        for workers in ["1", "2"] {
            let sockets = ["serve", "--echo", "127.0.0.1:0", "--udp", "127.0.0.1:0"];
            let options = ["--workers", workers, "--grace", "60s"];
            let mut program = Program::start([&sockets[..], &options].concat());
            let mut stream = connect(program.wait_for_listener("echo"));
            let server = program.wait_for_listener("udp");
            common::round_trip(&mut stream, b"before the stop");
            program.signal(Signal::TERM);
            wait_until("the port to be free", || {
                common::round_trip(&mut stream, b"it goes on");
                UdpSocket::bind(server).is_ok()
            });
            common::round_trip(&mut stream, b"it goes on");
            drop(stream);
            assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
        }
    }

    #[test]
    fn what_the_kernel_drops_is_counted_without_a_further_datagram() {
        let arguments = [
            "--workers",
            "1",
            "--udp-buffer",
            "10000",
            "--udp-rate",
            "off",
        ];
        let (program, server) = serve(&arguments);
        let client = local();
        suspend(&program);
        for _ in 0..200 {
            client.send_to(&[0; 1000], server).unwrap();
        }
        program.signal(Signal::CONT);
        let mut answered = 0;
        client
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        while client.recv_from(&mut [0; 2000]).is_ok() {
            answered += 1;
        }
        let log = log_of(program);
        let dropped = 200 - answered;
        assert!(dropped > 0);
        let words = format!(", {answered} datagrams answered with");
        assert!(reported(&log, "total:").contains(&words), "{log:#?}");
        let words = format!(", {dropped} dropped by the kernel, its buffer was full");
        assert!(reported(&log, "total:").contains(&words), "{log:#?}");
    }
}
