//! The client: its dialogue, one-shot and pipe, against good servers and bad ones.
#![cfg(unix)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use common::{DEADLINE, Ended, Program, Server, finish, keyed, reserve};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use rustix::process::{Pid, Signal};
use socket2::{SockRef, Socket};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// For what must run out; for all else the default of ten seconds holds.
const SHORT: &str = "--timeout=300ms";

const PROMPT: &str = "message to send :: ";

/// What a hostile server would have a terminal do: take another title, and ring.
const HOSTILE: &[u8] = b"\x1b]0;owned\x07\xc2\x9b31m";
const HOSTILE_SHOWN: &str = r"\x1b]0;owned\x07\u{9b}31m";

/// A server of the test's own, for one client.
fn peer(behave: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    serve_one(listener, behave);
    address
}

fn serve_one(listener: TcpListener, behave: impl FnOnce(TcpStream) + Send + 'static) {
    spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        behave(stream);
    });
}

/// What the client sent next; nothing at its half-close, or when it is gone.
fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    let n = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(n);
    (n > 0).then_some(bytes)
}

/// Echoes until the client half-closes.
fn echo(mut stream: &TcpStream) {
    while let Some(bytes) = receive(stream) {
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Takes exactly so many bytes and echoes them.
fn echo_some(mut stream: &TcpStream, length: usize) {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Runs the client against `server` to its end.
fn client(options: &[&str], server: SocketAddr, text: &[&str], input: impl Into<Vec<u8>>) -> Ended {
    finish(arguments(options, &server.to_string(), text), input)
}

fn arguments(options: &[&str], server: &str, text: &[&str]) -> Vec<String> {
    let all = [&["client"], options, &[server], text].concat();
    all.into_iter().map(String::from).collect()
}

/// Starts the client with pipes for its standard input and output.
fn start(options: &[&str], server: SocketAddr) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(arguments(options, &server.to_string(), &[]));
    Program::spawn({
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    })
}

#[track_caller]
fn assert_clean(ended: &Ended, stdout: &[u8]) {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert!(ended.stdout == stdout, "another output than expected");
}

/// That it ended with code 1, one line about `server`, and `words` in it.
#[track_caller]
fn assert_fault(ended: &Ended, server: SocketAddr, words: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let begin = format!("echopool: bad echo from {server}: ");
    assert!(ended.stderr.starts_with(&begin), "{}", ended.stderr);
    assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

mod dialogue {
    use super::*;

    /// The program on a terminal of its own.
    pub(super) fn terminal(command: Command) -> PtySession {
        let mut command = command;
        command.env("TERM", "xterm").env_remove("RUST_LOG");
        spawn_command(command, Some(DEADLINE.as_millis() as u64)).unwrap()
    }

    fn dialogue(options: &[&str], server: SocketAddr) -> PtySession {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(options, &server.to_string(), &[]));
        let mut session = terminal(command);
        session.exp_string(PROMPT).unwrap();
        session
    }

    /// As the terminal's reader gives it: a character for each byte.
    fn raw(text: &str) -> String {
        text.bytes().map(char::from).collect()
    }

    /// Types a line and waits for its echo and the next prompt.
    #[track_caller]
    fn say(session: &mut PtySession, line: &str, bytes: usize, shown: &str) {
        session.send_line(line).unwrap();
        expect_reply(session, bytes, shown);
        session.exp_string(PROMPT).unwrap();
    }

    #[track_caller]
    fn expect_reply(session: &mut PtySession, bytes: usize, shown: &str) {
        session
            .exp_string(&format!("\n{bytes} bytes read\r\n"))
            .unwrap();
        assert_eq!(session.exp_string("\r\n").unwrap(), raw(shown));
    }

    /// The rest of the output and the exit code.
    pub(super) fn end(session: &mut PtySession) -> (String, i32) {
        let rest = session.exp_eof().unwrap();
        match session.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => (rest, code),
            other => panic!("ended by {other:?} after {rest:?}"),
        }
    }

    #[test]
    fn every_line_is_echoed_until_ctrl_d_ends_it_well() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&[], server.echo);
        say(&mut session, "hello", 5, "hello");
        say(&mut session, "안녕 é", 9, "안녕 é");
        say(&mut session, "and  spaces ", 12, "and  spaces ");
        session.send_control('d').unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 0, "{rest}");
        assert!(!rest.contains("echopool:"), "{rest}");
        let report = server.stop();
        assert_eq!((report.connections(), report.bytes()), (1, 26));
    }

    #[test]
    fn an_empty_line_just_prompts_again() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&[], server.echo);
        session.send_line("").unwrap();
        let between = session.exp_string(PROMPT).unwrap();
        assert!(!between.contains("bytes read"), "{between}");
        say(&mut session, "x", 1, "x");
        session.send_control('d').unwrap();
        assert_eq!(end(&mut session).1, 0);
    }

    #[test]
    fn the_up_arrow_brings_earlier_lines_back() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&[], server.echo);
        say(&mut session, "first", 5, "first");
        say(&mut session, "the second", 10, "the second");
        say(&mut session, "\x1b[A", 10, "the second");
        say(&mut session, "\x1b[A\x1b[A", 5, "first");
        // The line is edited, too: to its beginning, and one letter more.
        say(&mut session, "\x1b[A\x01>", 6, ">first");
    }

    #[test]
    fn ctrl_c_at_the_prompt_ends_it_with_130() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&[], server.echo);
        say(&mut session, "hello", 5, "hello");
        session.send_control('c').unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 130, "{rest}");
        assert!(!rest.contains("echopool:"), "{rest}");
    }

    #[test]
    fn a_counted_dialogue_has_a_connection_for_each_line() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&["--counted"], server.counted);
        say(&mut session, "test_string", 17, "11 : test_string");
        say(&mut session, "안녕", 11, "6 : 안녕");
        session.send_control('d').unwrap();
        assert_eq!(end(&mut session).1, 0);
        assert_eq!(server.stop().connections(), 2);
    }

    #[test]
    fn a_long_line_is_shown_whole_however_the_echo_is_split() {
        let server = peer(|mut stream| {
            while let Some(bytes) = receive(&stream) {
                for segment in bytes.chunks(509) {
                    stream.write_all(segment).unwrap();
                    sleep(Duration::from_millis(1));
                }
            }
        });
        let mut session = dialogue(&[], server);
        let line: String = (0..5000).map(|n| format!("{n:08}")).collect();
        // Pasted, as nobody types so much.
        say(
            &mut session,
            &format!("\x1b[200~{line}\x1b[201~"),
            40_000,
            &line,
        );
        session.send_control('d').unwrap();
        assert_eq!(end(&mut session).1, 0);
    }

    #[test]
    fn a_server_that_goes_away_ends_it_with_1_and_a_message() {
        for goodbye in [drop, reset] {
            let (gone, is_gone) = channel();
            let server = peer(move |stream| {
                echo_some(&stream, 5);
                goodbye(stream);
                gone.send(()).unwrap();
            });
            let mut session = dialogue(&[], server);
            say(&mut session, "hello", 5, "hello");
            is_gone.recv().unwrap();
            session.send_line("are you there").unwrap();
            let (rest, code) = end(&mut session);
            assert_eq!(code, 1, "{rest}");
            assert!(rest.contains("\necho"), "{rest}");
            assert!(rest.contains(&server.to_string()), "{rest}");
        }
    }

    #[test]
    fn a_server_that_stops_in_mid_line_is_named_with_the_bytes_before() {
        let server = peer(|stream| {
            echo_some(&stream, 5);
            let _ = receive(&stream);
        });
        let mut session = dialogue(&[], server);
        say(&mut session, "hello", 5, "hello");
        session.send_line("world").unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 1, "{rest}");
        let message = format!("echopool: bad echo from {server}: the connection was closed");
        assert!(
            rest.contains(&message) && rest.contains("5 bytes"),
            "{rest}"
        );
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let server = peer(|stream| while receive(&stream).is_some() {});
        let mut session = dialogue(&[SHORT], server);
        session.send_line("hello").unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 1, "{rest}");
        assert!(rest.contains("no data for 300ms"), "{rest}");
    }

    #[test]
    fn a_wrong_byte_is_named_by_its_offset_in_the_connection() {
        let server = peer(|mut stream| {
            echo_some(&stream, 5);
            let mut line = receive(&stream).unwrap();
            line[2] = b'\x1b';
            stream.write_all(&line).unwrap();
        });
        let mut session = dialogue(&[], server);
        say(&mut session, "hello", 5, "hello");
        session.send_line("world").unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 1, "{rest}");
        let fault = "byte 7: expected 0x72, received 0x1b";
        assert!(rest.contains(fault), "{rest}");
    }

    #[test]
    fn a_byte_too_many_is_seen_at_the_latest_at_the_end() {
        let server = peer(|mut stream| {
            echo_some(&stream, 5);
            stream.write_all(b"!").unwrap();
            echo(&stream);
        });
        let mut session = dialogue(&[], server);
        say(&mut session, "hello", 5, "hello");
        session.send_control('d').unwrap();
        let (rest, code) = end(&mut session);
        assert_eq!(code, 1, "{rest}");
        assert!(
            rest.contains("byte 5: expected none, received 0x21"),
            "{rest}"
        );
    }

    #[test]
    fn characters_that_would_turn_the_text_around_are_shown_escaped() {
        let server = Server::with_workers(1);
        let mut session = dialogue(&[], server.echo);
        session.send_line("abc\u{202e}def").unwrap();
        expect_reply(&mut session, 9, r"abc\u{202e}def");
    }
}

