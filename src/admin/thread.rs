//! The admin socket: metrics, health and a live page, on a thread of its own.
//!
//! It only reads what the server's threads count anyway, so nobody who asks here,
//! however slowly or often, is in the way of a byte that is echoed.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::answers::Answers;
use super::connection::{Connection, Next};
use super::error::Error;
use crate::base::address::Address;
use crate::base::error::cause;
use crate::base::sys::{self, Yielding};
use crate::base::throttle::Throttle;
use crate::server::acceptor::{ACCEPT_PAUSE, concerns_one_client};
use crate::server::status::Status;

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 20163;

/// The most HTTP connections at once. At the next one the oldest is closed, so that
/// those who hold theirs don't keep a probe out.
const CONNECTIONS: usize = 64;

/// How many are accepted before those that have asked are answered: a crowd of
/// newcomers must not close one that was just accepted.
const ACCEPTS_PER_TURN: usize = CONNECTIONS / 4;

/// How many descriptors it may use: a listener, a poller and its waker, the
/// connections, and the next one before another is closed for it.
pub(crate) const DESCRIPTORS: usize = 1 + 2 + CONNECTIONS + 1;

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// A bound admin socket, which a server answers on while it runs.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds the first address that `address` stands for; without a host, that of
    /// loopback.
    ///
    /// # Errors
    /// [`Error::Base`] for an unknown name, [`Error::Listen`] when the address
    /// can't be had.
    pub fn bind(address: &Address) -> Result<Self, Error> {
        let addresses = address.resolve("127.0.0.1", DEFAULT_PORT)?;
        let failed = |source| Error::Listen {
            address: addresses[0].to_string(),
            source,
        };
        let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, until what is returned is dropped.
    pub(crate) fn start(self, status: Status) -> io::Result<Office> {
        let poller = Poll::new()?;
        let waker = Waker::new(poller.registry(), WAKE)?;
        let mut listener = mio::net::TcpListener::from_std(self.listener);
        let registry = poller.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let closed = Arc::new(AtomicBool::new(false));
        let clerk = Clerk {
            poller,
            listener,
            has_waiting: false,
            connections: Slab::with_capacity(CONNECTIONS),
            paused_until: None,
            answers: Answers::new(status),
            told_failure: Throttle::new(Duration::from_secs(1)),
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn({
            let closed = Arc::clone(&closed);
            move || clerk.work(&closed)
        })?;
        log::info!("metrics and health on http://{}", self.address);
        Ok(Office {
            closed,
            waker,
            thread: Some(thread),
        })
    }
}

/// The running thread, until this is dropped.
pub(crate) struct Office {
    closed: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("could not wake the admin thread: {}", cause(&error));
            return;
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            log::error!("the admin thread panicked; nobody else was harmed");
        }
    }
}

/// The thread's state.
struct Clerk {
    poller: Poll,
    listener: mio::net::TcpListener,
    /// There may be clients that no event will tell of again.
    has_waiting: bool,
    connections: Slab<Connection>,
    /// Accepting rests until then.
    paused_until: Option<Instant>,
    answers: Answers,
    told_failure: Throttle,
}

impl Clerk {
    fn work(mut self, closed: &AtomicBool) {
        // The workers come first.
        let _yielding = Yielding::begin();
        sys::lower_priority();
        let mut events = Events::with_capacity(2 * CONNECTIONS);
        while !closed.load(Ordering::SeqCst) {
            let timeout = self.timeout(Instant::now());
            if let Err(error) = sys::poll(&mut self.poller, &mut events, timeout) {
                let cause = cause(&error);
                log::error!("could not wait for HTTP clients: {cause}; none is answered any more");
                return;
            }
            events.iter().for_each(|event| self.handle(event));
            self.accept(Instant::now());
            self.close_late(Instant::now());
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let deadlines = self.connections.iter().map(|(_, each)| each.until);
        let accept = match self.paused_until {
            Some(until) => Some(until),
            None => self.has_waiting.then_some(now),
        };
        let first = deadlines.chain(accept).min();
        first.map(|at| at.saturating_duration_since(now))
    }

    fn handle(&mut self, event: &Event) {
        match event.token() {
            LISTENER => self.has_waiting = true,
            WAKE => {}
            Token(key) => self.advance(key),
        }
    }

    fn advance(&mut self, key: usize) {
        // It may have been closed in the same turn.
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.advance(|request| self.answers.to(request)) == Next::Close {
            self.connections.remove(key);
        }
    }

    fn accept(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.has_waiting || self.paused_until.is_some() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    log::trace!("client {peer} connected to the admin socket");
                    self.admit(stream, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_waiting = false,
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                    if self.told_failure.admit(now).is_some() {
                        let cause = cause(&error);
                        log::error!("could not accept an HTTP client: {cause}; trying again");
                    }
                }
            }
        }
    }

    /// Watches a client, and answers it at once where its request is here already.
    fn admit(&mut self, stream: TcpStream, now: Instant) {
        if self.connections.len() >= CONNECTIONS {
            let each = self.connections.iter();
            let first = each.min_by_key(|(_, one)| one.precedence());
            if let Some(key) = first.map(|(key, _)| key) {
                self.connections.remove(key);
            }
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let connection = entry.insert(Connection::new(stream, now));
        let stream = &mut connection.stream;
        let both = Interest::READABLE | Interest::WRITABLE;
        match self.poller.registry().register(stream, Token(key), both) {
            Ok(()) => self.advance(key),
            Err(error) => {
                log::debug!("could not watch an HTTP client: {}", cause(&error));
                self.connections.remove(key);
            }
        }
    }

    fn close_late(&mut self, now: Instant) {
        self.connections.retain(|_, each| now < each.until);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::SystemTime;

    use super::*;

    /// The answer to a request for `path`, whole.
    pub(crate) fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_panic_costs_one_answer_and_the_end_of_the_office_closes_the_socket() {
        let admin = Admin::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = admin.address();
        let status = Status {
            started: Instant::now(),
            started_at: SystemTime::now(),
            listeners: Arc::default(),
            max_connections: 1,
            entrance: Arc::default(),
            seats: Arc::default(),
            notices: Arc::default(),
        };
        let office = admin.start(status).unwrap();
        let answer = ask(address, "/panic");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        let answer = ask(address, "/healthz");
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        drop(office);
        assert!(TcpStream::connect(address).is_err());
    }
}
