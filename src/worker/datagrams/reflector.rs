//! The reflector of STAMP, RFC 8762: it keeps a count for each session, so that the sender
//! knows in which direction a packet was lost.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::refusal::Refusal;
use crate::base::sys::clock::{ClockState, clock_state};
use crate::base::sys::datagram::Received;
use crate::proto::stamp::{Clock, Format, Reflection, Request, Timestamp};

/// The most sessions of a worker. Each costs about 100 bytes.
const SESSIONS: usize = 16_384;

/// A session without a packet for this long may be forgotten, and its count begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// While there is no room, forgotten sessions are searched for once in this time.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// The clock's state is asked for once in this time.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Whose session it is: RFC 8972, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: SocketAddr,
    local: (IpAddr, u16),
    session: u16,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    /// The sequence number of the next answer.
    next: u32,
    last: Instant,
}

/// The sessions of one worker, and what it says of its clock.
#[derive(Debug, Default)]
pub(super) struct Reflector {
    sessions: HashMap<Key, Session>,
    search_at: Option<Instant>,
    clock: Option<ClockState>,
    clock_until: Option<Instant>,
}

impl Reflector {
    /// Turns a request into its answer. `packet` is the whole datagram.
    ///
    /// # Errors
    /// It is no request, or there is no room for its session.
    pub(super) fn reflect(
        &mut self,
        packet: &mut [u8],
        received: &Received,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let request = Request::read(packet).ok_or(Refusal::Malformed)?;
        let address = received.to.map_or(local.ip(), |to| to.address);
        let key = Key {
            source: received.source,
            local: (address, local.port()),
            session: request.session,
        };
        let sequence = self.next(key, now).ok_or(Refusal::Sessions)?;
        // The sender reads the format that it writes.
        let format = Clock::from_estimate(request.estimate).format;
        let estimate = self.clock(now, format).estimate();
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = || unix().unwrap_or_default();
        let arrived = received.at.unwrap_or_else(unix);
        let reflection = Reflection {
            sequence,
            sent: Timestamp::from_unix(unix(), format),
            estimate,
            received: Timestamp::from_unix(arrived, format),
            request,
            ttl: received.hops.unwrap_or(0),
        };
        reflection.write(packet);
        Ok(())
    }

    /// The sequence number of the next answer of a session; `None` if it has no room.
    fn next(&mut self, key: Key, now: Instant) -> Option<u32> {
        if !self.sessions.contains_key(&key) && self.sessions.len() >= SESSIONS {
            self.forget(now);
            if self.sessions.len() >= SESSIONS {
                return None;
            }
        }
        let session = self.sessions.entry(key);
        let session = session.or_insert(Session { next: 0, last: now });
        session.last = now;
        let sequence = session.next;
        session.next = sequence.wrapping_add(1);
        Some(sequence)
    }

    fn forget(&mut self, now: Instant) {
        if self.search_at.is_some_and(|at| now < at) {
            return;
        }
        self.search_at = Some(now + SEARCH_EVERY);
        self.sessions
            .retain(|_, session| now.saturating_duration_since(session.last) < FORGET_AFTER);
    }