mod one_shot {
    use super::*;

    #[test]
    fn the_words_are_joined_by_spaces_and_echoed() {
        let server = Server::with_workers(1);
        for (words, line) in [
            (&["hello"][..], &b"hello\n"[..]),
            (
                &["several", "words and", "안녕"],
                "several words and 안녕\n".as_bytes(),
            ),
            (&["--", "-v", "--counted"], b"-v --counted\n"),
            (&[""], b"\n"),
        ] {
            assert_clean(&client(&[], server.echo, words, ""), line);
        }
    }

    #[test]
    fn a_counted_text_is_answered_with_its_length_in_bytes() {
        let server = Server::with_workers(1);
        for (words, line) in [
            (&["test_string"][..], "11 : test_string\n"),
            (&["forum.falinux.com"], "17 : forum.falinux.com\n"),
            (&["안녕"], "6 : 안녕\n"),
            (&["two", "words"], "9 : two words\n"),
            (&["two\nlines\n"], "10 : two\nlines\n\n"),
            (&[""], "0 : \n"),
        ] {
            let ended = client(&["--counted"], server.counted, words, "");
            assert_clean(&ended, line.as_bytes());
        }
    }

    #[test]
    fn a_counted_text_of_1024_bytes_fits_and_one_more_is_refused() {
        let server = Server::with_workers(1);
        let most = "x".repeat(1024);
        let ended = client(&["--counted"], server.counted, &[&most], "");
        assert_clean(&ended, format!("1024 : {most}\n").as_bytes());
        let more = "x".repeat(1025);
        for (words, input) in [(&[&*more][..], ""), (&[], &*more)] {
            let ended = client(&["--counted"], server.counted, words, input);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.stdout.is_empty(), "{ended:?}");
            assert!(ended.stderr.starts_with("echopool: "), "{ended:?}");
            assert!(ended.stderr.contains("over 1024 bytes"), "{ended:?}");
        }
    }

    #[test]
    fn a_server_may_close_as_soon_as_all_is_answered() {
        for _ in 0..20 {
            let impatient = |length, answer: &'static [u8]| {
                peer(move |mut stream| {
                    stream.read_exact(&mut vec![0; length]).unwrap();
                    stream.write_all(answer).unwrap();
                })
            };
            let counted = impatient(6, b"5 : hello\0");
            let ended = client(&["--counted"], counted, &["hello"], "");
            assert_clean(&ended, b"5 : hello\n");
            let ended = client(&[], impatient(5, b"hello"), &["hello"], "");
            assert_clean(&ended, b"hello\n");
            let ended = client(&[], impatient(5, b"hello"), &[], "hello");
            assert_clean(&ended, b"hello");
        }
    }

    #[test]
    fn a_wrong_missing_or_extra_byte_is_an_error() {
        let answer = |reply: &'static [u8]| {
            peer(move |mut stream| {
                receive(&stream).unwrap();
                stream.write_all(reply).unwrap();
            })
        };
        for (reply, words) in [
            (&b"heLlo"[..], "byte 2: expected 0x6c, received 0x4c"),
            (
                b"hell",
                "the connection was closed: 1 byte missing from byte 4 on",
            ),
            (
                b"",
                "the connection was closed: 5 bytes missing from byte 0 on",
            ),
            (b"hello?", "byte 5: expected none, received 0x3f"),
            (HOSTILE, "byte 0: expected 0x68, received 0x1b"),
        ] {
            let server = answer(reply);
            let ended = client(&[], server, &["hello"], "");
            assert_fault(&ended, server, words);
            assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
        }
        let server = answer(b"4 : hello\0");
        let ended = client(&["--counted"], server, &["hello"], "");
        assert_fault(&ended, server, "byte 0: expected 0x35, received 0x34");
    }

    #[test]
    fn control_characters_are_shown_escaped_on_a_terminal_and_raw_elsewhere() {
        let server = Server::with_workers(1);
        let text = std::str::from_utf8(HOSTILE).unwrap();
        for (options, server, before) in [
            (&[][..], server.echo, ""),
            (&["--counted"], server.counted, "15 : "),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.args(arguments(options, &server.to_string(), &[text]));
            let mut session = dialogue::terminal(command);
            let shown = format!("{before}{HOSTILE_SHOWN}\r\n");
            assert_eq!(dialogue::end(&mut session), (shown, 0));
            let line = [before.as_bytes(), HOSTILE, b"\n"].concat();
            assert_clean(&client(options, server, &[text], ""), &line);
        }
    }
}

