//! A floor for streams: one thread that splices each client that is ready, until
//! nothing moves any more. Every client has a pipe, of the size that is given as
//! the buffer.

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use compare::rival::Arguments;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use slab::Slab;

/// The listener's token; the clients' are their places in the slab.
const LISTENER: u64 = u64::MAX;

/// Events taken at once.
const EVENTS: usize = 256;

/// A client, and the pipe through which its bytes go.
struct Client {
    socket: OwnedFd,
    output: OwnedFd,
    input: OwnedFd,
    size: usize,
    /// Bytes in the pipe.
    held: usize,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    let listener = arguments.listen_shared()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, data, EventFlags::IN)?;
    let mut clients = Slab::new();
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&epoll, room, None)?;
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                accept(&listener, &epoll, &mut clients, arguments.buffer)?;
                continue;
            }
            let token = usize::try_from(token).expect("a place in the slab");
            if !matches!(clients[token].echo(), Ok(true)) {
                clients.remove(token);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &OwnedFd,
    clients: &mut Slab<Client>,
    size: usize,
) -> io::Result<()> {
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = match accept_with(listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let (output, input) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let size = fcntl_setpipe_size(&input, size)?;
        let entry = clients.vacant_entry();
        let data = EventData::new_u64(entry.key() as u64);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(epoll, &socket, data, flags)?;
        entry.insert(Client {
            socket,
            output,
            input,
            size,
            held: 0,
        });
    }
}

impl Client {
    /// Moves bytes until the socket has none or takes none. Returns whether the
    /// client is still there.
    fn echo(&mut self) -> io::Result<bool> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        loop {
            while self.held > 0 {
                match splice(&self.output, None, &self.socket, None, self.held, flags) {
                    Ok(moved) => self.held -= moved,
                    Err(Errno::AGAIN) => return Ok(true),
                    Err(error) => return Err(error.into()),
                }
            }
            // The pipe is empty, so it is the socket that has nothing.
            match splice(&self.socket, None, &self.input, None, self.size, flags) {
                Ok(0) => return Ok(false),
                Ok(moved) => self.held = moved,
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
