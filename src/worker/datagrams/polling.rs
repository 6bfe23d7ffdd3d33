//! How a worker waits for its sockets for datagrams: with the poller of its connections, or
//! beside it.
//!
//! Who waits for a socket stands on the socket's list. The kernel calls each one on it for every
//! datagram that comes and, since then there is room for the next one, for every one that
//! has left. A poller stands there always, which is 7 % of what an answer costs; poll(2)
//! only while it waits. But that puts itself on the list and takes itself off for each wait, and
//! where connections have something the poller is asked as well. So what is better
//! depends on what there is to do.

/// Whether it can be done without the poller.
const CAN_POLL: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How often it is chosen, in turns.
const TURNS: u32 = 256;

/// poll(2) costs as much more in a turn than the poller as that does for so many datagrams.
const DATAGRAMS_A_TURN: u64 = 3;

/// The poller is a second call where it has events: as for so many more.
const DATAGRAMS_A_CALL: u64 = 2;

/// What there was to do since it was last chosen, and what is best for that.
#[derive(Debug)]
pub(super) struct Polling {
    is_beside: bool,
    turns: u32,
    /// Turns in which the poller had events.
    with_events: u64,
    datagrams: u64,
}

impl Polling {
    /// With the poller at first.
    pub(super) const fn new() -> Self {
        Self {
            is_beside: false,
            turns: 0,
            with_events: 0,
            datagrams: 0,
        }
    }

    pub(super) const fn is_beside(&self) -> bool {
        self.is_beside
    }

    /// A turn begins, before which so many datagrams were answered.
    pub(super) fn turn(&mut self, datagrams: usize, has_events: bool) {
        self.turns += 1;
        self.with_events += u64::from(has_events);
        self.datagrams += datagrams as u64;
    }

    /// Chooses again, after a while. Returns whether that changes something.
    pub(super) fn choose(&mut self) -> bool {
        if self.turns < TURNS {
            return false;
        }
        let before = self.is_beside;
        let least = u64::from(TURNS) * DATAGRAMS_A_TURN + self.with_events * DATAGRAMS_A_CALL;
        self.is_beside = CAN_POLL && self.datagrams >= least;
        (self.turns, self.with_events, self.datagrams) = (0, 0, 0);
        before != self.is_beside
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    /// Chooses after so many turns of this kind. Returns what is chosen, if that is another.
    fn chosen(polling: &mut Polling, datagrams: usize, has_events: bool) -> Option<bool> {
        for _ in 0..TURNS {
            assert!(!polling.choose());
            polling.turn(datagrams, has_events);
        }
        polling.choose().then_some(polling.is_beside())
    }

    #[test]
    fn the_poller_has_the_sockets_unless_many_datagrams_are_answered_in_a_turn() {
        let mut polling = Polling::new();
        assert!(!polling.is_beside());
        for (datagrams, has_events, expected) in [
            (0, false, None),
            (1, true, None),
            (2, false, None),
            (3, false, Some(true)),
            (3, true, Some(false)),
            (5, true, Some(true)),
            (32, true, None),
            (0, true, Some(false)),
            (32, false, Some(true)),
            (0, false, Some(false)),
        ] {
            let chosen = chosen(&mut polling, datagrams, has_events);
            assert_eq!(chosen, expected, "{datagrams} {has_events}");
        }
    }
}