mod pipe {
    use super::*;

    #[test]
    fn every_byte_goes_through_unchanged() {
        let server = Server::with_workers(1);
        let all_values: Vec<u8> = (0..=255).collect();
        for input in [
            Vec::new(),
            b"x".to_vec(),
            b"no newline at the end\0\r\n\x1b".to_vec(),
            all_values,
            keyed(1, 0, 5_000_001),
        ] {
            assert_clean(&client(&[], server.echo, &[], &*input), &input);
        }
    }

    #[test]
    fn a_counted_text_may_come_through_it() {
        let server = Server::with_workers(1);
        for (input, answer) in [
            ("test_string", "11 : test_string\0"),
            ("a\n", "2 : a\n\0"),
            ("with its NUL\0", "12 : with its NUL\0"),
        ] {
            let ended = client(&["--counted"], server.counted, &[], input);
            assert_clean(&ended, answer.as_bytes());
        }
    }

    #[test]
    fn a_stream_beyond_memory_waits_for_its_reader_and_goes_through() {
        const TOTAL: usize = 256 << 20;
        // Of odd length, so that its repetitions never lie alike in the client's blocks.
        let block = Arc::new(keyed(2, 0, (1 << 20) + 7));
        let server = Server::with_workers(1);
        let mut program = start(&[], server.echo);
        let written = Arc::new(AtomicUsize::new(0));
        let stdin = program.child.stdin.take().unwrap();
        let writer = spawn({
            let (block, written) = (Arc::clone(&block), Arc::clone(&written));
            move || write_again_and_again(&block, TOTAL, stdin, &written)
        });
        wait_for_standstill(&written);
        let before = written.load(Ordering::SeqCst);
        assert!(before < TOTAL / 2, "{before} bytes went without a reader");
        let mut stdout = program.child.stdout.take().unwrap();
        let mut came = vec![0; block.len()];
        for at in (0..TOTAL).step_by(block.len()) {
            let length = block.len().min(TOTAL - at);
            stdout.read_exact(&mut came[..length]).unwrap();
            assert!(came[..length] == block[..length], "a wrong byte past {at}");
        }
        if cfg!(target_os = "linux") {
            let peak = peak_memory(program.child.id());
            assert!(peak < 64 << 20, "{peak} bytes of memory at the most");
        }
        drop(writer.join().unwrap());
        assert_eq!(stdout.read(&mut came).unwrap(), 0);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
    }

    /// Writes a block over and over, `total` bytes, and counts them. The pipe stays open.
    fn write_again_and_again(
        block: &[u8],
        total: usize,
        mut pipe: ChildStdin,
        written: &AtomicUsize,
    ) -> ChildStdin {
        for at in (0..total).step_by(block.len()) {
            let length = block.len().min(total - at);
            pipe.write_all(&block[..length]).unwrap();
            written.fetch_add(length, Ordering::SeqCst);
        }
        pipe
    }

