//! The reflector of STAMP, RFC 8762: it keeps a count for each session, so that the sender
//! knows in which direction a packet was lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use super::sessions::{Full, Key, Sessions};
use crate::base::sys::clock::{ClockState, clock_state, unix_now};
use crate::base::sys::datagram::Received;
use crate::proto::stamp::{Clock, Format, Reflection, Request, Timestamp};

/// The clock's state is asked for once in this time.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// The sessions of one worker, and what it says of its clock.
#[derive(Debug, Default)]
pub(super) struct Reflector {
    sessions: Sessions,
    /// The sequence number of each answer since the last [`begin`](Self::begin).
    taken: Vec<(Key, u32)>,
    clock: Option<ClockState>,
    clock_until: Option<Instant>,
}

impl Reflector {
    /// A batch of answers begins.
    pub(super) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Answers of the batch, by their places in it, were not sent: their numbers are given
    /// back where no later one was sent, so that they are not taken for losses.
    pub(super) fn give_back(&mut self, places: &[usize]) {
        for &place in places.iter().rev() {
            if let Some(&(key, sequence)) = self.taken.get(place) {
                self.sessions.give_back(key, sequence);
            }
        }
    }

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
        let sequence = self
            .sessions
            .take(key, now)
            .map_err(|Full| Refusal::Sessions)?;
        self.taken.push((key, sequence));
        // The sender reads the format that it writes.
        let format = Clock::from_estimate(request.estimate).format;
        let estimate = self.clock(now, format).estimate();
        let arrived = received.at.unwrap_or_else(unix_now);
        let reflection = Reflection {
            sequence,
            sent: Timestamp::from_unix(unix_now(), format),
            estimate,
            received: Timestamp::from_unix(arrived, format),
            request,
            ttl: received.hops.unwrap_or(0),
        };
        reflection.write(packet);
        Ok(())
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
            segment: None,
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
    fn a_source_with_too_many_sessions_is_refused_and_numbers_are_given_back() {
        let (mut reflector, now) = (Reflector::default(), Instant::now());
        let over = (0..u16::MAX).find_map(|session| {
            reflector.begin();
            reflected(&mut reflector, ONE, (0, session), now).err()
        });
        assert_eq!(over, Some(Refusal::Sessions));
        reflector.begin();
        let mut count = |_| {
            reflected(&mut reflector, ONE, (0, 0), now)
                .unwrap()
                .sequence
        };
        assert_eq!([0; 4].map(&mut count), [1, 2, 3, 4]);
        reflector.give_back(&[0, 2, 3]);
        let answer = reflected(&mut reflector, ONE, (0, 0), now).unwrap();
        assert_eq!(answer.sequence, 3, "the second was sent");
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
