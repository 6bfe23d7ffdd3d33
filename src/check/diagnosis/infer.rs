//! The list of causes, and which of them are reported.

use super::pick::pick;
use super::refute::weighed;
use super::{
    answer, begun, crowd, cut, foreign, full, guard, held, loss, other_end, reach, several, size,
    values,
};
use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::Findings;

/// A cause that may be the matter, with all that it would explain.
type Family = fn(&Facts, &Findings) -> Option<Diagnosis>;

const FAMILIES: [Family; 30] = [
    reach::not_connected,
    answer::nobody_behind,
    answer::not_an_echo,
    answer::lost,
    several::several,
    reach::gone,
    guard::banned,
    size::black_hole,
    cut::quota,
    cut::messages,
    cut::lifetime,
    cut::idle,
    crowd::limit,
    crowd::rate,
    crowd::queue,
    other_end::half_close,
    other_end::urgent,
    values::changed,
    values::ended,
    values::damaged,
    held::lines,
    held::stored,
    held::small_writes,
    held::first_late,
    begun::lost,
    loss::loss,
    full::unread,
    full::stalls,
    foreign::bytes_of_others,
    foreign::translated,
];

/// The causes of what failed, the one that explains most first.
pub(in crate::check) fn infer(facts: &Facts, findings: &Findings) -> Vec<Diagnosis> {
    let failed: Vec<_> = facts.clauses(|_| true);
    let candidates = FAMILIES.iter().filter_map(|family| family(facts, findings));
    let standing = candidates.filter_map(|cause| weighed(cause, facts, findings));
    pick(&failed, standing.collect())
}
