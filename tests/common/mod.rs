//! What the suites share: servers, streams that differ by key, deadlines.
// Every suite is a program of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod bad_datagrams;
#[cfg(unix)]
pub mod browser;
pub mod check;
pub mod datagrams;
pub mod faulty;
#[cfg(target_os = "linux")]
pub mod gap;
pub mod http;
pub mod load;
pub mod lookalikes;
#[cfg(target_os = "linux")]
pub mod network;
pub mod ping;
pub mod results;
#[cfg(unix)]
pub mod serve;
#[cfg(target_os = "linux")]
pub mod trains;
#[cfg(target_os = "linux")]
pub mod udp;
pub mod unfaithful;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use echopool::base::open_files::raise_open_files;
use echopool::proto::Protocol;
use echopool::server::error::Error;
use echopool::server::{self, Config, Listener, Report, Stop};
use socket2::{Domain, SockRef, Socket, Type};

/// No step of a test takes so long unless something hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A server in this process, with an echo and a counted listener.
pub struct Server {
    pub echo: SocketAddr,
    pub counted: SocketAddr,
    pub stop: Stop,
    running: JoinHandle<Result<Report, Error>>,
}

impl Server {
    pub fn start(config: Config) -> Self {
        raise_open_files();
        let mut listeners = bind(Protocol::Echo);
        listeners.extend(bind(Protocol::Counted));
        let (echo, counted) = (listeners[0].address(), listeners[1].address());
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || server::Server::start(listeners, &config)?.run(&stop)
        });
        Self {
            echo,
            counted,
            stop,
            running,
        }
    }

    /// With so many workers, and all else at its default.
    pub fn with_workers(workers: usize) -> Self {
        Self::start(Config {
            workers,
            ..Config::default()
        })
    }

    /// Stops the server and returns its report.
    pub fn stop(self) -> Report {
        self.stop.request();
        self.join()
    }

    /// Waits for a server that has been asked to stop.
    pub fn join(self) -> Report {
        wait_until("the server to stop", || self.running.is_finished());
        self.running.join().unwrap().unwrap()
    }
}

fn bind(protocol: Protocol) -> Vec<Listener> {
    Listener::bind(protocol, &"127.0.0.1:0".parse().unwrap(), 4096).unwrap()
}

/// Connects, with every later read and write under the deadline.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Has the other threads of a test end when it is dropped, also when the test fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits for a condition that no event reports, and fails after the deadline.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `length` bytes from `offset` on of the endless stream that belongs to `key`.
/// Streams of different keys, and one stream at different offsets, differ.
pub fn keyed(key: u64, offset: usize, length: usize) -> Vec<u8> {
    // SplitMix64 of the key and the index of the 8-byte word.
    let word = |index: usize| {
        let mut word = (key << 32).wrapping_add(index as u64 + 1);
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    };
    let words = offset / 8..(offset + length).div_ceil(8);
    let mut bytes: Vec<u8> = words.flat_map(word).collect();
    bytes.drain(..offset % 8);
    bytes.truncate(length);
    bytes
}

/// Sends `bytes` and checks that they come back; the connection stays open.
pub fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut echo = vec![0; bytes.len()];
    stream.read_exact(&mut echo).unwrap();
    assert!(echo == bytes, "another echo than what was sent");
}

/// Sends `length` bytes of the stream of `key` while receiving them, then
/// half-closes and checks that all of them came back, and nothing after them.
pub fn full_duplex(stream: TcpStream, key: u64, length: usize) {
    full_duplex_reporting(stream, key, length, |_| ());
}

/// The same, and reports how many bytes are back, chunk by chunk.
pub fn full_duplex_reporting(
    mut stream: TcpStream,
    key: u64,
    length: usize,
    mut report: impl FnMut(usize),
) {
    let mut sending = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for offset in (0..length).step_by(CHUNK) {
            let bytes = keyed(key, offset, CHUNK.min(length - offset));
            sending.write_all(&bytes).unwrap();
        }
        sending.shutdown(Shutdown::Write).unwrap();
    });
    for offset in (0..length).step_by(CHUNK) {
        expect(&mut stream, key, offset, CHUNK.min(length - offset));
        report(offset);
    }
    expect_end(&mut stream);
    sender.join().unwrap();
}

/// How much is sent or compared at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Reads the `length` bytes from `offset` on of the stream of `key`.
pub fn expect(stream: &mut TcpStream, key: u64, offset: usize, length: usize) {
    let mut echo = vec![0; CHUNK.min(length)];
    for at in (offset..offset + length).step_by(CHUNK) {
        let part = &mut echo[..CHUNK.min(offset + length - at)];
        stream.read_exact(part).unwrap();
        assert!(
            *part == keyed(key, at, part.len()),
            "client {key}: a wrong byte after offset {at}"
        );
    }
}

/// Checks that the stream ends here, by the server's FIN.
pub fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "a byte beyond the echo");
}

/// Connects with a small receive buffer, so that little is enough to fill it.
pub fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends the stream of `key` and reads nothing, until the server takes no more.
/// Returns how many bytes it took, the kernel's buffers included.
pub fn fill(stream: &mut TcpStream, key: u64) -> usize {
    try_fill(stream, key).unwrap()
}

