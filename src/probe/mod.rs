//! What every probe shares: the keyed pattern, the exchange of a stream, the latency histogram.

pub(crate) mod exchange;
pub mod latency;
pub mod pattern;
