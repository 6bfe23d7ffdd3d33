//! The admin socket: metrics, health and a live page, on a thread of its own.
//!
//! It only reads what the server's threads count and list anyway, so HTTP clients,
//! however slow or many, delay no echo.

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
use crate::base::listening::{self, Bound, Options};
use crate::base::sys::{self, Yielding};
use crate::base::throttle::Throttle;
use crate::server::acceptor::{ACCEPT_PAUSE, concerns_one_client};
use crate::server::status::Status;

/// The port where none is given.
pub const DEFAULT_PORT: u16 = 20163;

/// The most HTTP connections at once. For a further one the oldest is closed, so that
/// clients that keep theirs open don't keep a health probe out.
const CONNECTIONS: usize = 64;

/// The most connections accepted before requests are answered: a burst of new ones must
/// not close one that was just accepted.
const ACCEPTS_PER_TURN: usize = CONNECTIONS / 4;

/// The most descriptors that the admin socket uses: a listener, a poller and its waker,
/// the connections, and a further one before another is closed for it.
pub const DESCRIPTORS: usize = 1 + 2 + CONNECTIONS + 1;

const LISTENER: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// A bound admin socket. It is answered once its thread is started.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds the first address that `address` stands for and this machine has; without a
    /// host, that of loopback. `None`, with a warning, where it has none of them: metrics
    /// are no reason not to serve.
    ///
    /// # Errors
    /// [`Error::Base`] for an unknown name, and when an address can't be had.
    pub fn bind_if_present(address: &Address) -> Result<Option<Self>, Error> {
        let options = Options::default();
        let mut bound = Self::bound(address, &options)?;
        let early = || {
            let mut absent = bound.absent.drain(..);
            absent.find_map(|each| each.bind_early(|at| listening::bind_early(at, &options)))
        };
        let first = bound.sockets.drain(..).next().or_else(early);
        first.map(Self::adopt).transpose()
    }

    /// Binds as [`bind_if_present`](Self::bind_if_present) does, but fails where the machine
    /// has none of the addresses.
    ///
    /// # Errors
    /// [`Error::Base`] for an unknown name, and when no address can be had.
    pub fn bind(address: &Address) -> Result<Self, Error> {
        let mut bound = Self::bound(address, &Options::default())?;
        match (bound.sockets.drain(..).next(), bound.absent.pop()) {
            (Some(first), _) => Self::adopt(first),
            (None, Some(absent)) => Err(absent.into_error().into()),
            (None, None) => unreachable!("a name has an address, or it is not resolved"),
        }
    }

    fn bound(address: &Address, options: &Options) -> Result<Bound, Error> {
        let address = address.or_host("127.0.0.1");
        Ok(listening::bind_first(&address, DEFAULT_PORT, options)?)
    }

    fn adopt(listener: TcpListener) -> Result<Self, Error> {
        listener.set_nonblocking(true).map_err(Error::Start)?;
        let address = listener.local_addr().map_err(Error::Start)?;
        Ok(Self { listener, address })
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the thread, which answers until the returned handle is dropped.
    pub fn start(self, status: Status) -> Result<AdminThread, Error> {
        self.spawn(status).map_err(Error::Start)
    }

    fn spawn(self, status: Status) -> io::Result<AdminThread> {
        let poller = Poll::new()?;
        let waker = Waker::new(poller.registry(), WAKE)?;
        let mut listener = mio::net::TcpListener::from_std(self.listener);
        let registry = poller.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let closed = Arc::new(AtomicBool::new(false));
        let admin_loop = AdminLoop {
            poller,
            listener,
            has_waiting: false,
            connections: Slab::with_capacity(CONNECTIONS),
            paused_until: None,
            answers: Answers::new(status),
            failure_throttle: Throttle::new(Duration::from_secs(1)),
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn({
            let closed = Arc::clone(&closed);
            move || admin_loop.run(&closed)
        })?;
        log::info!("metrics and health on http://{}", self.address);
        Ok(AdminThread {
            closed,
            waker,
            thread: Some(thread),
        })
    }
}

/// The running admin thread. Dropping this stops it and closes its socket.
pub struct AdminThread {
    closed: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("could not wake the admin thread: {}", cause(&error));
            return;
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if ended.is_some_and(|ended| ended.is_err()) {
            log::error!("the admin thread panicked; echo clients are not affected");
        }
    }
}

/// The thread's state.
struct AdminLoop {
    poller: Poll,
    listener: mio::net::TcpListener,
    /// The listener's readiness: the poller reports edges only, so this stays set until
    /// an accept would block.
    has_waiting: bool,
    connections: Slab<Connection>,
    /// Accepting pauses until then.
    paused_until: Option<Instant>,
    answers: Answers,
    failure_throttle: Throttle,
}

