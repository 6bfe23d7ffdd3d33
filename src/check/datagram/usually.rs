//! What the end of a failed clause usually means, by how it failed: a clause that tests one
//! thing fails by others, too.

use super::clause::Clause;
use super::facts::Failure;
use super::trouble::Trouble;

const DROPPED: &str = "something drops datagrams of this kind each time, or a limit on the rate, a \
                       loss or a slow server takes several in a row";
const ALL_LOST: &str = "a limit on the rate, a queue that is full or a server that is slow takes \
                        no more for now; or the server has ended: see what failed before";
const SOME_LOST: &str = "a full or a faulty link, a short queue on the way or in the server, or a \
                         limit on the rate loses some of those that are sent at once";
const REFUSED: &str = "the server has ended, its socket is connected to another client, or a \
                       firewall refuses what is sent";
const CHANGED: &str = "something takes datagrams for text, cuts them at the end of its buffer, or \
                       rewrites what looks like an address in them";
const NOT_SENT: &str = "this machine has no route or no address for it, or its own firewall \
                        refuses it (ip route get, ip address, nft list ruleset)";

/// What such an end usually means; it reads on from "usually".
pub(super) fn usually(clause: &Clause, failure: &Failure) -> &'static str {
    // What these test is whether anything comes back at all.
    let is_own =
        matches!(clause.name, "reachable" | "empty" | "loss" | "rate") || failure.is_of_size();
    match failure.trouble {
        Trouble::Unanswered | Trouble::Lost { .. } if is_own => clause.usually,
        Trouble::Unanswered => DROPPED,
        Trouble::Lost { lost, of } if lost == of => ALL_LOST,
        Trouble::Lost { .. } => SOME_LOST,
        Trouble::Refused(_) if clause.name == "reachable" => clause.usually,
        Trouble::Refused(_) => REFUSED,
        Trouble::Changed(_) => CHANGED,
        Trouble::NotSent(_) => NOT_SENT,
        Trouble::Foreign(_)
        | Trouble::Elsewhere { .. }
        | Trouble::Reordered { .. }
        | Trouble::Duplicated { .. }
        | Trouble::Marks(_)
        | Trouble::Ports { .. }
        | Trouble::PortsLose { .. }
        | Trouble::Hole { .. }
        | Trouble::Forgotten => clause.usually,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::datagram::clauses;

    #[test]
    fn no_clause_speaks_of_what_it_tests_where_nothing_came() {
        let of = |name: &str, trouble: Trouble| {
            let clause = clauses().iter().find(|clause| clause.name == name).unwrap();
            let failure = Failure {
                clause: clause.name,
                trouble,
            };
            usually(clause, &failure)
        };
        let none = Trouble::Lost { lost: 64, of: 64 };
        let some = Trouble::Lost { lost: 52, of: 64 };
        for name in ["order", "duplicates", "bytes", "ports"] {
            assert_eq!(of(name, none.clone()), ALL_LOST);
            assert_eq!(of(name, some.clone()), SOME_LOST);
        }
        assert_eq!(of("marks", Trouble::Unanswered), DROPPED);
        let late = Trouble::Reordered { late: 3, of: 64 };
        assert!(of("order", late).contains("overtake"));
        assert!(of("longest", Trouble::Unanswered).contains("fragments"));
        let not_sent = Trouble::NotSent(String::new());
        assert_eq!(of("reachable", not_sent), NOT_SENT);
    }
}
