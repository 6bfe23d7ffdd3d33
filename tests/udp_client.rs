//! The client over UDP: its dialogue, one-shot and pipe, against good echoes and bad ones.
#![cfg(unix)]

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread::spawn;

use common::datagrams::{
    answering_elsewhere, changing, doubling, echo, losing_every_third, peer, refusing, serve,
    socket,
};
use common::{Ended, Program, finish, keyed};
use rexpect::session::spawn_command;

/// For what must run out.
const SHORT: &str = "--timeout=300ms";

fn client(options: &[&str], server: SocketAddr, text: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    let server = server.to_string();
    let all = [&["client", "--udp"], options, &[&*server], text].concat();
    finish(all, input)
}

#[track_caller]
fn assert_clean(ended: &Ended, stdout: &[u8]) {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert!(ended.stdout == stdout, "another output than expected");
}

/// That it ended with code 1 and one line that begins and goes on so.
#[track_caller]
fn assert_fault(ended: &Ended, begin: &str, words: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let begin = format!("echopool: {begin}");
    assert!(ended.stderr.starts_with(&begin), "{}", ended.stderr);
    assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

mod text {
    use super::*;

    #[test]
    fn words_are_one_datagram_and_come_back() {
        let server = peer(|got| {
            assert_eq!((got.number, got.bytes), (0, &b"hello there"[..]));
            got.echo();
        });
        assert_clean(
            &client(&[], server, &["hello", "there"], ""),
            b"hello there\n",
        );
    }

    #[test]
    fn over_ipv6_too() {
        let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return;
        };
        let server = serve(socket, |got| got.echo());
        assert_clean(&client(&[], server, &["hello"], ""), b"hello\n");
    }

    #[test]
    fn a_port_at_which_nobody_is_is_refused_by_icmp_and_said_to_be() {
        let (_socket, server) = refusing();
        let begin = format!("no echo from {server}: refused by ICMP port unreachable");
        assert_fault(
            &client(&[], server, &["hello"], ""),
            &begin,
            "look whether the server",
        );
    }

    #[test]
    fn silence_is_a_loss_and_ends_with_the_time_out() {
        let silent = socket();
        let server = silent.local_addr().unwrap();
        let begin = format!("bad echo from {server}: no echo of datagram 1 (5 bytes) within 300ms");
        assert_fault(
            &client(&[SHORT], server, &["hello"], ""),
            &begin,
            "was lost",
        );
    }

    #[test]
    fn a_changed_cut_or_lengthened_echo_is_a_fault_with_its_place() {
        let begin = |server| format!("bad echo from {server}: datagram 1: ");
        let server = changing(4);
        let ended = client(&[], server, &["hello"], "");
        assert_fault(
            &ended,
            &begin(server),
            "byte 4: expected 0x6f, received 0x90",
        );
        let server = peer(|got| got.answer(&got.bytes[..2]));
        let ended = client(&[], server, &["hello"], "");
        assert_fault(&ended, &begin(server), "cut to 2 bytes of 5");
        let server = peer(|got| got.answer(b""));
        let ended = client(&[], server, &["hello"], "");
        assert_fault(&ended, &begin(server), "cut to 0 bytes of 5");
        let server = peer(|got| got.answer(b"hello!"));
        let ended = client(&[], server, &["hello"], "");
        assert_fault(&ended, &begin(server), "lengthened to 6 bytes of 5");
    }

    #[test]
    fn an_echo_from_another_address_is_a_fault_that_names_both() {
        let (server, other) = answering_elsewhere();
        let words = format!("the echo of datagram 1 came from {other}, another address");
        let begin = format!("bad echo from {server}: ");
        assert_fault(&client(&[], server, &["hello"], ""), &begin, &words);
    }

    #[test]
    fn an_echo_that_comes_twice_is_a_fault() {
        let server = doubling();
        let begin = format!("bad echo from {server}: the echo of datagram 1 came twice");
        assert_fault(&client(&[], server, &["hello"], ""), &begin, "");
    }

    #[test]
    fn what_is_too_long_for_a_datagram_is_not_sent() {
        let server = echo();
        let long = "x".repeat(65_508);
        let begin = format!("could not send to {server}: message too long");
        assert_fault(
            &client(&[], server, &[&long], ""),
            &begin,
            "at most 65,507 bytes",
        );
        assert_clean(
            &client(&[], server, &[&long[1..]], ""),
            format!("{}\n", &long[1..]).as_bytes(),
        );
    }

    #[test]
    fn of_several_addresses_the_one_that_answers_is_used() {
        let Ok(other) = UdpSocket::bind((IpAddr::from(Ipv6Addr::LOCALHOST), 0)) else {
            return;
        };
        // Both families on one port, of which IPv4 alone answers.
        let port = other.local_addr().unwrap().port();
        let Ok(socket) = UdpSocket::bind((common::datagrams::LOCALHOST, port)) else {
            return;
        };
        serve(socket, |got| got.echo());
        let name = format!("localhost:{port}");
        let ended = finish(["client", "--udp", &name, "hello"], "");
        assert_clean(&ended, b"hello\n");
        // And where it is refused.
        drop(other);
        let ended = finish(["client", "--udp", &name, "hello"], "");
        assert_clean(&ended, b"hello\n");
    }
}

mod pipe {
    use super::*;

    #[test]
    fn more_than_the_server_answers_a_second_come_back() {
        let mut program = Program::start(["serve", "--udp", "127.0.0.1:0", "--workers", "1"]);
        let server = program.wait_for_listener("udp");
        // The first second's worth, and what would be too much behind it at once.
        let input = keyed(1, 0, 5000);
        let ended = client(&["--size", "2", "--timeout=2s"], server, &[], &*input);
        assert_clean(&ended, &input);
    }

