//! Under a service manager: the sockets that it hands over, and its notifications.
//!
//! The test stands in for the manager: a shell hands the sockets over, and a socket of
//! the test receives the notifications.
#![cfg(target_os = "linux")]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    DEADLINE, Program, connect, connect_narrow, fill, full_duplex, read_to_end, round_trip,
};
use rustix::process::Signal;
use socket2::{Domain, SockRef, Socket, Type};

/// The program, started with one or two sockets as a service manager would:
/// from descriptor 3 on, with their names in the environment.
fn under_manager(sockets: Vec<OwnedFd>, names: &str, arguments: &[&str]) -> Command {
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names}; \
         exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2",
        sockets.len()
    );
    let mut sockets = sockets.into_iter().map(Stdio::from);
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_echopool"), "serve"])
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(sockets.next().unwrap())
        .stdout(sockets.next().unwrap_or_else(Stdio::null));
    command
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

mod sockets {
    use super::*;

    #[test]
    fn each_is_served_with_the_protocol_that_is_its_name_and_nothing_else_is() {
        let ((counted, at_counted), (echo, at_echo)) = (listen(), listen());
        let sockets = vec![counted.into(), echo.into()];
        let mut server = Program::spawn(under_manager(sockets, "counted:echo", &[]));
        assert_eq!(server.wait_for_listener("counted"), at_counted);
        assert_eq!(server.wait_for_listener("echo"), at_echo);
        full_duplex(connect(at_echo), 7, 300_000);
        let mut client = connect(at_counted);
        std::io::Write::write_all(&mut client, b"hello\0").unwrap();
        assert_eq!(read_to_end(&mut client), b"5 : hello\0");
        server.signal(Signal::TERM);
        assert!(server.wait().success(), "{:?}", server.log);
        let listeners = server.log.iter();
        let listeners = listeners.filter(|line| line.contains("waiting for clients on"));
        assert_eq!(listeners.count(), 2, "{:?}", server.log);
    }

    /// A listening socket of multipath TCP, RFC 8684, as of `SocketProtocol=mptcp`; `None`
    /// where the system has none.
    fn listen_by_mptcp() -> Option<(TcpListener, SocketAddr)> {
        let socket = mptcp_socket()?;
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(64).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Some((socket.into(), address))
    }

