//! The list of clauses of each protocol, in the order in which they are tested.

use super::clause::Clause;
use super::{
    bytes, connect, connections, counted, duplex, half_close, idle, lifetime, loss, messages,
    nagle, options, pace, reset, segments, source_address, urgent,
};
use crate::proto::Protocol;

/// From the simplest clause to those that load the server most. Connections are counted before any
/// is reset on purpose: a proxy may keep such a one.
const ECHO: &[Clause] = &[
    connect::CONNECT,
    connect::SELF_CONNECT,
    options::OPTIONS,
    bytes::BYTES,
    segments::TINY_SEGMENTS,
    messages::MSS,
    messages::MESSAGES_64K,
    loss::LOSS,
    messages::MESSAGES_16M,
    segments::PIPELINING,
    duplex::FULL_DUPLEX,
    half_close::EARLY,
    half_close::LATE,
    half_close::EMPTY,
    pace::SLOW_READER,
    pace::SLOW_WRITER,
    nagle::SMALL_WRITES,
    urgent::URGENT,
    connections::CONNECTIONS,
    reset::RESET,
    source_address::SOURCE_NOT_REPORTED,
    idle::IDLE,
    connections::STORM,
    lifetime::LIFETIME,
];

const COUNTED: &[Clause] = &[
    connect::CONNECT,
    connect::SELF_CONNECT,
    options::OPTIONS_OF_MESSAGE,
    counted::ANSWER,
    counted::EMPTY,
    counted::BYTES,
    counted::SEGMENTS,
    counted::LONGEST,
    counted::NEWLINE,
    counted::HALF_CLOSE,
    counted::HALF_CLOSE_EMPTY,
    counted::TRAILING,
    connections::CONNECTIONS,
    reset::RESET,
    source_address::SOURCE_NOT_REPORTED,
    idle::IDLE,
    connections::STORM,
];

const WHOAMI: &[Clause] = &[
    connect::CONNECT,
    connect::SELF_CONNECT,
    options::OPTIONS_OF_MESSAGE,
    source_address::SOURCE_ADDRESS,
];

/// The clauses of a protocol, in the order in which they are tested.
pub const fn clauses(protocol: Protocol) -> &'static [Clause] {
    match protocol {
        Protocol::Echo => ECHO,
        Protocol::Counted => COUNTED,
        Protocol::Whoami => WHOAMI,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_clause_has_a_unique_name_and_complete_texts() {
        for protocol in Protocol::ALL {
            let mut names = HashSet::new();
            for clause in clauses(protocol) {
                assert!(names.insert(clause.name), "{} twice", clause.name);
                let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(clause.name.chars().all(is_plain), "{}", clause.name);
                assert!(clause.name.len() <= 16, "{} is too wide", clause.name);
                for text in [clause.proves, clause.usually, clause.rfc] {
                    assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
                    assert!(!text.contains(['\n', '|']), "{text}");
                }
            }
        }
    }
}
