//! The datagrams of one source port.

use std::io;
use std::time::Duration;

use super::event::{Echo, Event, hops};
use super::ports::PortCounts;
use crate::probe::datagram::ledger::Reply;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::refusal::not_sent;
use crate::probe::datagram::socket::{Datagram, PathError, ProbeSocket};
use crate::probe::datagram::tracker::{Arrival, Tracker};

/// The datagrams of one source port. Its own numbers begin at 1; `seq` of an event counts
/// those of all ports, which take turns.
pub(super) struct Flow {
    pub(super) socket: ProbeSocket,
    pub(super) tracker: Tracker,
    /// Its place among the ports, and how many there are.
    place: u64,
    ports: u64,
    timeout: Duration,
    /// The kernel's count of drops when it was last looked at.
    dropped: Option<u32>,
}

impl Flow {
    pub(super) fn new(
        socket: ProbeSocket,
        tracker: Tracker,
        (place, ports): (u64, u64),
        timeout: Duration,
    ) -> Self {
        Self {
            dropped: socket.dropped(),
            socket,
            tracker,
            place,
            ports,
            timeout,
        }
    }

    pub(super) const fn counts(&self) -> PortCounts {
        let counts = self.tracker.ledger.counts();
        PortCounts {
            source_port: self.socket.port,
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost,
        }
    }

    const fn seq(&self, number: u64) -> u64 {
        (number - 1) * self.ports + self.place + 1
    }

    /// Sends the next datagram at this time, in nanoseconds from the start.
    pub(super) fn send(&mut self, block: &mut [u8], at: u64) -> Option<Event> {
        self.tracker.fill(block);
        match self.socket.send(block) {
            Ok(()) => {
                self.tracker.ledger.sent(at);
                None
            }
            Err(error) => {
                let number = self.tracker.ledger.not_sent(at);
                Some(Event::NotSent {
                    seq: self.seq(number),
                    source_port: self.socket.port,
                    reason: not_sent(&error),
                })
            }
        }
    }

    /// What a datagram is that was received at this time, in nanoseconds from the start.
    pub(super) fn arrived(&mut self, bytes: &[u8], datagram: Datagram, at: u64) -> Vec<Event> {
        let address = datagram.stranger.unwrap_or(self.socket.server);
        let source_port = self.socket.port;
        let unasked = |damage: String| Event::Unasked {
            address,
            source_port,
            size_bytes: bytes.len(),
            damage,
        };
        if datagram.stranger.is_some() {
            let of = self.tracker.quoted(bytes);
            self.tracker.foreign();
            return vec![unasked(match of {
                Some(number) => format!(
                    "the echo of seq={}, from another address than {}, which was asked",
                    self.seq(number),
                    self.socket.server
                ),
                None => String::from("it was not asked"),
            })];
        }
        match self.tracker.received(bytes, at) {
            Arrival::Reply(number, Reply::Unknown) => vec![unasked(format!(
                "an echo of seq={}, which is forgotten or was not sent",
                self.seq(number)
            ))],
            Arrival::Reply(number, reply) => self.replied(number, reply, datagram),
            Arrival::Changed(number, change) => vec![Event::Corrupted {
                address,
                seq: self.seq(number),
                source_port,
                damage: change.to_string(),
            }],
            Arrival::Foreign => vec![unasked(String::from(
                "nothing that was sent from this port",
            ))],
        }
    }

    fn replied(&self, number: u64, reply: Reply, datagram: Datagram) -> Vec<Event> {
        let echo = |time_ns, reordered| Echo {
            address: self.socket.server,
            seq: self.seq(number),
            source_port: self.socket.port,
            size_bytes: datagram.length,
            time_ns,
            ttl: datagram.ttl,
            hops: datagram.ttl.map(hops),
            marks: datagram.tos.map(Marks::of_byte),
            reordered,
        };
        match reply {
            Reply::InTime {
                round_trip,
                is_reordered,
            } => vec![Event::Reply(echo(round_trip, is_reordered))],
            Reply::Late {
                round_trip,
                is_newly_lost,
            } => {
                let lost = is_newly_lost.then(|| self.lost(number, self.no_reply()));
                let late = Event::Late(echo(round_trip, false));
                lost.into_iter().chain([late]).collect()
            }
            Reply::Duplicate { round_trip } => vec![Event::Duplicate(echo(round_trip, false))],
            Reply::Unknown => Vec::new(),
        }
    }

    /// What an error of the path says; `quoted` is what it has of the datagram.
    pub(super) fn refused(&mut self, quoted: &[u8], error: &PathError) -> Option<Event> {
        let quoted = self.tracker.quoted(quoted);
        // Where nothing is quoted it is of a datagram that is awaited.
        let number = quoted.or_else(|| self.tracker.ledger.presumed())?;
        let is_awaited = self.tracker.ledger.refused(number);
        is_awaited.then(|| self.lost(number, error.explained()))
    }

    /// The datagrams whose time-out is over now.
    pub(super) fn expired(&mut self, now: u64) -> Vec<Event> {
        let expired = self.tracker.ledger.expire(now);
        let lost = |number| self.lost(number, self.no_reply());
        expired.into_iter().map(lost).collect()
    }

    /// What the kernel has dropped of what came, since the last look.
    pub(super) fn dropped(&mut self) -> Option<Event> {
        let now = self.socket.dropped();
        let datagrams = now?.wrapping_sub(self.dropped?);
        self.dropped = now;
        (datagrams > 0).then_some(Event::DroppedHere {
            datagrams,
            source_port: self.socket.port,
        })
    }

    /// Whether the system says what it drops.
    pub(super) const fn knows_drops(&self) -> bool {
        self.dropped.is_some()
    }

    /// Makes what comes wake the poller.
    pub(super) fn register(
        &mut self,
        registry: &mio::Registry,
        token: mio::Token,
    ) -> io::Result<()> {
        self.socket.register(registry, token)
    }

    fn lost(&self, number: u64, reason: String) -> Event {
        Event::Lost {
            seq: self.seq(number),
            source_port: self.socket.port,
            reason,
        }
    }

    fn no_reply(&self) -> String {
        format!(
            "no reply within {}",
            humantime::format_duration(self.timeout)
        )
    }
}
