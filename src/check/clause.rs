//! A clause: one promise of a faithful path, and how to test it.

use super::connection::MESSAGE;
use super::not_passed::NotPassed;
use super::target::Target;

/// One promise of a faithful path, and how to test it.
#[derive(Debug)]
pub struct Clause {
    /// Its name on the command line: lower case, with hyphens.
    pub name: &'static str,
    /// What it proves, in one line.
    pub proves: &'static str,
    /// The usual cause of a failure; it reads on from "usually".
    pub usually: &'static str,
    /// The standard that demands it.
    pub rfc: &'static str,
    /// What may run beside it.
    pub(super) load: Load,
    /// Tests it. Returns what was observed.
    pub(super) run: fn(&Target<'_>) -> Result<String, NotPassed>,
}

/// What a clause does to the path and the server, and so what may run beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// All others wait for its end: it tells whether there is a path at all.
    First,
    /// It waits most of the time, so that others may wait beside it; it has so many
    /// connections open at once, and so many bytes under way on them at the most.
    Waits { connections: usize, bytes: u64 },
    /// It has one connection with hardly anything on it for as long as the others take: it
    /// begins before them and runs beside all.
    Beside,
    /// It measures the path while nothing else is on it: no other has a connection open, but
    /// those that only wait for a time-out.
    Measures,
    /// It fills the path with one connection: no other has one open, but those that only wait
    /// for a time-out.
    Streams,
    /// It has many connections, or harms the server if that is frail, or must not be
    /// disturbed: no other has a connection open.
    Alone,
}

impl Load {
    /// It waits, with no more than a message under way on each of so many connections.
    pub(super) const fn waits(connections: usize) -> Self {
        let bytes = MESSAGE * connections as u64;
        Self::Waits { connections, bytes }
    }

    /// It waits, with so many bytes under way on one connection at the most.
    pub(super) const fn sends(bytes: u64) -> Self {
        let connections = 1;
        Self::Waits { connections, bytes }
    }
}
