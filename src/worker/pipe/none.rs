//! The pipes of systems without `splice(2)`: none exist, and every byte is copied.

use std::io;

/// A pipe; no value of this type exists.
pub(crate) enum Pipe {}

impl Pipe {
    pub(crate) const fn is_empty(&self) -> bool {
        match *self {}
    }

    pub(crate) const fn held(&self) -> usize {
        match *self {}
    }

    pub(crate) fn fill<S>(&mut self, _socket: S, _most: usize) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn empty<S>(&mut self, _socket: S) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn into_bytes(self) -> io::Result<Vec<u8>> {
        match self {}
    }
}

/// Pipes of which none is ever lent.
pub(crate) struct Pipes;

impl Pipes {
    pub(crate) const fn new(_limit: usize) -> Self {
        Self
    }

    pub(crate) const fn can_lend(&self) -> bool {
        false
    }

    pub(crate) const fn lend(&mut self) -> Option<Pipe> {
        None
    }

    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        match pipe {}
    }

    pub(crate) const fn mark_proven(&mut self) {}

    pub(crate) const fn give_up(&mut self, _error: &io::Error) {}
}

pub(crate) const fn is_refusal(_error: &io::Error) -> bool {
    false
}
