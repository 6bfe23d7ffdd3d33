//! A rival: a mio event loop a thread that serves one event after the other:
//! receive, send, next.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;

use compare::rival::Arguments;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments = Arguments::read()?;
    thread::scope(|scope| {
        for _ in 1..arguments.threads {
            scope.spawn(move || serve(arguments));
        }
        serve(arguments)
    })?;
    Ok(())
}

/// One client, and what it has not taken yet of its echo.
struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
}

fn serve(arguments: Arguments) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::from_std(arguments.listen_shared()?);
    let mut clients = Slab::new();
    let mut buffer = vec![0; arguments.buffer];
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                accept(&listener, &poll, &mut clients)?;
            } else if let Some(client) = clients.get_mut(token.0)
                && !matches!(client.echo(&mut buffer), Ok(true))
            {
                clients.remove(token.0);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = clients.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(entry.key()), both)?;
        entry.insert(Client {
            stream,
            unsent: Vec::new(),
        });
    }
}

impl Client {
    /// Echoes until the client has nothing more or takes nothing more. Returns
    /// whether it is still there.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let unsent = std::mem::take(&mut self.unsent);
            if !self.send(&unsent)? {
                return Ok(true);
            }
            let length = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            // A short read is the last there is: epoll reports what comes later.
            if !self.send(&buffer[..length])? || length < buffer.len() {
                return Ok(true);
            }
        }
    }

    /// Sends what the client takes and keeps the rest. Returns whether it took all.
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent = bytes.to_vec();
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
