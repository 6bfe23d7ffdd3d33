//! The connections that have something to do without a further event, in two classes.
//!
//! Connections that exchange messages are served first, all in one turn, in phases. Those
//! that stream take turns, and after each phase one of them moves a slice, so that a message
//! waits for one slice at the most behind each phase, however many stream.

use std::collections::{HashSet, VecDeque};

/// The class of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It exchanges messages, or it is too new to know.
    Message,
    /// It sends more than it waits for an answer, or has more to be sent than a message.
    Stream,
}

/// The keys of connections, each at most once: the owner sees to that.
#[derive(Debug, Default)]
pub(super) struct Ready {
    messages: Queue,
    streams: Queue,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.len() == 0 && self.streams.len() == 0
    }

    /// How many connections of the class are ready.
    pub(super) fn len(&self, class: Class) -> usize {
        match class {
            Class::Message => self.messages.len(),
            Class::Stream => self.streams.len(),
        }
    }

    /// The streams that wait, in their order.
    #[cfg(test)]
    pub(super) fn streams(&self) -> Vec<usize> {
        let queue = &self.streams;
        let keys = queue.keys.iter().copied();
        keys.filter(|key| !queue.removed.contains(key)).collect()
    }

    /// The stream whose turn is the next.
    pub(super) fn first_stream(&self) -> Option<usize> {
        self.streams.first()
    }

    /// Puts a connection behind all others of its class.
    pub(super) fn push(&mut self, class: Class, key: usize) {
        self.of(class).push(key);
    }

    /// Puts a stream that has just been put behind all others in front of them.
    pub(super) fn keep_turn(&mut self, key: usize) {
        if self.streams.keys.back() == Some(&key) {
            self.streams.keys.rotate_right(1);
        }
    }

    /// Takes the connection that has waited for the longest.
    pub(super) fn pop(&mut self, class: Class) -> Option<usize> {
        self.of(class).pop()
    }

    /// Removes a connection that waits in this class. Its key may be used for another.
    pub(super) fn remove(&mut self, class: Class, key: usize) {
        self.of(class).removed.insert(key);
    }

    const fn of(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Message => &mut self.messages,
            Class::Stream => &mut self.streams,
        }
    }
}

/// Keys in their order. One that is removed is passed over when its place comes up: to look
/// for it would take a time that grows with the square where all are closed at once.
#[derive(Debug, Default)]
struct Queue {
    keys: VecDeque<usize>,
    /// Those of the keys that are passed over.
    removed: HashSet<usize>,
    /// How many places were looked at to find removed keys.
    #[cfg(test)]
    looked_at: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.keys.len() - self.removed.len()
    }

    fn first(&self) -> Option<usize> {
        let mut keys = self.keys.iter().copied();
        match self.removed.is_empty() {
            true => keys.next(),
            false => keys.find(|key| !self.removed.contains(key)),
        }
    }

    fn push(&mut self, key: usize) {
        if !self.removed.is_empty() && self.removed.contains(&key) {
            self.sweep();
        }
        self.keys.push_back(key);
    }

    fn pop(&mut self) -> Option<usize> {
        loop {
            let key = self.keys.pop_front()?;
            if self.removed.is_empty() || !self.removed.remove(&key) {
                return Some(key);
            }
        }
    }

    /// Takes out all removed keys, as one of them is used again.
    fn sweep(&mut self) {
        #[cfg(test)]
        {
            self.looked_at += self.keys.len();
        }
        let removed = std::mem::take(&mut self.removed);
        self.keys.retain(|key| !removed.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn closing_all_that_wait_looks_at_each_of_them_once() {
        const COUNT: usize = 1000;

        let mut ready = Ready::default();
        for _ in 0..2 {
            for key in 0..COUNT {
                ready.push(Class::Stream, key);
            }
            for key in 0..COUNT {
                ready.remove(Class::Stream, key);
            }
            assert!(ready.is_empty() && ready.first_stream().is_none());
        }
        assert!(
            ready.streams.looked_at <= COUNT,
            "also where keys are used again"
        );
        assert_eq!(ready.pop(Class::Stream), None);
    }

    proptest! {
        #[test]
        fn keys_come_in_their_order_whichever_are_removed_and_used_again(
            steps in proptest::collection::vec((0..4_u8, 0..8_usize), 1..100),
        ) {
            let mut ready = Ready::default();
            let mut expected: Vec<usize> = Vec::new();
            for (kind, key) in steps {
                let is_queued = expected.contains(&key);
                match kind {
                    0 if is_queued => {
                        ready.remove(Class::Stream, key);
                        expected.retain(|&other| other != key);
                    }
                    0 | 1 if !is_queued => {
                        ready.push(Class::Stream, key);
                        expected.push(key);
                    }
                    2 if !is_queued => {
                        ready.push(Class::Stream, key);
                        ready.keep_turn(key);
                        expected.insert(0, key);
                    }
                    _ => {
                        let first = (!expected.is_empty()).then(|| expected.remove(0));
                        prop_assert_eq!(ready.pop(Class::Stream), first);
                    }
                }
                prop_assert_eq!(ready.len(Class::Stream), expected.len());
                prop_assert_eq!(ready.first_stream(), expected.first().copied());
                prop_assert_eq!(ready.is_empty(), expected.is_empty());
            }
        }
    }
}
