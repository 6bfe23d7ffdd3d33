//! The list of causes, and which of them are reported.

use super::{age, burst, content, dropped, late, marks, order, ports, rate, reach, size};
use crate::check::cause::{Confidence, Diagnosis};
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::Findings;
use crate::check::diagnosis::pick;

/// A cause that may be the matter, with all that it would explain.
type Family = fn(&Facts, &Findings) -> Option<Diagnosis>;

/// Those that are of certain datagrams.
const SPECIAL: [Family; 29] = [
    reach::refused,
    reach::gone,
    reach::unreachable,
    reach::no_answer,
    reach::not_an_echo,
    reach::wrong_address,
    content::changed,
    content::cut,
    size::hole,
    size::fragments,
    size::limit,
    size::lengths,
    ports::loses,
    ports::loses_part,
    ports::full,
    marks::bleached,
    dropped::empty,
    dropped::marks,
    dropped::content,
    order::reordered,
    order::duplicates,
    age::idle,
    age::lifetime,
    age::messages,
    late::answers,
    burst::limit,
    burst::banned,
    burst::gone,
    burst::interrupted,
];

/// Those that can be the matter with any datagram, and explain what no other does.
const GENERAL: [Family; 2] = [rate::limit, rate::loss];

/// The causes of what failed, the one that explains most first.
pub(in crate::check::datagram) fn infer(facts: &Facts, findings: &Findings) -> Vec<Diagnosis> {
    let special = SPECIAL.iter().filter_map(|family| family(facts, findings));
    let mut all: Vec<_> = special.collect();
    let proved = all.iter().filter(|at| at.confidence == Confidence::Certain);
    let explained: Vec<_> = proved.flat_map(|at| at.explains.clone()).collect();
    let open = facts.without(&explained);
    all.extend(GENERAL.iter().filter_map(|family| family(&open, findings)));
    pick(&facts.clauses(|_| true), all)
}