    #[test]
    fn a_line_is_a_datagram_also_an_empty_one() {
        let (sender, got) = std::sync::mpsc::channel();
        let server = peer(move |got| {
            sender.send(got.bytes.to_vec()).unwrap();
            got.echo();
        });
        let input = b"one\n\ntwo\0three\nthe last";
        assert_clean(&client(&[], server, &[], *input), input);
        let lines: Vec<_> = got.try_iter().collect();
        assert_eq!(lines, [&b"one"[..], b"", b"two\0three", b"the last"]);
        assert_clean(&client(&[], server, &[], "\n"), b"\n");
        assert_eq!(got.try_iter().collect::<Vec<_>>(), [b""]);
        assert_clean(&client(&[], server, &[], ""), b"");
        assert_eq!(got.try_iter().count(), 0);
    }

    #[test]
    fn a_size_cuts_any_bytes_into_datagrams() {
        let (sender, got) = std::sync::mpsc::channel();
        let server = peer(move |got| {
            sender.send(got.bytes.len()).unwrap();
            got.echo();
        });
        let input = keyed(1, 0, 200_000);
        assert_clean(&client(&["--size", "65507"], server, &[], &*input), &input);
        assert_eq!(
            got.try_iter().collect::<Vec<_>>(),
            [65507, 65507, 65507, 3479]
        );
        assert_clean(&client(&["--size=1"], server, &[], "ab"), b"ab");
        assert_eq!(got.try_iter().collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_line_that_is_too_long_names_the_way_out() {
        let server = echo();
        let input = format!("short\n{}\n", "x".repeat(65_508));
        let ended = client(&[], server, &[], input);
        let begin = "could not read standard input: line 2 has more than 65507 bytes";
        assert_fault(&ended, begin, "--size");
        assert_eq!(ended.stdout, b"short\n");
    }

    #[test]
    fn the_datagram_that_is_lost_is_named() {
        let server = losing_every_third();
        let ended = client(&[SHORT], server, &[], "a\nb\nc\nd\n");
        let begin = format!("bad echo from {server}: no echo of datagram 3 (1 byte) within 300ms");
        assert_fault(&ended, &begin, "");
        assert_eq!(ended.stdout, b"a\nb\n");
    }

    #[test]
    fn an_echo_that_comes_twice_is_not_taken_for_the_next_ones() {
        let server = doubling();
        let ended = client(&[], server, &[], "one\ntwo\n");
        let begin = format!("bad echo from {server}: the echo of datagram 1 came twice");
        assert_fault(&ended, &begin, "");
    }
}

#[test]
fn an_echo_that_comes_again_long_after_is_named_by_its_number() {
    // That of the first comes again after that of the third, or of the last.
    for (input, after) in [("a\nbb\nccc\ndddd\n", 3), ("a\nbb\nccc\n", 3)] {
        let mut first = Vec::new();
        let again = peer(move |got| {
            if got.number == 0 {
                first = got.bytes.to_vec();
            }
            got.echo();
            if got.number + 1 == after {
                got.answer(&first);
            }
        });
        let ended = client(&[], again, &[], input);
        let begin = format!("bad echo from {again}: the echo of datagram 1 came twice");
        assert_fault(&ended, &begin, "");
    }
}

#[test]
fn a_dialogue_echoes_each_line_also_an_empty_one() {
    let server = echo();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(["client", "--udp", &server.to_string()]);
    let mut terminal = spawn_command(command, Some(60_000)).unwrap();
    for (line, shown) in [
        ("hello there", "11 bytes read\r\nhello there\r\n"),
        ("", "0 bytes read\r\n"),
    ] {
        terminal.exp_string("message to send :: ").unwrap();
        terminal.send_line(line).unwrap();
        terminal.exp_string(shown).unwrap();
    }
    terminal.exp_string("message to send :: ").unwrap();
    terminal.send_control('d').unwrap();
    let status = terminal.process().wait().unwrap();
    assert!(
        format!("{status:?}").contains("Exited") && format!("{status:?}").ends_with(" 0)"),
        "{status:?}"
    );
}

#[test]
fn a_peer_that_starts_to_refuse_is_named_at_once() {
    let socket = socket();
    let server = socket.local_addr().unwrap();
    spawn(move || {
        let mut block = [0; 16];
        let (length, from) = socket.recv_from(&mut block).unwrap();
        socket.send_to(&block[..length], from).unwrap();
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(["client", "--udp", &server.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = common::Program::spawn(command);
    let mut stdin = program.child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"one\n").unwrap();
    let mut stdout = program.child.stdout.take().unwrap();
    let mut echo = [0; 4];
    std::io::Read::read_exact(&mut stdout, &mut echo).unwrap();
    // Its socket is closed by now, or will be in a moment.
    common::wait_until("the port to be free", || UdpSocket::bind(server).is_ok());
    std::io::Write::write_all(&mut stdin, b"two\n").unwrap();
    assert_eq!(program.wait().code(), Some(1));
    assert!(
        program.logged("refused by ICMP port unreachable"),
        "{:?}",
        program.log
    );
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    for line in [
        "client --udp --counted HOST",
        "client --udp --whoami HOST",
        "client --size 5 HOST",
        "client --udp --size 5 HOST hello",
        "client --udp --size 0 HOST",
        "client --udp --size 65508 HOST",
    ] {
        let ended = finish(line.split(' '), "");
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
    }
}