/// As [`fill`], where the server may end the connection.
pub fn try_fill(stream: &mut TcpStream, key: u64) -> Result<usize, String> {
    /// Well above what the kernel's buffers of one connection hold.
    const BOUND: usize = 256 << 20;

    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut taken = 0;
    loop {
        match stream.write(&keyed(key, taken, CHUNK)) {
            Ok(n) => taken += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(format!("after {taken} bytes: {error}")),
        }
        assert!(
            taken < BOUND,
            "a client that reads nothing is not held back"
        );
    }
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    Ok(taken)
}

/// Sends and reads nothing, until the server takes no more or resets the connection.
pub fn pour(mut client: &TcpStream) {
    client
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    while client.write(&[7; 64 * 1024]).is_ok() {}
}

/// Whether nothing can be read for a while.
pub fn is_silent(client: &mut TcpStream, time: Duration) -> bool {
    client.set_read_timeout(Some(time)).unwrap();
    let read = client.read(&mut [0]);
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Ends a connection with RST.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Whether the peer has reset the connection. The error itself is returned once, and
/// a write may have got it already.
pub fn is_reset(client: &TcpStream) -> bool {
    client.peer_addr().is_err()
}

pub fn wait_for_reset(client: &TcpStream) {
    wait_until("the server to reset the connection", || is_reset(client));
}

/// Everything until the end of the stream.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The program as a child process; killed when dropped, with all that it has started.
pub struct Program {
    pub child: Child,
    lines: Receiver<String>,
    /// What it has logged so far.
    pub log: Vec<String>,
    /// How long its end is awaited.
    pub deadline: Duration,
}

impl Program {
    /// Starts `echopool` with `arguments`, its standard error captured.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(arguments).env_remove("RUST_LOG");
        Self::spawn(command)
    }

    /// Starts any command, its standard error captured.
    pub fn spawn(command: Command) -> Self {
        let (mut program, stderr) = Self::spawn_unread(command);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        program.lines = lines;
        program
    }

    /// Starts any command whose standard error the caller reads, or does not.
    pub fn spawn_unread(mut command: Command) -> (Self, ChildStderr) {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let program = Self {
            child,
            lines: channel().1,
            log: Vec::new(),
            deadline: DEADLINE,
        };
        (program, stderr)
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in {:#?}", self.log),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {text:?}: {:#?}", self.log)
                }
            }
        }
    }

    /// Waits for the line `waiting for clients on SCHEME://ADDRESS`.
    pub fn wait_for_listener(&mut self, scheme: &str) -> SocketAddr {
        let mark = format!("waiting for clients on {scheme}://");
        let line = self.wait_for(&mark);
        line.split(&mark).nth(1).unwrap().parse().unwrap()
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end. Returns how it ended; the rest of the log is in `log`.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + self.deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "still running: {:#?}", self.log);
            std::thread::sleep(Duration::from_millis(2));
        };
        self.log.extend(self.lines.iter());
        status
    }

    /// Whether some line of the log contains `text`.
    pub fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Found before their parent is gone, and they are somebody else's children.
        let others = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all(&others);
    }
}

/// What a process has started, and what that has started. A wrapper that is killed does
/// not take it along: strace leaves the program that it traced, a shell its jobs.
#[cfg(target_os = "linux")]
fn descendants(process: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pairs: Vec<(u32, u32)> = pids.filter_map(|pid| Some((parent(pid)?, pid))).collect();
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = pairs.iter().filter(|(of, _)| *of == parent);
        found.extend(children.map(|(_, child)| child));
        next += 1;
    }
    found.split_off(1)
}

/// Elsewhere no program is started through another one.
#[cfg(not(target_os = "linux"))]
const fn descendants(_process: u32) -> Vec<u32> {
    Vec::new()
}

/// The parent of a process that runs. One that waits to be reaped has none; its first thread
/// looks so before the last of them has ended, and closed what was open.
#[cfg(target_os = "linux")]
pub fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let has_ended = ["Z", "X"].contains(&fields.next()?);
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    (!has_ended || threads.count() > 1).then_some(())?;
    fields.next()?.parse().ok()
}

#[cfg(target_os = "linux")]
fn end_all(processes: &[u32]) {
    use rustix::process::{Pid, Signal, kill_process};

    for &process in processes {
        let pid = Pid::from_raw(process.cast_signed()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
    }
    // Until then they may still write to folders that are removed next. No panic here:
    // there may be one already.
    let until = Instant::now() + DEADLINE;
    while processes.iter().any(|&pid| parent(pid).is_some()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(not(target_os = "linux"))]
const fn end_all(_processes: &[u32]) {}

/// How a program ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs `echopool` to its end, with `input` for its standard input.
pub fn finish<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    input: impl Into<Vec<u8>>,
) -> Ended {
    let input = input.into();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
    command.args(arguments).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Program::spawn(command);
    let mut stdin = program.child.stdin.take().unwrap();
    // A program that ends early does not take all of it.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    end(program)
}

/// Waits for the end of a program whose standard output is a pipe, and reads that.
pub fn end(mut program: Program) -> Ended {
    let mut stdout = program.child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let status = program.wait();
    Ended {
        code: status.code(),
        stdout: reader.join().unwrap(),
        stderr: program.log.join("\n"),
    }
}

/// A port on which no socket listens, and that no other program is given while the
/// socket lives; a program that reuses addresses can bind it all the same.
/// `port` 0 takes any.
pub fn reserve(ip: IpAddr, port: u16) -> std::io::Result<(Socket, SocketAddr)> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().unwrap();
    Ok((socket, address))
}