    /// Until nothing more was counted for a while; that it is over is only likely.
    fn wait_for_standstill(count: &AtomicUsize) {
        loop {
            let before = count.load(Ordering::SeqCst);
            sleep(Duration::from_millis(300));
            if before > 0 && count.load(Ordering::SeqCst) == before {
                return;
            }
        }
    }

    /// The most memory that a process has had so far, in bytes.
    fn peak_memory(process: u32) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        kibibytes.unwrap().parse::<usize>().unwrap() * 1024
    }

    #[test]
    fn the_end_of_the_input_half_closes_and_what_comes_late_is_awaited() {
        let server = peer(|mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let input = keyed(3, 0, 300_000);
        assert_clean(&client(&[], server, &[], &*input), &input);
    }

    #[test]
    fn an_input_that_pauses_beyond_the_time_out_is_no_error() {
        let server = Server::with_workers(1);
        let mut program = start(&[SHORT], server.echo);
        let mut stdin = program.child.stdin.take().unwrap();
        let mut stdout = program.child.stdout.take().unwrap();
        for byte in [b"a", b"b"] {
            sleep(Duration::from_millis(900));
            stdin.write_all(byte).unwrap();
            let mut came = [0];
            stdout.read_exact(&mut came).unwrap();
            assert_eq!(&came, byte);
        }
        drop(stdin);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
    }

    #[test]
    fn a_closed_output_ends_it_quietly() {
        let server = Server::with_workers(1);
        for length in [1, 4 << 20] {
            let mut program = start(&[], server.echo);
            drop(program.child.stdout.take());
            let mut stdin = program.child.stdin.take().unwrap();
            // Stays open: the end of the input is not what ends it.
            let writer = spawn(move || {
                let _ = stdin.write_all(&keyed(4, 0, length));
                stdin
            });
            assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
            assert!(program.log.is_empty(), "{:?}", program.log);
            drop(writer.join().unwrap());
        }
    }

    #[test]
    fn an_output_closed_in_the_middle_ends_it_quietly() {
        let server = Server::with_workers(1);
        let mut program = start(&[], server.echo);
        let mut stdin = program.child.stdin.take().unwrap();
        let writer = spawn(move || stdin.write_all(&keyed(5, 0, 32 << 20)));
        let mut stdout = program.child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 100_000]).unwrap();
        drop(stdout);
        assert_eq!(program.wait().code(), Some(0), "{:?}", program.log);
        assert!(program.log.is_empty(), "{:?}", program.log);
        assert!(writer.join().unwrap().is_err());
    }

    #[test]
    fn an_input_that_cannot_be_read_is_the_error() {
        let server = Server::with_workers(1);
        for _ in 0..10 {
            let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.args(arguments(&[], &server.echo.to_string(), &[]));
            command.stdin(File::open("/").unwrap());
            let mut program = Program::spawn(command);
            assert_eq!(program.wait().code(), Some(1));
            let message = "echopool: could not read standard input: is a directory";
            assert_eq!(program.log, [message]);
        }
    }

    /// What a terminal sees when `input` goes through to `server`.
    fn shown(server: SocketAddr, input: &[u8]) -> (String, i32) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&[], &server.to_string(), &[]));
        command.stdin(reader);
        let mut session = dialogue::terminal(command);
        writer.write_all(input).unwrap();
        drop(writer);
        dialogue::end(&mut session)
    }

    #[test]
    fn control_characters_are_shown_escaped_on_a_terminal() {
        let server = Server::with_workers(1);
        let input = [HOSTILE, b"\n\xff\t\xec"].concat();
        let escaped = format!("{HOSTILE_SHOWN}\r\n\\xff\t\\xec");
        assert_eq!(shown(server.echo, &input), (escaped, 0));
        let hostile = peer(|mut stream| {
            while receive(&stream).is_some() {}
            stream.write_all(HOSTILE).unwrap();
        });
        let (output, code) = shown(hostile, b"hello\n");
        assert_eq!(code, 1, "{output}");
        assert!(
            output.contains("byte 0: expected 0x68, received 0x1b"),
            "{output}"
        );
        assert!(!output.contains(['\x1b', '\x07', '\u{9b}']), "{output:?}");
    }
}

mod faults {
    use super::*;

    const LENGTH: usize = 200_000;