    fn mptcp_socket() -> Option<Socket> {
        let protocol = Some(socket2::Protocol::from(262));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, protocol).ok()?;
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Some(socket)
    }

    fn connect_by_mptcp(address: SocketAddr) -> TcpStream {
        let socket = mptcp_socket().unwrap();
        socket.connect(&address.into()).unwrap();
        socket.into()
    }

    #[test]
    fn one_of_multipath_tcp_is_served_as_well_as_one_of_tcp() {
        let Some((listener, address)) = listen_by_mptcp() else {
            return;
        };
        // Without this the last clients would be cut only after a minute.
        let arguments = [
            "--workers",
            "1",
            "--grace",
            "60s",
            "--socket-buffer",
            "256KiB",
        ];
        let mut server = Program::spawn(under_manager(vec![listener.into()], "echo", &arguments));
        assert_eq!(server.wait_for_listener("echo"), address);
        for connect in [connect, connect_by_mptcp] {
            // To the half-close, with little and with more than any buffer holds.
            full_duplex(connect(address), 1, 3);
            full_duplex(connect(address), 2, 20_000_000);
            let mut late = connect(address);
            std::io::Write::write_all(&mut late, &common::keyed(3, 0, 100_000)).unwrap();
            late.shutdown(std::net::Shutdown::Write).unwrap();
            common::expect(&mut late, 3, 0, 100_000);
            common::expect_end(&mut late);
        }
        // A client of TCP: MPTCP has no urgent data.
        let mut urgent = connect(address);
        assert_eq!(SockRef::from(&urgent).send_out_of_band(b"!").unwrap(), 1);
        round_trip_after(&mut urgent, b"!", b"in line");
        let mut idle = [connect(address), connect_by_mptcp(address)];
        idle.iter_mut().for_each(|one| round_trip(one, b"quiet"));
        let stopped = Instant::now();
        server.signal(Signal::TERM);
        idle.iter_mut().for_each(common::expect_end);
        drop(idle);
        drop(urgent);
        assert!(server.wait().success(), "{:?}", server.log);
        assert!(stopped.elapsed() < Duration::from_secs(50));
        assert!(server.logged("9 connections"), "{:?}", server.log);
    }

    /// Sends `bytes` where `before` was sent already, and reads both.
    fn round_trip_after(stream: &mut TcpStream, before: &[u8], bytes: &[u8]) {
        std::io::Write::write_all(stream, bytes).unwrap();
        let mut echo = vec![0; before.len() + bytes.len()];
        std::io::Read::read_exact(stream, &mut echo).unwrap();
        assert_eq!(echo, [before, bytes].concat());
    }

    #[test]
    fn what_the_command_line_asks_for_is_served_beside_them() {
        let (echo, at_echo) = listen();
        let arguments = ["--echo", "127.0.0.1:0"];
        let mut server = Program::spawn(under_manager(vec![echo.into()], "echo", &arguments));
        assert_eq!(server.wait_for_listener("echo"), at_echo);
        let other = server.wait_for_listener("echo");
        assert_ne!(other, at_echo);
        round_trip(&mut connect(at_echo), b"handed over");
        round_trip(&mut connect(other), b"asked for");
    }

    /// Those of a client are inherited from the socket, which the test has a copy of.
    #[test]
    fn the_buffers_of_their_clients_are_bounded_like_those_of_others() {
        let (listener, address) = listen();
        let arguments = ["--socket-buffer", "32KiB"];
        let mut server = Program::spawn(under_manager(vec![copy(&listener)], "echo", &arguments));
        server.wait_for_listener("echo");
        // Linux reports twice the size that was asked for.
        let socket = SockRef::from(&listener);
        assert_eq!(socket.send_buffer_size().unwrap(), 64 * 1024);
        assert_eq!(socket.recv_buffer_size().unwrap(), 64 * 1024);
        let mut client = connect_narrow(address);
        SockRef::from(&client)
            .set_send_buffer_size(16 * 1024)
            .unwrap();
        let taken = fill(&mut client, 1);
        assert!(taken < 512 * 1024, "{taken} bytes are on their way");
        assert!(
            !server.logged("the kernel limits the buffers of a client"),
            "{:?}",
            server.log
        );

        let arguments = ["--socket-buffer", "2147483647"];
        let sockets = vec![copy(&listener)];
        let mut server = Program::spawn(under_manager(sockets, "echo", &arguments));
        server.wait_for("the kernel limits the buffers of a client");
    }

    /// Standard error of a program that must refuse `socket` at its start.
    #[track_caller]
    fn refusal(socket: impl Into<OwnedFd>, name: &str) -> String {
        let mut server = Program::spawn(under_manager(vec![socket.into()], name, &[]));
        assert_eq!(server.wait().code(), Some(1), "{:?}", server.log);
        server.log.join("\n")
    }

    #[test]
    fn a_name_that_is_no_protocol_is_an_error_that_says_what_to_do() {
        let error = refusal(listen().0, "web.socket");
        let words = "could not serve the service manager's socket \"web.socket\": \
                     no protocol has that name; its .socket unit needs FileDescriptorName=echo";
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_socket_that_is_no_tcp_listener_is_an_error_that_says_what_to_do() {
        let (listener, address) = listen();
        let connected = TcpStream::connect(address).unwrap();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let local = UnixListener::bind(folder.path().join("socket")).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = File::open("/dev/null").unwrap();
        for error in [
            refusal(connected, "echo"),
            refusal(local, "echo"),
            refusal(datagrams, "echo"),
        ] {
            let words = "it is no listening TCP socket; its .socket unit needs ListenStream=";
            assert!(error.contains(words), "{error}");
        }
        let error = refusal(file, "echo");
        assert!(error.contains("operation on non-socket"), "{error}");
    }

    #[test]
    fn names_that_do_not_match_the_sockets_are_an_error() {
        let error = refusal(listen().0, "echo:counted");
        let words = "could not take over the service manager's sockets";
        assert!(error.contains(words), "{error}");
    }

    /// The manager keeps the socket open, and with it the clients in its listen queue.
    #[test]
    fn clients_that_wait_at_the_stop_are_served_by_the_next_start() {
        let (listener, address) = listen();
        let arguments = ["--max-connections", "1"];
        let start = || Program::spawn(under_manager(vec![copy(&listener)], "echo", &arguments));
        let mut first = start();
        first.wait_for_listener("echo");
        let mut served = connect(address);
        round_trip(&mut served, b"the only one there is room for");
        let mut waiting: Vec<_> = (0..5).map(|_| connect(address)).collect();
        first.signal(Signal::TERM);
        assert!(first.wait().success(), "{:?}", first.log);
        assert!(!first.logged("turned away"), "{:?}", first.log);
        common::expect_end(&mut served);

        let mut late = connect(address);
        let mut second = start();
        second.wait_for_listener("echo");
        while !waiting.is_empty() {
            round_trip(&mut waiting.remove(0), b"patience");
        }
        round_trip(&mut late, b"came between two servers");
    }
}

