//! The parameters of a ping over UDP, and what its datagrams carry by them.

use std::net::SocketAddr;
use std::time::Duration;

use super::content::Content;
use crate::base::sys::clock::clock_state;
use crate::base::units::nanoseconds;
use crate::probe::datagram::conventions::HELLO;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::stamp::tracker::StampTracker;
use crate::probe::datagram::tracker::Tracker;
use crate::proto::stamp::{Clock, Format, LENGTH, Request, Timestamp};

/// So many of all ports are remembered once it is known what became of them, 24 to 32 bytes
/// each: a minute of a thousand a second.
const REMEMBERED_OVER: usize = 1 << 16;

/// What the datagrams of a ping carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Bytes that an echo sends back: RFC 862.
    Echo,
    /// Packets of STAMP, with times in this format: RFC 8762.
    Stamp(Format),
}

/// The parameters of a ping over UDP.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server's addresses, of which one is chosen at the start.
    pub addresses: Vec<SocketAddr>,
    /// How many datagrams are sent; `None`: until it is stopped.
    pub count: Option<u64>,
    /// The time from one datagram to the next; zero: the next is sent when all are back, or
    /// after 10 ms.
    pub interval: Duration,
    /// What the datagrams carry.
    pub carries: Carries,
    /// The size of a datagram, in bytes; of STAMP at least
    /// [`LENGTH`].
    pub size: usize,
    /// The limit on a round trip.
    pub timeout: Duration,
    /// The seed of the bytes sent.
    pub seed: u64,
    /// How many source ports are used in turn.
    pub ports: usize,
    /// DSCP and ECN of the datagrams.
    pub marks: Marks,
}

/// What the datagrams of the port at this place carry, by this clock.
pub(super) fn content(plan: &Plan, clock: Option<Clock>, place: u64) -> Content {
    let timeout = nanoseconds(plan.timeout);
    let remembered = REMEMBERED_OVER / plan.ports.max(1);
    match clock {
        None => {
            let tracker = Tracker::new((plan.seed, place), plan.size, timeout);
            Content::Echo(Box::new(tracker.remembering(remembered)))
        }
        Some(clock) => {
            let tracker = StampTracker::new(plan.size, timeout, clock);
            Content::Stamp(Box::new(tracker.remembering(remembered)))
        }
    }
}

/// The clock that packets of STAMP have times of. One whose state is unknown is not
/// synchronized.
pub(super) fn clock_of(carries: Carries) -> Option<Clock> {
    let Carries::Stamp(format) = carries else {
        return None;
    };
    let state = clock_state();
    Some(Clock {
        is_synchronized: state.is_some_and(|state| state.is_synchronized),
        format,
        error: state.map_or(Duration::MAX, |state| state.error),
    })
}

/// What is sent ahead to choose among several addresses.
pub(super) fn hello(clock: Option<Clock>) -> Vec<u8> {
    let Some(clock) = clock else {
        return HELLO.to_vec();
    };
    let mut packet = vec![0; LENGTH];
    let request = Request {
        sequence: 0,
        sent: Timestamp::default(),
        estimate: clock.estimate(),
        session: 0,
    };
    request.write(&mut packet);
    packet
}
