//! When the kernel is asked how many datagrams it has dropped. The call takes as long as a fifth
//! of what a small batch costs, so it is made where some may have been dropped, and now and then.

use std::time::{Duration, Instant};

/// Drops of other causes than a full queue, as wrong checksums, are looked for this often while
/// datagrams come.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a datagram takes of the room in the queue beside its bytes is no more than this with
/// most network cards: a page for what it lies in, and what the kernel has to say of it.
const OVERHEAD: usize = 4096 + 1024;

/// What has come to a socket since its queue was empty, or since the last look.
///
/// The kernel drops where what waits needs more than the queue's room. All of that is received
/// later. So as long as what was received since needs less, nothing was dropped meanwhile.
#[derive(Debug)]
pub(super) struct DropWatch {
    /// The room of the queue.
    room: usize,
    taken: usize,
    look_at: Option<Instant>,
}

impl DropWatch {
    pub(super) const fn new(room: usize) -> Self {
        Self {
            room,
            taken: 0,
            look_at: None,
        }
    }

    /// So many bytes were received into so many slots. `is_empty` says whether nothing was left
    /// in the queue. Returns whether to look for drops.
    pub(super) fn is_due(
        &mut self,
        (slots, bytes): (usize, usize),
        is_empty: bool,
        now: Instant,
    ) -> bool {
        // The kernel may double what it allocates.
        self.taken += slots * OVERHEAD + 2 * bytes;
        // It gives the room of what was received back in steps of up to a quarter.
        let is_due = self.taken >= self.room / 2 || self.look_at.is_none_or(|at| now >= at);
        if is_due {
            self.look_at = Some(now + LOOK_EVERY);
        }
        if is_due || is_empty {
            self.taken = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_now_and_then() {
        let (mut watch, start) = (DropWatch::new(1 << 20), Instant::now());
        let mut due = |ms| watch.is_due((1, 64), true, start + Duration::from_millis(ms));
        assert_eq!([0, 1, 9].map(&mut due), [true, false, false]);
        assert_eq!([10, 11, 19, 20].map(&mut due), [true, false, false, true]);
    }

    #[test]
    fn a_look_is_due_where_a_full_queue_was_received() {
        let (mut watch, now) = (DropWatch::new(1 << 20), Instant::now());
        assert!(watch.is_due((1, 1), true, now));
        // Far fewer at once, however often.
        for _ in 0..1000 {
            assert!(!watch.is_due((32, 32 * 64), false, now));
            assert!(!watch.is_due((1, 64), true, now));
        }
        // Its queue is full of datagrams of 64 bytes that take 768 each, and of long ones.
        for bytes in [64, 1400, 65_507] {
            let waiting = (1 << 20) / (bytes + 704);
            let batches = (0..waiting)
                .step_by(32)
                .map(|first| 32.min(waiting - first));
            let due = batches.map(|slots| watch.is_due((slots, slots * bytes), slots < 32, now));
            assert!(due.filter(|it| *it).count() >= 1, "{bytes}");
        }
        // A small queue holds but one.
        let mut small = DropWatch::new(4608);
        assert!(small.is_due((1, 1), true, now));
        assert!(small.is_due((1, 1), true, now));
    }
}
