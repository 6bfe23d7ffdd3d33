//! The server under check: opens its connections and remembers whether it can be reached.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::connection::{Connection, MESSAGE};
use super::connector::connect_many;
use super::context::Context;
use super::not_passed::NotPassed;
use super::observation::{End, NotMade, Observation};
use super::plan::Plan;
use super::shared::Shared;
use crate::base::error::cause;
use crate::base::units::{duration, whole};
use crate::base::{connecting, sys};
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

/// The least time for the bytes of a clause, and for a path to be full, in round trips: the
/// sender's window doubles once in each.
const BUDGET_ROUND_TRIPS: u32 = 3;
const FILL_ROUND_TRIPS: u32 = 12;

/// A path is far where so many round trips, in which a sender's window grows to what most
/// paths carry, are more than the budget.
const FAR_ROUND_TRIPS: u32 = 15;

/// Whether an established connection will do.
type Accept = dyn Fn(&mio::net::TcpStream) -> io::Result<()>;

/// The server under check, at the far end of the path, as one clause has it.
pub(super) struct Target<'a> {
    pub(super) context: Context<'a>,
    pub(super) shared: &'a Shared<'a>,
}

impl<'a> Target<'a> {
    pub(super) const fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            context: Context::new(shared),
            shared,
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

    /// Connects to fill the path: its round trip is known, and its buffers are small.
    pub(super) fn open_to_fill(&self) -> Result<Connection<'_>, NotPassed> {
        let connection = self.open()?;
        if !self.shared.has_seen_echo() {
            // The first answer of a connection may come later than all others.
            for _ in 0..2 {
                let begun = Instant::now();
                connection.send(MESSAGE)?;
                connection.receive(MESSAGE)?;
                self.shared.saw_echo(begun.elapsed());
            }
        }
        if self.plan().budget.is_some() {
            connection.shrink_buffers();
        }
        Ok(connection)
    }

    /// Whether a stream takes most of its budget for round trips: then it loads little.
    pub(super) fn is_far(&self) -> bool {
        let slow_start = self.context.round_trip() * FAR_ROUND_TRIPS;
        self.plan().budget.is_some_and(|budget| slow_start > budget)
    }

    /// This part of the budget of a clause, if it has one, and no less than a few round trips.
    pub(super) fn budget(&self, part: u32) -> Option<Duration> {
        let least = self.context.round_trip() * BUDGET_ROUND_TRIPS;
        self.plan().budget.map(|budget| (budget / part).max(least))
    }

    /// How long a path may take until it is full, if there is a bound.
    pub(super) fn fill_time(&self) -> Option<Duration> {
        let least = self.context.round_trip() * FILL_ROUND_TRIPS;
        self.plan().budget.map(|budget| budget.max(least))
    }

    /// Why a clause has no verdict on a path that was not full in time.
    pub(super) fn not_full(&self, sent: u64) -> NotPassed {
        let sent = whole(sent);
        let time = self.fill_time().unwrap_or_default();
        let time = duration(time);
        NotPassed::Skipped(format!(
            "the path took {sent} bytes unread in {time} and was not full: --budget gives it \
             longer, --thorough waits for it"
        ))
    }

    /// What is said of a clause that sent fewer than `most` bytes, if it did.
    pub(super) fn shortened(&self, sent: u64, most: u64) -> String {
        match self.plan().budget {
            Some(budget) if sent < most => {
                let (most, budget) = (whole(most), humantime::format_duration(budget));
                format!("; {most} would take longer than the budget of {budget}")
            }
            _ => String::new(),
        }
    }

    /// Connects, and tells which address answered and what the others did.
    pub(super) fn reach(&self) -> Result<Connected, NotPassed> {
        if self.shared.is_unreachable() {
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
        self.shared.saw_connect(connect_time);
        let number = self.shared.next_number();
        Connection::new(&self.context, stream, number, connect_time)
    }

    /// Starts `number` connections at once to the address that answered last, with that limit
    /// on all. Calls `connected` with each, and with how long it took.
    pub(super) fn connect_many(
        &self,
        number: usize,
        timeout: Duration,
        connected: &mut dyn FnMut(TcpStream, Duration),
    ) -> Result<(), NotPassed> {
        let address = self.address();
        let is_stopped = || self.context.is_stopped();
        let mut made = 0;
        let mut connected = |stream, time| {
            made += 1;
            connected(stream, time);
        };
        let result = connect_many(address, number, timeout, &is_stopped, &mut connected);
        if made > 0 {
            // Their first packets may be lost.
            self.shared.saw_unmade(number - made);
        }
        result.map_err(|error| self.not_connected(vec![(address, error)]))
    }

    /// The address that answered last, or the first one.
    pub(super) fn address(&self) -> SocketAddr {
        let last = self.shared.last_address();
        last.unwrap_or(self.plan().addresses[0])
    }

    /// Connects to the address that answered last, so that all clauses test one server; else
    /// to the first of the others that answers and whose stream `accept` allows.
    pub(super) fn connect(&self, accept: &Accept) -> Result<Connected, NotPassed> {
        let (last, others): (Vec<_>, Vec<_>) = {
            let last = self.shared.last_address();
            let addresses = self.plan().addresses.iter().copied();
            addresses.partition(|address| Some(*address) == last)
        };
        let mut failed = Vec::new();
        for addresses in [last, others].iter().filter(|some| !some.is_empty()) {
            match self.connect_to_first(addresses, accept) {
                Ok(connected) => {
                    self.shared.set_last_address(connected.address);
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
            begin: &mut connecting::begin,
            accept,
            is_stopped: &|| self.context.is_stopped(),
        };
        connecting.first_of(addresses)
    }

    fn not_connected(&self, attempts: Vec<Failed>) -> NotPassed {
        if self.context.is_stopped() {
            return NotPassed::Stopped;
        }
        // A local shortage explains a failure only if there was room for some connections.
        let had_some = self.shared.made() > 0;
        if had_some && attempts.iter().all(|(_, error)| is_local_shortage(error)) {
            let cause = cause(&attempts[0].1);
            return NotPassed::Skipped(format!(
                "this machine has no room for another connection: {cause}; raise its limits \
                 (ulimit -n) or lower --connections"
            ));
        }
        // What answers at all says more than silence.
        let ways = attempts
            .iter()
            .map(|(address, error)| NotMade::of(error, address.ip()));
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
