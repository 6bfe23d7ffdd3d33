//! The server under check: opens its connections and remembers whether it can be reached.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::connector::{connect, connect_many};
use super::context::Context;
use super::not_passed::NotPassed;
use super::plan::Plan;
use crate::base::error::cause;
use crate::base::sys;
use crate::probe::connect::refuse_self;
use crate::probe::error::Error;

/// The usual cause when no connection was ever made.
pub(super) const NO_CONNECTION: &str =
    "nothing listens there, a firewall drops or refuses it, or the listen queue is full";

/// The usual cause when connections were made before.
const NO_MORE: &str = "the server is gone, or takes no more connections for now: see what failed \
                       before";

/// Why every later clause is skipped once no connection can be made.
pub(super) const UNREACHABLE: &str = "no connection can be made";

/// The server under check, at the far end of the path.
pub(super) struct Target<'a> {
    pub(super) context: Context<'a>,
    /// Connections made so far; the next one's number.
    made: AtomicU64,
    /// The index of the address that answered last.
    last_address: AtomicUsize,
    /// No connection can be made: clauses are skipped instead of timing out one by one.
    unreachable: AtomicBool,
}

impl<'a> Target<'a> {
    pub(super) fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Self {
        Self {
            context: Context::new(plan, stop),
            made: AtomicU64::new(0),
            last_address: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
        }
    }

    pub(super) const fn plan(&self) -> &Plan {
        self.context.plan
    }

    /// Connects to the first address that answers, for a byte stream of its own.
    pub(super) fn open(&self) -> Result<Connection<'_>, NotPassed> {
        if self.is_unreachable() {
            return Err(NotPassed::Skipped(String::from(UNREACHABLE)));
        }
        let (stream, time) = self.connect_to_first(|stream| {
            let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
            refuse_self(local, peer)
        })?;
        self.adopt(stream, time)
    }

    /// Gives an established connection a number, and thereby a byte stream of its own.
    pub(super) fn adopt(
        &self,
        stream: TcpStream,
        connect_time: Duration,
    ) -> Result<Connection<'_>, NotPassed> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        Connection::new(&self.context, stream, number, connect_time)
    }

    /// Starts `number` connections at once to the address that answered last. Calls
    /// `connected` with each, and with how long it took.
    pub(super) fn connect_many(
        &self,
        number: usize,
        connected: &mut dyn FnMut(TcpStream, Duration),
    ) -> Result<(), NotPassed> {
        let address = self.plan().addresses[self.last_address.load(Ordering::SeqCst)];
        let timeout = self.plan().timeout;
        let result = connect_many(address, number, timeout, self.context.stop, connected);
        result.map_err(|error| self.not_connected(vec![(address, error)]))
    }

    /// Makes every later [`open`](Self::open) skip its clause.
    pub(super) fn mark_unreachable(&self) {
        self.unreachable.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::SeqCst)
    }

    /// Connects to the first address that answers and whose stream `accept` allows.
    /// Returns the stream and how long it took to connect.
    pub(super) fn connect_to_first(
        &self,
        accept: impl Fn(&TcpStream) -> io::Result<()>,
    ) -> Result<(TcpStream, Duration), NotPassed> {
        let mut attempts = Vec::new();
        let addresses = &self.plan().addresses;
        let first = self.last_address.load(Ordering::SeqCst);
        for at in (0..addresses.len()).map(|n| (first + n) % addresses.len()) {
            let started = Instant::now();
            let stream = connect(addresses[at], self.plan().timeout, self.context.stop);
            match stream.and_then(|stream| accept(&stream).map(|()| stream)) {
                Ok(stream) => {
                    self.last_address.store(at, Ordering::SeqCst);
                    return Ok((stream, started.elapsed()));
                }
                Err(error) => attempts.push((addresses[at], error)),
            }
        }
        Err(self.not_connected(attempts))
    }

    fn not_connected(&self, attempts: Vec<(SocketAddr, io::Error)>) -> NotPassed {
        if self.context.is_stopped() {
            return NotPassed::Stopped;
        }
        // A local shortage explains a failure only if there was room for some connections.
        let had_some = self.made.load(Ordering::SeqCst) > 0;
        if had_some && attempts.iter().all(|(_, error)| is_local_shortage(error)) {
            let cause = cause(&attempts[0].1);
            return NotPassed::Skipped(format!(
                "this machine has no room for another connection: {cause}; raise its limits \
                 (ulimit -n) or lower --connections"
            ));
        }
        NotPassed::Failed {
            seen: Error::Connect(attempts).to_string(),
            usually: Some(match had_some {
                true => NO_MORE,
                false => NO_CONNECTION,
            }),
        }
    }
}

/// Whether this machine has no descriptor or no port left for another connection.
fn is_local_shortage(error: &io::Error) -> bool {
    sys::is_out_of_descriptors(error) || error.kind() == ErrorKind::AddrNotAvailable
}
