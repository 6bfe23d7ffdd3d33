//! The list of clauses, in the order in which they are tested.

use super::age::{IDLE, OLD_SOCKET};
use super::burst::{DUPLICATES, ORDER};
use super::bytes::BYTES;
use super::clause::Clause;
use super::load::{LOSS, RATE};
use super::marks::MARKS;
use super::mtu::PATH_MTU;
use super::ports::PORTS;
use super::reachable::{REACHABLE, REPLY_ADDRESS};
use super::sizes::{EMPTY, FRAGMENTS, FULL_PACKET, LONGEST, SIZES};

/// From the simplest clause to those that send most.
const CLAUSES: [Clause; 17] = [
    REACHABLE,
    REPLY_ADDRESS,
    EMPTY,
    SIZES,
    FULL_PACKET,
    FRAGMENTS,
    LONGEST,
    PATH_MTU,
    BYTES,
    ORDER,
    DUPLICATES,
    MARKS,
    PORTS,
    LOSS,
    RATE,
    OLD_SOCKET,
    IDLE,
];

/// The clauses of datagrams, in the order in which they are tested.
pub const fn clauses() -> &'static [Clause] {
    const { &CLAUSES }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_clause_has_a_unique_name_and_complete_texts() {
        let mut names = HashSet::new();
        for clause in clauses() {
            assert!(names.insert(clause.name), "{} twice", clause.name);
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(clause.name.chars().all(is_plain), "{}", clause.name);
            assert!(clause.name.len() <= 16, "{} is too wide", clause.name);
            for text in [clause.proves, clause.usually, clause.rfc] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
                assert!(!text.contains(['\n', '|']), "{text}");
            }
        }
    }
}
