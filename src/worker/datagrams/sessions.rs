//! The sessions of STAMP of one worker: a count of answers each. They are bounded in number,
//! for each source, and in age.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::worker::source::Source;

/// The most sessions of a worker on an address. Each costs about 200 bytes. A further one takes the place of
/// one that has been silent for long.
const SESSIONS: usize = 16_384;

/// The most of them of one source: a sixteenth, so that no source alone takes the others'.
const OF_A_SOURCE: usize = SESSIONS / 16;

/// A session without a packet for this long is forgotten: its count begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Sessions to be forgotten are searched for once in this time: a search takes as long as some
/// dozens of packets. For so much longer they count in the bound of their source.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// Of so many, chosen at random, the one that has been silent for the longest makes room. To
/// look at all would take longer than a packet should.
const CANDIDATES: usize = 8;

/// Whose session it is: RFC 8972, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: SocketAddr,
    pub(super) local: (IpAddr, u16),
    pub(super) session: u16,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    key: Key,
    /// The sequence number of the next answer.
    next: u32,
    last: Instant,
}

/// There is no room: the source of the packet has as many sessions as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Vec<Session>,
    /// Where in `all` each is.
    places: HashMap<Key, usize>,
    /// How many each source has.
    of_sources: HashMap<Source, usize>,
    forget_at: Option<Instant>,
}

impl Sessions {
    /// Takes the sequence number of the next answer of a session.
    pub(super) fn take(&mut self, key: Key, now: Instant) -> Result<u32, Full> {
        self.forget(now);
        let place = match self.places.get(&key) {
            Some(&place) => place,
            None => self.begin(key, now)?,
        };
        let session = &mut self.all[place];
        if is_over(session, now) {
            session.next = 0;
        }
        session.last = now;
        let sequence = session.next;
        session.next = sequence.wrapping_add(1);
        Ok(sequence)
    }

    /// Gives back the last number that was taken: the answer was not sent.
    pub(super) fn give_back(&mut self, key: Key, sequence: u32) {
        if let Some(&place) = self.places.get(&key) {
            let next = &mut self.all[place].next;
            if *next == sequence.wrapping_add(1) {
                *next = sequence;
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn begin(&mut self, key: Key, now: Instant) -> Result<usize, Full> {
        let source = Source::of(key.source);
        if self.of_sources.get(&source) == Some(&OF_A_SOURCE) {
            return Err(Full);
        }
        if self.all.len() >= SESSIONS {
            let candidates = (0..CANDIDATES).map(|_| fastrand::usize(..self.all.len()));
            if let Some(place) = candidates.min_by_key(|&place| self.all[place].last) {
                self.remove(place);
            }
        }
        let place = self.all.len();
        self.all.push(Session {
            key,
            next: 0,
            last: now,
        });
        self.places.insert(key, place);
        *self.of_sources.entry(source).or_default() += 1;
        Ok(place)
    }

    fn forget(&mut self, now: Instant) {
        if self.forget_at.is_some_and(|at| now < at) {
            return;
        }
        self.forget_at = Some(now + FORGET_EVERY);
        // From the end: a removal moves the last one to its place.
        for place in (0..self.all.len()).rev() {
            if is_over(&self.all[place], now) {
                self.remove(place);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let key = self.all.swap_remove(place).key;
        self.places.remove(&key);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(moved.key, place);
        }
        let source = Source::of(key.source);
        if let Some(count) = self.of_sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.of_sources.remove(&source);
            }
        }
    }
}

fn is_over(session: &Session, now: Instant) -> bool {
    now.saturating_duration_since(session.last) >= FORGET_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Session `number` of host `host`.
    fn key(host: usize, number: usize) -> Key {
        Key {
            source: SocketAddr::from(([198, 51, (host >> 8) as u8, host as u8], 5000)),
            local: ("192.0.2.1".parse().unwrap(), 862),
            session: number as u16,
        }
    }

    /// A full table, of 16 sources, whose sessions of host 0 are the oldest.
    fn full(start: Instant) -> Sessions {
        let mut sessions = Sessions::default();
        for host in 0..SESSIONS / OF_A_SOURCE {
            let later = start + Duration::from_secs((host > 0).into());
            for number in 0..OF_A_SOURCE {
                assert_eq!(sessions.take(key(host, number), later), Ok(0));
            }
        }
        assert_eq!(sessions.all.len(), SESSIONS);
        sessions
    }

    fn assert_whole(sessions: &Sessions) {
        assert_eq!(sessions.places.len(), sessions.all.len());
        for (place, session) in sessions.all.iter().enumerate() {
            assert_eq!(sessions.places[&session.key], place);
        }
        assert_eq!(
            sessions.of_sources.values().sum::<usize>(),
            sessions.all.len()
        );
    }

    #[test]
    fn one_source_shuts_nobody_out() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        for number in 0..OF_A_SOURCE {
            assert!(sessions.take(key(0, number), now).is_ok());
        }
        assert_eq!(sessions.take(key(0, OF_A_SOURCE), now), Err(Full));
        assert_eq!(sessions.take(key(0, 7), now), Ok(1), "it has this one");
        assert_eq!(sessions.take(key(1, 0), now), Ok(0), "others have theirs");
        assert_whole(&sessions);
    }

    #[test]
    fn a_full_table_makes_room_and_keeps_those_that_were_heard_of_lately() {
        let start = Instant::now();
        let mut sessions = full(start);
        let now = start + Duration::from_secs(2);
        let new = 500;
        for host in 0..new {
            assert_eq!(sessions.take(key(1000 + host, 0), now), Ok(0));
        }
        assert_eq!(sessions.all.len(), SESSIONS);
        assert_whole(&sessions);
        let left = sessions.of_sources[&Source::of(key(0, 0).source)];
        // One of 16 is old, so one of eight candidates is with a chance of 0.4.
        assert!(
            left < OF_A_SOURCE - new / 8,
            "{left} of the old ones are left"
        );
        for host in 0..new {
            assert_eq!(sessions.take(key(1000 + host, 0), now), Ok(1));
        }
    }

    #[test]
    fn a_session_ends_after_its_time_whether_others_need_its_room_or_not() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        assert_eq!(sessions.take(key(0, 0), start), Ok(0));
        assert_eq!(sessions.take(key(1, 0), start), Ok(0));
        let last = start + FORGET_AFTER - Duration::from_nanos(1);
        assert_eq!(sessions.take(key(0, 0), last), Ok(1));
        let later = last + FORGET_AFTER;
        assert_eq!(sessions.take(key(0, 0), later), Ok(0));
        assert_eq!(sessions.all.len(), 1, "the silent one is forgotten");
        // Between two searches as well.
        sessions.forget_at = Some(later + 2 * FORGET_AFTER);
        assert_eq!(sessions.take(key(0, 0), later + FORGET_AFTER), Ok(0));
        assert_whole(&sessions);
    }

    #[test]
    fn the_numbers_of_answers_that_were_not_sent_are_given_back() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        for sequence in 0..5 {
            assert_eq!(sessions.take(key(0, 0), now), Ok(sequence));
        }
        sessions.give_back(key(0, 0), 1);
        sessions.give_back(key(9, 9), 0);
        assert_eq!(sessions.take(key(0, 0), now), Ok(5), "later ones were sent");
        for sequence in [5, 4, 3] {
            sessions.give_back(key(0, 0), sequence);
        }
        assert_eq!(sessions.take(key(0, 0), now), Ok(3));
    }
}
