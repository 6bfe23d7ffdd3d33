//! One message of a connection's stream: its place and its times.

/// One message, from its place in the schedule to its last byte back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where it ends in the stream.
    pub(super) end: u64,
    /// When it should be sent.
    pub(super) due: u64,
    /// When its first byte was sent.
    pub(super) sent: u64,
}