impl AdminLoop {
    fn run(mut self, closed: &AtomicBool) {
        // The workers have precedence.
        let _yielding = Yielding::begin();
        sys::lower_priority();
        let mut events = Events::with_capacity(2 * CONNECTIONS);
        while !closed.load(Ordering::SeqCst) {
            let timeout = self.timeout(Instant::now());
            if let Err(error) = sys::poll(&mut self.poller, &mut events, timeout) {
                let cause = cause(&error);
                log::error!(
                    "could not wait for HTTP clients: {cause}; metrics and health are no longer served"
                );
                return;
            }
            events.iter().for_each(|event| self.handle(event));
            self.accept(Instant::now());
            self.close_expired(Instant::now());
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
                    if self.failure_throttle.admit(now).is_some() {
                        let cause = cause(&error);
                        log::error!("could not accept an HTTP client: {cause}; trying again");
                    }
                }
            }
        }
    }

    /// Registers a client, and answers it at once if its request has arrived already.
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

    /// Closes the connections whose time is over. A wait that a signal ended reports no
    /// events, so each is looked at first.
    fn close_expired(&mut self, now: Instant) {
        let answers = &self.answers;
        self.connections.retain(|_, each| {
            now < each.until || each.expire(now, |request| answers.to(request)) == Next::Wait
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::SystemTime;

    use super::*;
    use crate::base::testing::wait_until;
    use crate::pool::End;
    use crate::proto::Protocol;
    use crate::server::{Config, Listener, Server, Stop};
    use crate::worker::event_loop::PANIC_FOR;

    /// The answer to a request for `path`, whole.
    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_panic_costs_one_answer_and_dropping_the_handle_closes_the_socket() {
        let admin = Admin::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = admin.address();
        let status = Status {
            started: Instant::now(),
            started_at: SystemTime::now(),
            listeners: Arc::default(),
            max_connections: 1,
            acceptor: Arc::default(),
            workers: Arc::default(),
            evictions: Arc::default(),
            datagrams: Arc::default(),
        };
        let (acceptor, started) = (Arc::clone(&status.acceptor), status.started);
        let admin_thread = admin.start(status).unwrap();
        let answer = ask(address, "/panic");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        // On a busy machine the answer may take so long that the server counts as hung.
        acceptor.beat(started.elapsed());
        let answer = ask(address, "/healthz");
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        drop(admin_thread);
        assert!(TcpStream::connect(address).is_err());
    }

    /// How many workers of each number were replaced, by the metrics.
    fn replaced_in_metrics(admin: SocketAddr) -> Vec<u64> {
        let text = ask(admin, "/metrics");
        let name = "echopool_worker_replaced_total{";
        let samples = text.lines().filter(|line| line.starts_with(name));
        let values = samples.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse().unwrap()).collect()
    }

    #[test]
    fn a_worker_that_panics_is_replaced_and_reported_and_harms_only_its_own_clients() {
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let localhost = "127.0.0.1:0".parse().unwrap();
        let listeners = Listener::bind(Protocol::Echo, &localhost, 128).unwrap();
        let address = listeners[0].address();
        let socket = Admin::bind(&localhost).unwrap();
        let admin = socket.address();
        let stop = Stop::new();
        let mut server = Server::start(listeners, &config).unwrap();
        let _admin = socket.start(server.status()).unwrap();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || server.run(&stop)
        });
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            let deadline = Some(Duration::from_secs(30));
            stream.set_read_timeout(deadline).unwrap();
            stream
        };
        let echo = |mut stream: &TcpStream| {
            let mut reply = [0; 4];
            stream.write_all(b"ping")?;
            stream.read_exact(&mut reply)?;
            io::Result::Ok(reply)
        };
        // Two clients on each worker, since the least loaded one gets the next.
        let clients: Vec<_> = (0..4).map(|_| connect()).collect();
        for client in &clients {
            assert_eq!(echo(client).unwrap(), *b"ping");
        }
        assert_eq!(replaced_in_metrics(admin), [0, 0]);
        let victim = clients[0].local_addr().unwrap().port();
        PANIC_FOR.store(victim, Ordering::SeqCst);
        assert!(echo(&clients[0]).is_err(), "its worker is gone");
        PANIC_FOR.store(0, Ordering::SeqCst);
        let alive = clients.iter().filter(|client| echo(client).is_ok()).count();
        assert_eq!(alive, 2, "the other worker's clients");
        // The pool has its full size again: new clients spread over both workers.
        let newcomers: Vec<_> = (0..4).map(|_| connect()).collect();
        for client in &newcomers {
            assert_eq!(echo(client).unwrap(), *b"ping");
        }
        // The successor may serve them before it is counted.
        wait_until(|| replaced_in_metrics(admin) != [0, 0]);
        let counted = replaced_in_metrics(admin);
        stop.request();
        let report = running.join().unwrap().unwrap();
        assert!(!report.all_well());
        assert_eq!(report.connections(), 8);
        let each = report.workers.iter();
        let replaced: Vec<_> = each.map(|worker| worker.replaced).collect();
        assert_eq!(replaced.iter().sum::<u64>(), 1);
        assert_eq!(counted, replaced);
        assert!(report.workers.iter().all(|worker| worker.end == End::Ok));
        assert!(report.workers.iter().all(|worker| worker.connections >= 3));
    }
}
