//! Parsers of option values that several commands share.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;

/// A whole number from 1 to `most`.
pub(super) fn up_to(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// A duration, as in `250ms` or `1m 30s`, but not zero.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(String::from("it must be longer than nothing")),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of bytes, as in `64k`, `1 MiB` or `65536`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    match parse_size::parse_size(text) {
        Ok(0) => Err(String::from("it must be more than nothing")),
        Ok(bytes) => usize::try_from(bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
