//! The server under check: opens its connections and remembers whether it can be reached.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::connection::Connection;
use super::connector::connect_many;
use super::context::Context;
use super::not_passed::NotPassed;
use super::observation::{End, NotMade, Observation};
use super::plan::Plan;
use crate::base::error::cause;
use crate::base::sys;
use crate::probe::connect::{Connected, Connecting, NotConnected, refuse_reached_itself};
use crate::probe::error::Error;
use crate::probe::race::Failed;

/// The usual cause when no connection was ever made.
pub(super) const NO_CONNECTION: &str =
    "nothing listens there, a firewall drops or refuses it, or the listen queue is full";

/// The usual cause when connections were made before.
const NO_MORE: &str = "the server is gone, or takes no more connections for now: see what failed \
                       before";

/// Why every later clause is skipped once no connection can be made.
pub(super) const UNREACHABLE: &str = "no connection can be made";

/// Whether an established connection will do.
type Accept = dyn Fn(&mio::net::TcpStream) -> io::Result<()>;

/// The server under check, at the far end of the path.
pub(super) struct Target<'a> {
    pub(super) context: Context<'a>,
    /// Connections made so far; the next one's number.
    made: AtomicU64,
    /// The address that answered last.
    last_address: Mutex<Option<SocketAddr>>,
    /// No connection can be made: clauses are skipped instead of timing out one by one.
    unreachable: AtomicBool,
}

impl<'a> Target<'a> {
    pub(super) fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Self {
        Self {
            context: Context::new(plan, stop),
            made: AtomicU64::new(0),
            last_address: Mutex::new(None),
            unreachable: AtomicBool::new(false),
        }
    }

    pub(super) const fn plan(&self) -> &Plan {
        self.context.plan
    }

    /// Connects for a byte stream of its own.
    pub(super) fn open(&self) -> Result<Connection<'_>, NotPassed> {
        let Connected { stream, took, .. } = self.reach()?;
        self.adopt(stream, took)
    }

    /// Connects, and tells which address answered and what the others did.
    pub(super) fn reach(&self) -> Result<Connected, NotPassed> {
        if self.is_unreachable() {
            return Err(NotPassed::Skipped(String::from(UNREACHABLE)));
        }
        self.connect(&refuse_reached_itself)
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
        let address = self.last_address().unwrap_or(self.plan().addresses[0]);
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

    /// Connects to the address that answered last, so that all clauses test one server; else
    /// to the first of the others that answers and whose stream `accept` allows.
    pub(super) fn connect(&self, accept: &Accept) -> Result<Connected, NotPassed> {
        let (last, others): (Vec<_>, Vec<_>) = {
            let last = self.last_address();
            let addresses = self.plan().addresses.iter().copied();
            addresses.partition(|address| Some(*address) == last)
        };
        let mut failed = Vec::new();
        for addresses in [last, others].iter().filter(|some| !some.is_empty()) {
            match self.connect_to_first(addresses, accept) {
                Ok(connected) => {
                    self.set_last_address(connected.address);
                    return Ok(connected);
                }
                Err(NotConnected::Failed(attempts)) => failed.extend(attempts),
                Err(NotConnected::Stopped) => return Err(NotPassed::Stopped),
            }
        }
        Err(self.not_connected(failed))
    }

    fn connect_to_first(
        &self,
        addresses: &[SocketAddr],
        accept: &Accept,
    ) -> Result<Connected, NotConnected> {
        let connecting = Connecting {
            timeout: self.plan().timeout,
            begin: &mut |address| mio::net::TcpStream::connect(address),
            accept,
            is_stopped: &|| self.context.is_stopped(),
        };
        connecting.first_of(addresses)
    }

    fn last_address(&self) -> Option<SocketAddr> {
        *self
            .last_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last_address(&self, address: SocketAddr) {
        *self
            .last_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn not_connected(&self, attempts: Vec<Failed>) -> NotPassed {
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
        // What answers at all says more than silence.
        let ways = attempts.iter().map(|(_, error)| NotMade::of(error));
        let how = ways.reduce(|one, next| match one {
            NotMade::Unanswered => next,
            _ => one,
        });
        let end = End::NotMade(how.unwrap_or(NotMade::Other));
        NotPassed::Failed {
            observed: Box::new(Observation::ended(end)),
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