mod the_journal {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// What the server writes to a file that `JOURNAL_STREAM` names as `named` makes it of
    /// the file's own name, until it has stopped.
    fn written(arguments: &[&str], named: impl Fn(&str) -> String) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = File::create(&path).unwrap();
        let identity = file.metadata().unwrap();
        let identity = format!("{}:{}", identity.dev(), identity.ino());
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command
            .args(arguments)
            .env("JOURNAL_STREAM", named(&identity))
            .env_remove("RUST_LOG")
            .stderr(file);
        let mut child = command.spawn().unwrap();
        let read = || fs::read_to_string(&path).unwrap();
        let mut ended = None;
        common::wait_until("the server to wait for clients or to end", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || read().contains("waiting for clients on")
        });
        if ended.is_none() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, Signal::TERM).unwrap();
            child.wait().unwrap();
        }
        read().lines().map(str::to_owned).collect()
    }

    const WARNS: [&str; 5] = [
        "serve",
        "--echo",
        "127.0.0.1:0,192.0.2.1:7",
        "--workers",
        "1",
    ];

    #[test]
    fn gets_the_priority_of_each_line_and_no_time_stamp() {
        let lines = written(&WARNS, str::to_owned);
        assert!(
            lines[0].starts_with("<4>this machine does not have the address 192.0.2.1"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("<6>waiting for clients on echo://"));
        let last = lines.last().unwrap();
        assert!(last.starts_with("<6>total: 1 worker"), "{lines:?}");
        let has_level = |line: &String| line.contains("INFO") || line.contains("WARN");
        assert!(!lines.iter().any(has_level), "{lines:?}");
    }

    #[test]
    fn gets_the_priority_of_the_error_that_ends_the_server() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let lines = written(&["serve", "--echo", &address], str::to_owned);
        let words = format!("<3>echopool: could not listen on {address}: ");
        assert!(lines[0].starts_with(&words), "{lines:?}");
    }

    /// The variable is inherited: what it names may be another's standard error.
    #[test]
    fn is_only_the_file_that_is_named() {
        for other in ["1:1", "", "journal", "8:"] {
            let lines = written(&WARNS, |identity| match other {
                "8:" => format!("8{identity}"),
                other => other.to_owned(),
            });
            assert!(lines[0].contains("Z WARN  this machine"), "{lines:?}");
        }
    }
}

