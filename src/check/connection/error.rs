//! Why a transfer ended early.

use std::io::{self, ErrorKind};

use crate::check::observation::Wrong;

/// Why a transfer ended early.
pub(super) enum TransferError {
    /// The peer closed its side.
    Eof,
    Io(io::Error),
    /// Only this many bytes moved within the time-out.
    Slow(u64),
    /// Other bytes arrived than were sent.
    Wrong(Wrong),
    Stopped,
}

pub(super) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            // Our side of one that was reset can't be closed.
            | ErrorKind::NotConnected
    )
}
