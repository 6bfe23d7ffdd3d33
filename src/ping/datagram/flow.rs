//! The datagrams of one source port.

use std::io;
use std::time::Duration;

use super::content::{Came, Content};
use super::event::{Echo, Event, hops};
use super::ports::PortCounts;
use crate::base::not_sent::not_sent;
use crate::base::sys::clock::unix_now;
use crate::probe::datagram::checksums::Checksums;
use crate::probe::datagram::marks::Marks;
use crate::probe::datagram::path_error::PathError;
use crate::probe::datagram::reply_log::Reply;
use crate::probe::datagram::socket::{Datagram, ProbeSocket};
use crate::probe::datagram::stamp::times::Reflected;

/// The datagrams of one source port. Its own numbers begin at 1; `seq` of an event counts
/// those of all ports, which take turns.
pub(super) struct Flow {
    pub(super) socket: ProbeSocket,
    pub(super) content: Content,
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
        content: Content,
        (place, ports): (u64, u64),
        timeout: Duration,
    ) -> Self {
        Self {
            dropped: socket.dropped(),
            socket,
            content,
            place,
            ports,
            timeout,
        }
    }

    pub(super) const fn counts(&self) -> PortCounts {
        let counts = self.content.reply_log().counts();
        PortCounts {
            source_port: self.socket.port,
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost,
            late: counts.late,
            changed: counts.changed,
        }
    }

    const fn seq(&self, number: u64) -> u64 {
        (number - 1) * self.ports + self.place + 1
    }

    /// Sends the next datagram at this time, in nanoseconds from the start.
    pub(super) fn send(&mut self, block: &mut [u8], at: u64) -> Option<Event> {
        self.content.fill(block, unix_now());
        match self.socket.send(block) {
            Ok(()) => {
                self.content.reply_log_mut().sent(at);
                None
            }
            Err(error) => {
                let number = self.content.not_sent(at);
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
            let echo = match self.content.stamp() {
                Some(_) => "the answer to",
                None => "the echo of",
            };
            return vec![unasked(match self.content.strangers(bytes) {
                Some(number) => format!(
                    "{echo} seq={}, from another address than {}, which was asked",
                    self.seq(number),
                    self.socket.server
                ),
                None => String::from("it was not asked"),
            })];
        }
        match self.content.received(bytes, at, datagram.at) {
            Came::Reply(number, Reply::Unknown, _) => vec![unasked(format!(
                "a reply to seq={}, which is forgotten or was not sent",
                self.seq(number)
            ))],
            Came::Reply(number, reply, read) => self.replied(number, (reply, read), datagram),
            Came::Changed(number, damage) => vec![Event::Corrupted {
                address,
                seq: self.seq(number),
                source_port,
                damage,
            }],
            Came::Uncounted => Vec::new(),
            Came::Foreign => vec![unasked(String::from(
                "nothing that was sent from this port",
            ))],
        }
    }

    fn replied(
        &self,
        number: u64,
        (reply, reflected): (Reply, Option<Reflected>),
        datagram: Datagram,
    ) -> Vec<Event> {
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
            reflected,
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
        let quoted = self.content.quoted(quoted);
        let reply_log = self.content.reply_log_mut();
        // Many routers quote 8 bytes, the header of UDP: RFC 792.
        if let Some(number) = quoted.or_else(|| reply_log.sole_awaited()) {
            let is_awaited = reply_log.refused(number);
            return is_awaited.then(|| self.lost(number, error.explained()));
        }
        reply_log.unnamed_error().then(|| Event::PathError {
            source_port: self.socket.port,
            reason: error.explained(),
        })
    }

    /// The datagrams whose time-out is over now.
    pub(super) fn expired(&mut self, now: u64) -> Vec<Event> {
        let expired = self.content.reply_log_mut().expire(now);
        let lost = |number| self.lost(number, self.no_reply());
        expired.into_iter().map(lost).collect()
    }

    /// Sends a packet of STAMP that is not counted, where its answer would tell in which
    /// direction the last ones were lost. Returns whether it did.
    pub(super) fn ask_for_the_last(&mut self, block: &mut [u8]) -> bool {
        match &mut self.content {
            Content::Stamp(tracker) if tracker.has_lost_the_last() => {
                tracker.fill(block, unix_now());
                let was_sent = self.socket.send(block).is_ok();
                tracker.uncounted(was_sent);
                was_sent
            }
            _ => false,
        }
    }

    /// What the kernel has dropped of what came, since the last look.
    pub(super) fn dropped(&mut self, checksums: &Checksums) -> Option<Event> {
        let now = self.socket.dropped();
        let datagrams = now?.wrapping_sub(self.dropped?);
        self.dropped = now;
        (datagrams > 0).then(|| Event::DroppedHere {
            datagrams,
            // No more than were dropped.
            wrong_checksums: checksums
                .among(datagrams.into())
                .and_then(|most| u32::try_from(most).ok()),
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
            way: self
                .content
                .stamp()
                .and_then(|it| it.directions.way_of(number)),
        }
    }

    fn no_reply(&self) -> String {
        format!(
            "no reply within {}",
            humantime::format_duration(self.timeout)
        )
    }
}
