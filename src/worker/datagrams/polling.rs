//! How a worker waits for its sockets for datagrams: with the poller of its connections, or
//! beside it.
//!
//! Who waits for a socket stands on the socket's list. The kernel calls each one on it for every
//! datagram that comes and, since then there is room for the next one, for every one that
//! has left. A poller stands there always, which is 7 % of what an answer costs; poll(2)
//! only while it waits. Beside it the poller is a second call in each turn in which connections
//! have something, so what is better depends on what there is to do.

/// How often it is chosen, in turns.
const TURNS: u32 = 256;

/// A second call costs as much as the poller does for so many datagrams.
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
    /// Beside the poller at first, where the system can do that.
    pub(super) const fn new() -> Self {
        Self {
            is_beside: cfg!(any(target_os = "linux", target_os = "android")),
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
        if self.turns < TURNS || !Self::new().is_beside {
            return false;
        }
        let before = self.is_beside;
        self.is_beside = self.datagrams >= self.with_events * DATAGRAMS_A_CALL;
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
    fn the_poller_has_the_sockets_where_connections_do_more() {
        let mut polling = Polling::new();
        assert!(polling.is_beside());
        assert_eq!(chosen(&mut polling, 0, false), None, "nothing to do");
        assert_eq!(chosen(&mut polling, 1, false), None);
        assert_eq!(chosen(&mut polling, 1, true), Some(false));
        assert_eq!(chosen(&mut polling, 0, true), None);
        assert_eq!(chosen(&mut polling, 2, true), Some(true));
        assert_eq!(chosen(&mut polling, 32, true), None);
        assert_eq!(chosen(&mut polling, 0, true), Some(false));
        assert_eq!(chosen(&mut polling, 0, false), Some(true));
    }
}