/// The service manager's end of the notifications.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, folder }
    }

    /// Starts the program with this socket to notify.
    fn start<S: AsRef<OsStr>>(&self, arguments: &[S], watchdog: Option<Duration>) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command
            .args(arguments)
            .env_remove("RUST_LOG")
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        if let Some(time) = watchdog {
            command.env("WATCHDOG_USEC", time.as_micros().to_string());
        }
        Program::spawn(command)
    }

    /// The next notification, a line an item.
    fn receive(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether no notification comes for so long.
    fn is_silent_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let received = self.socket.recv(&mut [0; 4096]);
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        received.is_err()
    }
}

const ANYWHERE: [&str; 3] = ["serve", "--echo", "127.0.0.1:0"];

mod notifications {
    use super::*;

    #[test]
    fn ready_comes_once_clients_are_served_and_names_the_listeners() {
        let manager = Manager::new();
        let mut server = manager.start(&ANYWHERE, None);
        let news = manager.receive();
        // Without a wait for the log: this is when a manager lets clients come.
        let status = news[1].strip_prefix("STATUS=serving echo://").unwrap();
        round_trip(&mut connect(status.parse().unwrap()), b"at once");
        assert_eq!(news[0], "READY=1");
        assert_eq!(server.wait_for_listener("echo").to_string(), status);
    }

    #[test]
    fn a_server_that_cannot_start_is_never_ready() {
        let manager = Manager::new();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let mut server = manager.start(&["serve", "--echo", &address], None);
        assert_eq!(server.wait().code(), Some(1));
        assert!(
            manager.is_silent_for(Duration::from_millis(1)),
            "it has ended"
        );
    }

    #[test]
    fn the_stop_is_notified_with_the_time_that_it_may_take() {
        let manager = Manager::new();
        let arguments = [&ANYWHERE[..], &["--grace", "2h"]].concat();
        let mut server = manager.start(&arguments, None);
        assert_eq!(manager.receive()[0], "READY=1");
        server.signal(Signal::TERM);
        let news = manager.receive();
        assert_eq!(news[0], "STOPPING=1");
        let time = news[1].strip_prefix("EXTEND_TIMEOUT_USEC=").unwrap();
        let time = Duration::from_micros(time.parse().unwrap());
        let grace = Duration::from_secs(2 * 60 * 60);
        assert!(
            time > grace && time < grace + Duration::from_secs(60),
            "{time:?}"
        );
        assert_eq!(news[2], "STATUS=stopping: clients have 2h to finish");
        assert!(server.wait().success());
    }

    #[test]
    fn an_idle_server_notifies_the_watchdog_several_times_within_its_timeout() {
        let manager = Manager::new();
        let time = Duration::from_secs(2);
        let _server = manager.start(&ANYWHERE, Some(time));
        assert_eq!(manager.receive()[0], "READY=1");
        assert_eq!(manager.receive(), ["WATCHDOG=1"]);
        let since = Instant::now();
        for _ in 0..4 {
            assert_eq!(manager.receive(), ["WATCHDOG=1"]);
        }
        // A quarter of the time apart, each.
        assert!(since.elapsed() > time / 2, "{:?}", since.elapsed());
    }

    #[test]
    fn without_a_watchdog_nothing_follows_ready() {
        let manager = Manager::new();
        let mut server = manager.start(&ANYWHERE, None);
        assert_eq!(manager.receive()[0], "READY=1");
        let address = server.wait_for_listener("echo");
        round_trip(&mut connect(address), b"busy");
        assert!(manager.is_silent_for(Duration::from_millis(100)));
    }

    #[test]
    fn a_manager_that_cannot_be_notified_is_no_reason_to_stop() {
        let manager = Manager::new();
        std::fs::remove_file(manager.folder.path().join("notify")).unwrap();
        let mut server = manager.start(&ANYWHERE, None);
        server.wait_for("could not notify the service manager \"READY=1\": no such file");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
    }
}