    /// Echoes, but does something to the byte at offset `at`.
    fn faulty_echo(at: usize, fault: fn(&mut Vec<u8>, usize)) -> SocketAddr {
        peer(move |mut stream| {
            let mut offset = 0;
            while let Some(mut bytes) = receive(&stream) {
                let next = offset + bytes.len();
                if (offset..next).contains(&at) {
                    fault(&mut bytes, at - offset);
                }
                offset = next;
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Tries the fault at the beginning, past some blocks and at the end.
    fn assert_found(fault: fn(&mut Vec<u8>, usize)) {
        let sent = keyed(6, 0, LENGTH);
        for at in [0, 1, 65_536, 150_001, LENGTH - 1] {
            let mut came = sent.clone();
            fault(&mut came, at);
            let differs = sent.iter().zip(&came).position(|(sent, came)| sent != came);
            let words = match differs {
                Some(offset) => format!(
                    "byte {offset}: expected {:#04x}, received {:#04x}",
                    sent[offset], came[offset]
                ),
                None if came.len() < LENGTH => {
                    format!(
                        "the connection was closed: 1 byte missing from byte {} on",
                        LENGTH - 1
                    )
                }
                None => format!(
                    "byte {LENGTH}: expected none, received {:#04x}",
                    came[LENGTH]
                ),
            };
            let server = faulty_echo(at, fault);
            assert_fault(&client(&[], server, &[], &*sent), server, &words);
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        assert_found(|bytes, at| bytes[at] ^= 0x10);
    }

    #[test]
    fn a_dropped_byte_is_found() {
        assert_found(|bytes, at| {
            bytes.remove(at);
        });
    }

    #[test]
    fn a_doubled_byte_is_found() {
        assert_found(|bytes, at| bytes.insert(at, bytes[at]));
    }

    #[test]
    fn bytes_in_another_order_are_found() {
        let sent = keyed(6, 0, LENGTH);
        let server = peer(|mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all[100_000..100_016].rotate_left(8);
            // The client may have seen enough before the end.
            let _ = stream.write_all(&all);
        });
        assert_ne!(sent[100_000], sent[100_008]);
        let ended = client(&[], server, &[], &*sent);
        assert_fault(&ended, server, "byte 100000: expected ");
    }

    #[test]
    fn a_byte_after_the_end_is_found() {
        for (input, words) in [
            (&b""[..], "byte 0: expected none, received 0x21"),
            (b"hello", "byte 5: expected none, received 0x21"),
        ] {
            let server = peer(|mut stream| {
                echo(&stream);
                stream.write_all(b"!").unwrap();
            });
            assert_fault(&client(&[], server, &[], input), server, words);
        }
    }

    #[test]
    fn bytes_that_nobody_sent_are_found_while_the_input_is_open() {
        let server = peer(|mut stream| {
            stream.write_all(b"220 welcome\r\n").unwrap();
            echo(&stream);
        });
        let mut program = start(&[], server);
        let stdin = program.child.stdin.take();
        assert_eq!(program.wait().code(), Some(1));
        assert!(
            program.logged("byte 0: expected none, received 0x32"),
            "{:?}",
            program.log
        );
        drop(stdin);
    }

    /// Lets 1,000 bytes through, then does `leave`, while the input stays open.
    fn cut_after_1000(leave: fn(TcpStream)) -> (SocketAddr, Ended) {
        let (seen, is_seen) = channel();
        let server = peer(move |stream| {
            echo_some(&stream, 1000);
            is_seen.recv().unwrap();
            leave(stream);
        });
        let mut program = start(&[], server);
        let mut stdin = program.child.stdin.take().unwrap();
        let mut stdout = program.child.stdout.take().unwrap();
        stdin.write_all(&keyed(7, 0, 2000)).unwrap();
        stdout.read_exact(&mut [0; 1000]).unwrap();
        seen.send(()).unwrap();
        let code = program.wait().code();
        let stderr = program.log.join("\n");
        let stdout = Vec::new();
        let ended = Ended {
            code,
            stdout,
            stderr,
        };
        (server, ended)
    }

    #[test]
    fn a_connection_closed_early_is_named_with_the_first_missing_byte() {
        let (server, ended) = cut_after_1000(|stream| {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            while receive(&stream).is_some() {}
        });
        let words = "the connection was closed: 1,000 bytes missing from byte 1000 on";
        assert_fault(&ended, server, words);
    }

    #[test]
    fn a_reset_connection_is_named_with_the_first_missing_byte() {
        let (server, ended) = cut_after_1000(reset);
        let words = "connection reset by peer: 1,000 bytes missing from byte 1000 on";
        assert_fault(&ended, server, words);
    }

    #[test]
    fn a_server_that_closes_while_more_is_to_come_is_an_error() {
        let server = peer(|stream| echo_some(&stream, 5));
        let mut program = start(&[], server);
        let mut stdin = program.child.stdin.take().unwrap();
        stdin.write_all(b"hello").unwrap();
        assert_eq!(program.wait().code(), Some(1));
        assert!(program.logged("closed after 5 bytes"), "{:?}", program.log);
    }

    #[test]
    fn a_server_that_never_answers_is_given_up_after_the_time_out() {
        for length in [1, 32 << 20] {
            let (done, is_done) = channel::<()>();
            // It does not read either.
            let server = peer(move |_stream| is_done.recv().unwrap_or_default());
            let ended = client(&[SHORT], server, &[], keyed(8, 0, length));
            assert_fault(&ended, server, " missing from byte 0 on");
            drop(done);
        }
    }

    #[test]
    fn a_server_that_only_takes_is_not_fed_without_bound() {
        const TOTAL: usize = 128 << 20;
        let taken = Arc::new(AtomicUsize::new(0));
        let server = peer({
            let taken = Arc::clone(&taken);
            move |stream| {
                while let Some(bytes) = receive(&stream) {
                    taken.fetch_add(bytes.len(), Ordering::SeqCst);
                }
            }
        });
        let ended = client(&[SHORT], server, &[], vec![b'x'; TOTAL]);
        assert_fault(&ended, server, " missing from byte 0 on");
        // What has not come back yet is kept for the comparison.
        let taken = taken.load(Ordering::SeqCst);
        assert!(
            taken < TOTAL / 2,
            "{taken} bytes went to a server that answers none"
        );
    }

    #[test]
    fn a_server_that_keeps_some_is_given_up_at_that_byte() {
        let server = peer(|stream| {
            echo_some(&stream, 700);
            while receive(&stream).is_some() {}
            sleep(DEADLINE);
        });
        let ended = client(&[SHORT], server, &[], keyed(9, 0, 1000));
        let words = "no data for 300ms: 300 bytes missing from byte 700 on";
        assert_fault(&ended, server, words);
    }

    #[test]
    fn a_server_that_has_echoed_all_need_not_close() {
        let input = keyed(10, 0, 100_000);
        for text in [&[][..], &["hello"]] {
            let (done, is_done) = channel::<()>();
            let server = peer(move |stream| {
                echo(&stream);
                let _ = is_done.recv();
            });
            match text {
                [] => assert_clean(&client(&[], server, text, &*input), &input),
                _ => assert_clean(&client(&[], server, text, ""), b"hello\n"),
            }
            drop(done);
        }
    }
}

mod errors {
    use super::*;

    #[test]
    fn a_refused_connection_names_the_address_and_the_cause() {
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        for ip in [LOCALHOST, v6] {
            let Ok((_reserved, nobody)) = reserve(ip, 0) else {
                assert_eq!(ip, v6, "no port to be had");
                continue;
            };
            let message = format!("echopool: could not connect to {nobody}: connection refused");
            for text in [&["hello"][..], &[]] {
                let ended = client(&[], nobody, text, "hello");
                assert_eq!((ended.code, ended.stderr), (Some(1), message.clone()));
                assert!(ended.stdout.is_empty());
            }
        }
    }

    #[test]
    fn a_dialogue_that_cannot_connect_ends_before_its_first_prompt() {
        let (_reserved, nobody) = reserve(LOCALHOST, 0).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments(&[], &nobody.to_string(), &[]));
        let message = format!("echopool: could not connect to {nobody}: connection refused\r\n");
        assert_eq!(
            dialogue::end(&mut dialogue::terminal(command)),
            (message, 1)
        );
    }

    #[test]
    fn a_connection_that_is_not_taken_is_given_up_after_the_time_out() {
        let (socket, address) = reserve(LOCALHOST, 0).unwrap();
        socket.listen(0).unwrap();
        // What the queue holds; what comes after is not answered at all.
        let brief = Duration::from_millis(300);
        let queued = || TcpStream::connect_timeout(&address, brief).ok();
        let _queued: Vec<_> = std::iter::from_fn(queued).collect();
        let ended = client(&[SHORT], address, &["hello"], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let begin = format!("echopool: could not connect to {address}: ");
        assert!(ended.stderr.starts_with(&begin), "{ended:?}");
        assert!(ended.stderr.contains("timed out"), "{ended:?}");
    }

    #[test]
    fn an_unknown_host_is_named_with_the_cause() {
        // A part of a name has 63 letters at most, so no server need be asked.
        let host = "h".repeat(64);
        let ended = finish(["client", &format!("{host}:7"), "hello"], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let begin = format!("echopool: could not resolve {host}: ");
        let cause = ended
            .stderr
            .strip_prefix(&begin)
            .unwrap_or_else(|| panic!("{ended:?}"));
        assert!(cause.starts_with(char::is_lowercase), "{cause}");
        assert!(!cause.contains("os error"), "{cause}");
    }

    /// A port that nobody listens on at any of the addresses of `localhost`.
    fn port_at_every_address() -> Vec<(Socket, SocketAddr)> {
        let mut ips: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
        ips.dedup();
        loop {
            let (first, address) = reserve(ips[0].ip(), 0).unwrap();
            let others = ips[1..].iter().map(|at| reserve(at.ip(), address.port()));
            if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
                return std::iter::once((first, address)).chain(others).collect();
            }
        }
    }

    #[test]
    fn every_address_of_a_name_is_tried_and_named() {
        let reserved = port_at_every_address();
        let name = format!("localhost:{}", reserved[0].1.port());
        let ended = finish(["client", &name, "hello"], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for (_, address) in &reserved {
            let attempt = format!(" to {address}: connection refused");
            assert!(ended.stderr.contains(&attempt), "{ended:?}");
        }
        for (socket, address) in reserved {
            socket.listen(1).unwrap();
            serve_one(socket.into(), |stream| echo(&stream));
            let ended = finish(["client", &name, "hello"], "");
            assert_eq!(ended.code, Some(0), "only at {address}: {ended:?}");
            assert_clean(&ended, b"hello\n");
        }
    }
}

mod other_services {
    use super::*;

    /// Sends a text, waits for the client's end, and keeps the connection open until then.
    fn greets(text: &'static [u8]) -> SocketAddr {
        peer(move |mut stream| {
            stream.write_all(text).unwrap();
            while receive(&stream).is_some() {}
        })
    }

    #[test]
    fn a_counted_client_says_what_it_expected_and_what_that_looks_like() {
        let echoing = peer(|stream| echo(&stream));
        let fault = "byte 0: expected 0x35, received 0x68; expected \"5 : hello\", \
                     received \"hello\": it looks like an echo server";
        assert_fault(
            &client(&["--counted"], echoing, &["hello"], ""),
            echoing,
            fault,
        );
        for (text, shown, name) in [
            (&b"SSH-2.0-x\r\n"[..], r"SSH-2.0-x\r\n", "an SSH server"),
            (
                b"HTTP/1.1 400 Bad Request\r\n",
                r"HTTP/1.1 400 Bad Request\r\n",
                "an HTTP server",
            ),
            (b"127.0.0.1:99\n", r"127.0.0.1:99\n", "a --whoami port"),
        ] {
            let server = greets(text);
            let fault = format!("received \"{shown}\": it looks like {name}");
            assert_fault(
                &client(&["--counted"], server, &["hello"], ""),
                server,
                &fault,
            );
        }
    }

    #[test]
    fn an_echo_client_says_what_the_service_looks_like() {
        for (text, name) in [
            (&b"SSH-2.0-x\r\n"[..], "an SSH server"),
            (b"HTTP/1.1 400 Bad Request\r\n", "an HTTP server"),
            // Its first byte is right by chance.
            (b"SSH-2.0-x\r\n", "an SSH server"),
        ] {
            for (words, input) in [(&["hello"][..], ""), (&[], "hello"), (&["Sello"], "")] {
                let server = greets(text);
                let ended = client(&[], server, words, input);
                assert_fault(&ended, server, &format!("; this looks like {name}"));
            }
        }
        // What comes late in a stream is damage, and no greeting.
        let late = peer(|mut stream| {
            let mut bytes = receive(&stream).unwrap();
            bytes.extend_from_slice(b"SSH-2.0-x");
            stream.write_all(&bytes).unwrap();
        });
        let ended = client(&[], late, &["more than some bytes"], "");
        assert!(!ended.stderr.contains("looks like"), "{ended:?}");
        assert_fault(&ended, late, "byte 20: expected none, received 0x53");
    }

    #[test]
    fn a_whoami_client_knows_an_echo_server_long_before_the_time_out() {
        let echoing = peer(|stream| echo(&stream));
        let ended = client(&["--whoami", "--timeout=1h"], echoing, &[], "");
        let fault = "expected this client's address as a line, received nothing: an echo server";
        assert_fault(&ended, echoing, fault);
    }

    #[test]
    fn a_whoami_client_says_what_came_instead_of_an_address() {
        let server = peer(|mut stream| stream.write_all(b"220 mail ready\r\n").unwrap());
        let fault = "expected this client's address as a line, received \"220 mail ready\\r\\n\": \
                     it looks like an SMTP or FTP server";
        assert_fault(&client(&["--whoami"], server, &[], ""), server, fault);
    }
}

mod one_deadline {
    use super::*;

    /// Sends a byte of the text every 20 ms: never silent for the time-out.
    fn dripping(text: &'static [u8]) -> SocketAddr {
        peer(move |mut stream| {
            for byte in text {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                sleep(Duration::from_millis(20));
            }
        })
    }

    #[test]
    fn a_whoami_answer_must_be_whole_by_then() {
        let server = dripping(&[b'1'; 120]);
        let ended = client(&["--whoami", SHORT], server, &[], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let begin =
            format!("could not receive from {server}: no whole answer within 300ms, only \"1");
        assert!(ended.stderr.contains(&begin), "{ended:?}");
    }

    #[test]
    fn a_counted_answer_must_be_whole_by_then() {
        const TEXT: &str = "a text of which the answer is too long to come in time, byte by byte";
        const ANSWER: &[u8] =
            b"68 : a text of which the answer is too long to come in time, byte by byte\0";
        assert_eq!(TEXT.len(), 68);
        let server = dripping(ANSWER);
        let ended = client(&["--counted", SHORT], server, &[TEXT], "");
        assert_fault(&ended, server, " missing from byte ");
    }
}

mod tunnel {
    use super::*;

    /// An echo behind a tunnel that takes a half-close for the end: what it has not passed on
    /// by then is lost.
    fn cut_at_half_close() -> SocketAddr {
        peer(|mut stream| {
            let mut pending = Vec::new();
            let brief = Some(Duration::from_millis(200));
            stream.set_read_timeout(brief).unwrap();
            let mut block = [0; 1024];
            loop {
                match stream.read(&mut block) {
                    Ok(0) => return,
                    Ok(length) => pending.extend_from_slice(&block[..length]),
                    Err(_) if stream.write_all(&pending).is_err() => return,
                    Err(_) => pending.clear(),
                }
            }
        })
    }

    #[test]
    fn a_text_and_a_pipe_are_read_back_before_the_half_close() {
        let ended = client(&[], cut_at_half_close(), &["hello"], "");
        assert_clean(&ended, b"hello\n");
        let input = keyed(6, 0, 300_000);
        let ended = client(&[], cut_at_half_close(), &[], &*input);
        assert_clean(&ended, &input);
    }

    #[test]
    fn a_text_and_a_pipe_end_for_a_server_that_waits_for_that() {
        for text in [&["hello"][..], &[]] {
            let server = peer(|mut stream| {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
            let ended = client(&[], server, text, "hello");
            assert_eq!(String::from_utf8_lossy(&ended.stdout).trim_end(), "hello");
            assert_eq!(ended.code, Some(0), "{ended:?}");
        }
    }

    #[test]
    fn a_counted_text_needs_no_half_close() {
        let server = peer(|mut stream| {
            let request = receive(&stream).unwrap();
            assert_eq!(request, b"hello\0");
            let brief = Some(Duration::from_millis(200));
            stream.set_read_timeout(brief).unwrap();
            if receive_or_nothing(&stream) {
                stream.write_all(b"5 : hello\0").unwrap();
            }
        });
        let ended = client(&["--counted"], server, &["hello"], "");
        assert_clean(&ended, b"5 : hello\n");
    }

    /// Whether nothing comes, not even an end.
    fn receive_or_nothing(mut stream: &TcpStream) -> bool {
        stream.read(&mut [0]).is_err()
    }

    #[test]
    fn a_text_and_a_pipe_that_are_cut_at_a_half_close_say_so() {
        // It passes nothing on, until it takes the half-close for the end.
        for text in [&["hello"][..], &[]] {
            let server = peer(|mut stream| {
                stream.read_to_end(&mut Vec::new()).unwrap();
            });
            let ended = client(&[], server, text, "hello");
            assert_fault(
                &ended,
                server,
                "; the path may take our half-close for the end",
            );
        }
    }
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let address = peer(|stream| echo(&stream));
    let mut command = Command::new("sh");
    let script = "trap '' INT TERM HUP; exec \"$0\" client \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_echopool")]);
    command.arg(address.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Program::spawn(command);
    let mut stdin = program.child.stdin.take().unwrap();
    let mut stdout = program.child.stdout.take().unwrap();
    let mut say = |text: &[u8]| {
        stdin.write_all(text).unwrap();
        let mut reply = vec![0; text.len()];
        stdout.read_exact(&mut reply).unwrap();
        assert_eq!(reply, text);
    };
    // Its echo shows that the program runs.
    say(b"before");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        program.signal(signal);
    }
    say(b"after");
    drop(stdin);
    assert!(program.wait().success(), "{:#?}", program.log);
}

// `cargo test -- --ignored` on a Linux that lets its users make namespaces.
mod needs_namespaces {
    use super::*;

    /// Runs a script, in which `$P` is the program, on a network of its own.
    fn in_a_network(script: &str) -> String {
        let mut command = Command::new("unshare");
        let up = format!("set -e; ip link set lo up; {script}");
        command
            .args(["-rmn", "bash", "-c", &up])
            .env_remove("RUST_LOG");
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        let output = command
            .env("P", env!("CARGO_BIN_EXE_echopool"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }

    #[test]
    #[ignore = "needs unshare(1) and ip(8)"]
    fn a_connection_to_itself_is_an_error() {
        // Of two ports to choose from, one of two connections gets its own.
        let said = in_a_network(
            "echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range
             ! $P client 127.0.0.1:40000 hello
             ! $P client 127.0.0.1:40001 hello",
        );
        assert!(said.contains("the connection reached itself"), "{said}");
        assert!(!said.contains("hello"), "{said}");
    }

    #[test]
    #[ignore = "needs unshare(1) and ip(8)"]
    fn the_addresses_of_a_name_are_tried_in_turn() {
        let said = in_a_network(
            "printf '127.0.0.1 many\n127.0.0.2 many\n::1 many\n' > hosts
             mount --bind hosts /etc/hosts
             ! $P client many:4444 hello
             : > log
             $P serve --echo 127.0.0.2:4444 2> log & server=$!
             trap 'kill $server' EXIT
             until grep -q waiting log; do sleep 0.01; done
             $P client many:4444 hello",
        );
        let (echo, refused) = said.split_once('\n').unwrap();
        assert_eq!(echo, "hello");
        for ip in ["127.0.0.1", "127.0.0.2", "[::1]"] {
            let attempt = format!(" to {ip}:4444: connection refused");
            assert!(refused.contains(&attempt), "{said}");
        }
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and mount(8)"]
    fn an_address_that_leads_nowhere_costs_no_probe_a_time_out() {
        let said = in_a_network(
            "ip tuntap add dev tun0 mode tun
             ip link set tun0 up
             ip addr add 2001:db8::1/64 dev tun0 nodad
             ip addr add 10.9.9.1/24 dev tun0
             printf '2001:db8::2 many\n10.9.9.1 many\n' > nowhere-hosts
             mount --bind nowhere-hosts /etc/hosts
             : > nowhere-log
             $P serve --echo 10.9.9.1:4444 2> nowhere-log & server=$!
             trap 'kill $server' EXIT
             until grep -q waiting nowhere-log; do sleep 0.01; done
             $P client --timeout 60s many:4444 hello
             $P ping --timeout 60 -c 1 many:4444
             $P check --timeout 60s --only connect,bytes many:4444
             $P bench --timeout 60s -q -n 1 --warmup 0s many:4444
             echo whole in $SECONDS s",
        );
        for line in [
            "hello\n",
            "64 bytes from 10.9.9.1:4444: seq=1 ",
            "; [2001:db8::2]:4444: no answer in 2",
            " against 10.9.9.1:4444, ",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        // Each of them would otherwise have waited for a minute.
        let (_, seconds) = said.split_once("whole in ").unwrap();
        let seconds: u32 = seconds.trim_end().trim_end_matches(" s").parse().unwrap();
        assert!(seconds < 60, "{said}");
    }

    /// The process that unshare(1) has started.
    fn only_child(program: &Program) -> Option<Pid> {
        let id = program.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        Pid::from_raw(children.ok()?.trim().parse().ok()?)
    }

    /// Connections to that port that wait for an answer.
    fn connecting_to(address: SocketAddr) -> usize {
        let remote = format!(":{:04X} 02 ", address.port());
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets
            .lines()
            .filter(|line| line.contains(&remote))
            .count()
    }

    #[test]
    #[ignore = "needs unshare(1)"]
    fn a_signal_ends_the_first_process_of_a_container_while_it_connects() {
        let (socket, address) = reserve(LOCALHOST, 0).unwrap();
        socket.listen(0).unwrap();
        let brief = Duration::from_millis(300);
        let queued = || TcpStream::connect_timeout(&address, brief).ok();
        let _queued: Vec<_> = std::iter::from_fn(queued).collect();
        for (command, signal, codes) in [
            ("client --timeout 1h", Signal::TERM, [143, 143]),
            ("client --timeout 1h", Signal::INT, [130, 130]),
            ("client --timeout 1h", Signal::HUP, [129, 129]),
            ("client --whoami --timeout 1h", Signal::TERM, [143, 143]),
            ("check --timeout 1h", Signal::TERM, [130, 130]),
            ("bench --timeout 1h", Signal::INT, [130, 130]),
            // It tells what there was, and that nothing came back.
            ("ping -W 3600", Signal::TERM, [0, 1]),
        ] {
            let before = connecting_to(address);
            let mut unshare = Command::new("unshare");
            unshare.args(["-rpf", env!("CARGO_BIN_EXE_echopool")]);
            unshare.args(command.split(' ')).arg(address.to_string());
            unshare.stdin(Stdio::null()).stdout(Stdio::null());
            let mut program = Program::spawn(unshare);
            common::wait_until("it to connect", || connecting_to(address) > before);
            let child = only_child(&program).expect("a child");
            rustix::process::kill_process(child, signal).unwrap();
            let code = program.wait().code();
            let is_right = code.is_some_and(|code| codes.contains(&code));
            assert!(is_right, "{command} {signal:?}: {code:?}");
        }
    }
}
