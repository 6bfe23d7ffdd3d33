//! STAMP's test packets without authentication: RFC 8762, sections 4.2.1 and 4.3.1, with the
//! session identifier of RFC 8972.
//!
//! A sender's packet and a reflector's answer have the same length. What is behind the first
//! 44 bytes is padding, or extensions that the sender reads back.

mod clock;
mod packet;
mod time;

pub use clock::Clock;
pub use packet::{LEAST, LEAST_ANSWER, LENGTH, Reflection, Request, quoted};
pub use time::{Format, Timestamp};

/// The UDP port of reflectors: RFC 8762, section 4.1.
pub const PORT: u16 = 862;
