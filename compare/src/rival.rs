//! What the rivals written in Rust share: their three arguments, their listener, and what
//! those of tokio do with datagrams.

use std::env;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// The clients that may wait in the kernel to be accepted; the same as echopool's.
pub const BACKLOG: i32 = 4096;

/// The receive buffer that is asked for datagrams, in bytes; the same as echopool's. With the
/// kernel's default of 208 KiB 50 clients with 16 datagrams in flight lose some.
pub const QUEUE: usize = 4 << 20;

/// How a rival is to serve: `PROGRAM PORT THREADS BUFFER`.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// The port of 127.0.0.1 to serve on.
    pub port: u16,
    /// The threads that serve, where the rival has a fixed number of them.
    pub threads: usize,
    /// The bytes received at once.
    pub buffer: usize,
}

impl Arguments {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// An argument is missing or no number.
    pub fn read() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let words: Vec<String> = env::args().skip(1).collect();
        let [port, threads, buffer] = words.as_slice() else {
            return Err("usage: PROGRAM PORT THREADS BUFFER".into());
        };
        Ok(Self {
            port: port.parse()?,
            threads: threads.parse()?,
            buffer: buffer.parse()?,
        })
    }

    /// Where to serve.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    /// A listener of its own for each caller: the kernel spreads the clients
    /// over those of one port.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn listen_shared(&self) -> io::Result<TcpListener> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &self.address())?;
        listen(&socket, BACKLOG)?;
        Ok(TcpListener::from(socket))
    }

    /// A socket for datagrams, of its own for each caller as well.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind_shared(&self) -> io::Result<UdpSocket> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
        bind(&socket, &self.address())?;
        Ok(UdpSocket::from(socket))
    }

    /// Receives datagrams on a socket of its own and sends each one back, in a runtime of tokio.
    ///
    /// # Errors
    /// Those of the system calls, but not of sending.
    pub async fn echo_datagrams(self) -> io::Result<()> {
        let socket = tokio::net::UdpSocket::from_std(self.bind_shared()?)?;
        let mut buffer = vec![0; self.buffer];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await?;
            // One that can't be answered is no reason to stop.
            let _ = socket.send_to(&buffer[..length], client).await;
        }
    }
}
