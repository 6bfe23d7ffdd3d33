//! What every clause is given: the path, how long to wait, and numbers for its
//! connections.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::context::Context;
use super::dial::{dial, rush};
use super::ended::Ended;
use super::line::Line;
use super::plan::Plan;
use crate::base::error::cause;
use crate::base::sys;
use crate::probe::connect::refuse_self;
use crate::probe::error::Error;

/// What it usually means that no connection is made.
pub(super) const NO_CONNECTION: &str =
    "nothing listens there, a firewall drops or refuses it, or the listen queue is full";

/// What it usually means that no connection is made when there were some before.
const NO_MORE: &str = "the server is gone, or takes no more connections for now: see what failed \
                       before";

/// Why nothing is tried once that is known.
pub(super) const UNREACHABLE: &str = "no connection can be made";

/// A path that is being checked.
pub(super) struct Probe<'a> {
    pub(super) context: Context<'a>,
    /// Connections made so far.
    made: AtomicU64,
    /// Which of the addresses answered last.
    answering: AtomicUsize,
    /// No connection can be made: to try again and again would only take time.
    unreachable: AtomicBool,
}

impl<'a> Probe<'a> {
    pub(super) fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Self {
        Self {
            context: Context::new(plan, stop),
            made: AtomicU64::new(0),
            answering: AtomicUsize::new(0),
            unreachable: AtomicBool::new(false),
        }
    }

    /// What is to be checked, and how.
    pub(super) const fn plan(&self) -> &Plan {
        self.context.plan
    }

    /// A connection of its own stream to the first address that answers.
    pub(super) fn open(&self) -> Result<Line<'_>, Ended> {
        if self.has_given_up() {
            return Err(Ended::Skipped(String::from(UNREACHABLE)));
        }
        let (stream, took) = self.reach(|stream| {
            let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
            refuse_self(local, peer)
        })?;
        self.line(stream, took)
    }

    /// A connection that was made, with a stream of its own from now on.
    pub(super) fn line(&self, stream: TcpStream, took: Duration) -> Result<Line<'_>, Ended> {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        Line::new(&self.context, stream, number, took)
    }

    /// Begins so many connections at once to the address that answered last. `made` gets
    /// each, and how long it took.
    pub(super) fn rush(
        &self,
        number: usize,
        made: &mut dyn FnMut(TcpStream, Duration),
    ) -> Result<(), Ended> {
        let address = self.plan().addresses[self.answering.load(Ordering::SeqCst)];
        let rushed = rush(
            address,
            number,
            self.plan().timeout,
            self.context.stop,
            made,
        );
        rushed.map_err(|error| self.no_connection(vec![(address, error)]))
    }

    /// From now on every clause that needs a connection is skipped.
    pub(super) fn give_up(&self) {
        self.unreachable.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.unreachable.load(Ordering::SeqCst)
    }

    /// Connects to the first address that answers and that `accept` agrees to.
    /// Returns the stream and how long it took to be made.
    pub(super) fn reach(
        &self,
        accept: impl Fn(&TcpStream) -> io::Result<()>,
    ) -> Result<(TcpStream, Duration), Ended> {
        let mut attempts = Vec::new();
        let addresses = &self.plan().addresses;
        let first = self.answering.load(Ordering::SeqCst);
        for at in (0..addresses.len()).map(|n| (first + n) % addresses.len()) {
            let started = Instant::now();
            let stream = dial(addresses[at], self.plan().timeout, self.context.stop);
            match stream.and_then(|stream| accept(&stream).map(|()| stream)) {
                Ok(stream) => {
                    self.answering.store(at, Ordering::SeqCst);
                    return Ok((stream, started.elapsed()));
                }
                Err(error) => attempts.push((addresses[at], error)),
            }
        }
        Err(self.no_connection(attempts))
    }

    fn no_connection(&self, attempts: Vec<(SocketAddr, io::Error)>) -> Ended {
        if self.context.is_stopped() {
            return Ended::Stopped;
        }
        // What could never be had is no want of room.
        let had_some = self.made.load(Ordering::SeqCst) > 0;
        if had_some && attempts.iter().all(|(_, error)| is_ours(error)) {
            let cause = cause(&attempts[0].1);
            return Ended::Skipped(format!(
                "this machine has no room for another connection: {cause}; raise its limits \
                 (ulimit -n) or lower --connections"
            ));
        }
        Ended::Failed {
            seen: Error::Connect(attempts).to_string(),
            usually: Some(match had_some {
                true => NO_MORE,
                false => NO_CONNECTION,
            }),
        }
    }
}

/// Whether it is this side that can't have another connection: no descriptor or
/// no port is left.
fn is_ours(error: &io::Error) -> bool {
    sys::is_out_of_descriptors(error) || error.kind() == ErrorKind::AddrNotAvailable
}