    /// What is said of the clock. One whose state is unknown is not synchronized.
    fn clock(&mut self, now: Instant, format: Format) -> Clock {
        if self.clock_until.is_none_or(|until| now >= until) {
            self.clock_until = Some(now + CLOCK_EVERY);
            self.clock = clock_state();
        }
        Clock {
            is_synchronized: self.clock.is_some_and(|state| state.is_synchronized),
            format,
            error: self.clock.map_or(Duration::MAX, |state| state.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::stamp::{LEAST, LENGTH};

    fn received(source: &str) -> Received {
        Received {
            bytes: LENGTH,
            truncated: false,
            source: source.parse().unwrap(),
            to: None,
            marks: None,
            hops: Some(61),
            at: Some(Duration::from_secs(1000)),
            dropped: None,
        }
    }

    fn reflected(
        reflector: &mut Reflector,
        source: &str,
        (sequence, session): (u32, u16),
        now: Instant,
    ) -> Result<Reflection, Refusal> {
        let mut packet = [0; LENGTH];
        let request = Request {
            sequence,
            sent: Timestamp(9),
            estimate: 1,
            session,
        };
        request.write(&mut packet);
        let local = "192.0.2.1:862".parse().unwrap();
        reflector.reflect(&mut packet, &received(source), local, now)?;
        Ok(Reflection::read(&packet).unwrap())
    }

    const ONE: &str = "198.51.100.1:5000";

    #[test]
    fn an_answer_has_the_count_of_its_session_and_what_was_seen_of_the_request() {
        let (mut reflector, now) = (Reflector::default(), Instant::now());
        for (count, sequence) in [0, 1, 5, 5].into_iter().enumerate() {
            let answer = reflected(&mut reflector, ONE, (sequence, 0), now).unwrap();
            assert_eq!(answer.sequence, count as u32);
            assert_eq!(answer.request.sequence, sequence);
            assert_eq!((answer.ttl, answer.request.sent), (61, Timestamp(9)));
            let received = Timestamp::from_unix(Duration::from_secs(1000), Format::Ntp);
            assert_eq!(answer.received, received);
            assert!(answer.sent.since_ns(received, Format::Ntp) > 0);
            assert_ne!(answer.estimate & 0xff, 0);
        }
        for (source, session) in [(ONE, 1), ("198.51.100.1:5001", 0), ("198.51.100.2:5000", 0)] {
            let answer = reflected(&mut reflector, source, (9, session), now).unwrap();
            assert_eq!(answer.sequence, 0, "another session");
        }
    }

    #[test]
    fn an_answer_has_times_in_the_format_of_its_request() {
        let mut packet = [0; LENGTH];
        let request = Request {
            sequence: 1,
            sent: Timestamp(9),
            estimate: 0x4001,
            session: 0,
        };
        request.write(&mut packet);
        let local = "192.0.2.1:862".parse().unwrap();
        let mut reflector = Reflector::default();
        let result = reflector.reflect(&mut packet, &received(ONE), local, Instant::now());
        assert_eq!(result, Ok(()));
        let answer = Reflection::read(&packet).unwrap();
        assert_eq!(Clock::from_estimate(answer.estimate).format, Format::Ptp);
        let received = Timestamp::from_unix(Duration::from_secs(1000), Format::Ptp);
        assert_eq!(answer.received, received);
    }

    #[test]
    fn sessions_are_bounded_and_old_ones_make_room() {
        let (mut reflector, start) = (Reflector::default(), Instant::now());
        for number in 0..SESSIONS {
            let source = format!("198.51.{}.{}:5000", number / 256, number % 256);
            assert!(reflected(&mut reflector, &source, (0, 0), start).is_ok());
        }
        let over = reflected(&mut reflector, "203.0.113.1:5000", (0, 0), start);
        assert_eq!(over.unwrap_err(), Refusal::Sessions);
        let later = start + FORGET_AFTER;
        let known = reflected(&mut reflector, "198.51.0.0:5000", (1, 0), later).unwrap();
        assert_eq!(known.sequence, 1, "it is still known");
        let new = reflected(&mut reflector, "203.0.113.1:5000", (0, 0), later).unwrap();
        assert_eq!((new.sequence, reflector.sessions.len()), (0, 2));
    }

    #[test]
    fn what_is_too_short_for_an_answer_is_malformed() {
        let mut reflector = Reflector::default();
        let local = "192.0.2.1:862".parse().unwrap();
        for length in [0, LEAST - 1] {
            let mut packet = vec![0; length];
            let result = reflector.reflect(&mut packet, &received(ONE), local, Instant::now());
            assert_eq!(result, Err(Refusal::Malformed));
        }
        assert!(reflector.sessions.is_empty());
    }
}
