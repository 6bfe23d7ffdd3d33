//! The connections that have something to do without a further event, in two classes.
//!
//! Connections that exchange messages are served first, all in one turn, in phases. Those
//! that stream take turns, and after each phase one of them moves a slice, so that a message
//! waits for one slice at the most behind each phase, however many stream.

use std::collections::VecDeque;

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
    messages: VecDeque<usize>,
    streams: VecDeque<usize>,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.streams.is_empty()
    }

    /// How many connections of the class are ready.
    pub(super) fn len(&self, class: Class) -> usize {
        match class {
            Class::Message => self.messages.len(),
            Class::Stream => self.streams.len(),
        }
    }

    /// The stream whose turn is the next.
    pub(super) fn first_stream(&self) -> Option<usize> {
        self.streams.front().copied()
    }

    /// Puts a connection behind all others of its class.
    pub(super) fn push(&mut self, class: Class, key: usize) {
        self.of(class).push_back(key);
    }

    /// Puts a stream that has just been put behind all others in front of them.
    pub(super) fn keep_turn(&mut self, key: usize) {
        if self.streams.back() == Some(&key) {
            self.streams.rotate_right(1);
        }
    }

    /// Takes the connection that has waited for the longest.
    pub(super) fn pop(&mut self, class: Class) -> Option<usize> {
        self.of(class).pop_front()
    }

    /// Removes a connection, whichever its class was.
    pub(super) fn remove(&mut self, key: usize) {
        self.messages.retain(|&ready| ready != key);
        self.streams.retain(|&ready| ready != key);
    }

    const fn of(&mut self, class: Class) -> &mut VecDeque<usize> {
        match class {
            Class::Message => &mut self.messages,
            Class::Stream => &mut self.streams,
        }
    }
}
