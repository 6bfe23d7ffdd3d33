//! One message of a connection's stream: its end and its times.

/// One message that was queued and is not back completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The offset of its end in the stream.
    pub(super) end: u64,
    /// When it is due to be sent.
    pub(super) due: u64,
    /// When its first byte was sent.
    pub(super) sent: u64,
}
