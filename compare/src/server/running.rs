//! A server that runs: started on its CPUs, awaited, and ended with all its children.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use echopool::bench::source::Source;
use rustix::process::{Pid, Signal, kill_process};

use crate::server::definition::Server;
use crate::server::options::Options;
use crate::server::transport::Transport;
use crate::system::placement::Placement;
use crate::system::process;

/// A server has to serve within this time.
pub const START_TIME: Duration = Duration::from_secs(5);

/// Ports are taken from here on, below those that the kernel gives to clients.
static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);
const FIRST_PORT: u16 = 20_200;
const LAST_PORT: u16 = 32_000;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddrV4,
    sources: Source,
    log: PathBuf,
}

impl Running {
    /// Starts a server of `transport` and waits until it serves.
    ///
    /// # Errors
    /// It could not be started, or ended, with the last line that it printed.
    pub fn start(
        server: &Server,
        options: &Options,
        (workers, transport): (usize, Transport),
        placement: &Placement,
    ) -> io::Result<Self> {
        let port = free_port()?;
        let command = server.command(options, port, workers, transport)?;
        let mut command = bound_to_this_process(&command, options);
        let log = options.work.join(format!("{}.log", server.name));
        let file = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut running = Self {
            child: placement.on_server(|| command.spawn())??,
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            sources: server.sources(),
            log,
        };
        if transport.has_tcp() {
            running.wait_until(|address| TcpStream::connect(address).is_ok())?;
        }
        if transport.has_udp() {
            running.wait_until(|address| echoes_a_datagram(address).is_ok())?;
        }
        Ok(running)
    }

    fn wait_until(&mut self, serves: impl Fn(SocketAddrV4) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + START_TIME;
        while !serves(self.address) {
            if self.child.try_wait()?.is_some() {
                return Err(io::Error::other(self.last_line()));
            }
            if Instant::now() > deadline {
                let most = START_TIME.as_secs();
                let error = format!("it did not serve within {most} s");
                return Err(io::Error::other(error));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What it printed last.
    fn last_line(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        match (read, text.lines().last()) {
            (Ok(_), Some(line)) => format!("it ended: {line}"),
            _ => String::from("it ended without a word"),
        }
    }

    /// Where it serves.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The addresses that its clients come from.
    #[must_use]
    pub const fn sources(&self) -> Source {
        self.sources
    }

    /// The CPU time of it and its children since it was started.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(self.child.id())
    }

    /// The memory of it and its children in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        process::memory(self.child.id())
    }
}

#[cfg(test)]
impl Running {
    /// A stand-in, for a server that the test itself is; its process only sleeps.
    pub(crate) fn stand_in(address: SocketAddrV4) -> Self {
        let mut sleeper = Command::new("sleep");
        Self {
            child: sleeper.arg("600").spawn().unwrap(),
            address,
            sources: "127.0.0.1..127.0.0.8".parse().unwrap(),
            log: PathBuf::new(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in process::tree(self.child.id()) {
            if let Some(process) = Pid::from_raw(process.cast_signed()) {
                // It may be gone by now.
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// Has one datagram echoed.
fn echoes_a_datagram(server: SocketAddrV4) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(server)?;
    socket.send(b"?")?;
    socket.recv(&mut [0; 8]).map(drop)
}

/// The same command, whose process ends when this one does.
fn bound_to_this_process(command: &Command, options: &Options) -> Command {
    let mut launch = Command::new(options.programs.join("launch"));
    launch.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            launch.env(name, value);
        }
    }
    launch
}

/// A port that nobody serves, and that this run did not give out before.
fn free_port() -> io::Result<u16> {
    for _ in FIRST_PORT..LAST_PORT {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        if port == LAST_PORT {
            NEXT_PORT.store(FIRST_PORT, Ordering::Relaxed);
        }
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("there is no free port"))
}
