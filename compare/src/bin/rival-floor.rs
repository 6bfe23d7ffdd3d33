//! The floor: one thread that receives from all ready sockets, then sends to
//! them, and does nothing else. What is left is the kernel's own cost.

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use compare::rival::Arguments;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};
use slab::Slab;

/// The listener's token; the clients' are their places in the slab.
const LISTENER: u64 = u64::MAX;

/// Sockets served in a turn.
const TURN: usize = 256;

/// The messages of a turn begin on cache lines of their own, this many bytes each.
const LINE: usize = 64;

/// A client, and the part of its echo that it has not taken yet.
struct Client {
    socket: OwnedFd,
    unsent: Vec<u8>,
}

/// A message that waits in the block to be sent.
struct Message {
    token: usize,
    start: usize,
    length: usize,
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Slab<Client>,
    block: Vec<u8>,
    used: usize,
    messages: Vec<Message>,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    let listener = arguments.listen_shared()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut floor = Floor {
        epoll,
        listener,
        clients: Slab::new(),
        block: vec![0; 4 * arguments.buffer],
        used: 0,
        messages: Vec::with_capacity(TURN),
    };
    let mut events = Vec::with_capacity(TURN);
    loop {
        events.clear();
        epoll::wait(
            &floor.epoll,
            rustix::buffer::spare_capacity(&mut events),
            None,
        )?;
        floor.turn(&events, arguments.buffer)?;
    }
}

impl Floor {
    /// Receives for all that are ready, then sends; in between too, where the
    /// block has not `most` bytes left.
    fn turn(&mut self, events: &[Event], most: usize) -> io::Result<()> {
        for event in events {
            let token = event.data.u64();
            if token == LISTENER {
                self.accept()?;
                continue;
            }
            let token = usize::try_from(token).expect("a place in the slab");
            if { event.flags }.contains(EventFlags::OUT) {
                self.flush(token)?;
                continue;
            }
            if self.used + most > self.block.len() {
                self.send_all()?;
            }
            self.receive(token, most);
        }
        self.send_all()
    }

    fn send_all(&mut self) -> io::Result<()> {
        let mut messages = std::mem::take(&mut self.messages);
        for message in messages.drain(..) {
            self.send(&message)?;
        }
        self.messages = messages;
        self.used = 0;
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let entry = self.clients.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            entry.insert(Client {
                socket,
                unsent: Vec::new(),
            });
        }
    }

    fn receive(&mut self, token: usize, most: usize) {
        let room = &mut self.block[self.used..self.used + most];
        match recv(&self.clients[token].socket, room, RecvFlags::empty()) {
            Err(Errno::AGAIN) => {}
            Ok((0, _)) | Err(_) => drop(self.clients.remove(token)),
            Ok((length, _)) => {
                let start = self.used;
                self.messages.push(Message {
                    token,
                    start,
                    length,
                });
                self.used += length.next_multiple_of(LINE);
            }
        }
    }

    fn send(&mut self, message: &Message) -> io::Result<()> {
        let client = &mut self.clients[message.token];
        let bytes = &self.block[message.start..message.start + message.length];
        let sent = match send(&client.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                self.clients.remove(message.token);
                return Ok(());
            }
        };
        if sent < bytes.len() {
            client.unsent = bytes[sent..].to_vec();
            self.watch(message.token, EventFlags::OUT)?;
        }
        Ok(())
    }

    /// Sends what a client did not take before. It is not read until then.
    fn flush(&mut self, token: usize) -> io::Result<()> {
        let client = &mut self.clients[token];
        match send(&client.socket, &client.unsent, SendFlags::NOSIGNAL) {
            Ok(sent) => drop(client.unsent.drain(..sent)),
            Err(Errno::AGAIN) => {}
            Err(_) => {
                self.clients.remove(token);
                return Ok(());
            }
        }
        match client.unsent.is_empty() {
            true => self.watch(token, EventFlags::IN),
            false => Ok(()),
        }
    }

    fn watch(&self, token: usize, flags: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        Ok(epoll::modify(
            &self.epoll,
            &self.clients[token].socket,
            data,
            flags,
        )?)
    }
}
