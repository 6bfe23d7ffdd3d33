//! The list of causes, and which of them are reported.

use super::pick::pick;
use super::{crowd, cut, foreign, held, loss, other_end, reach, size, values};
use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::Findings;

/// A cause that may be the matter, with all that it would explain.
type Family = fn(&Facts, &Findings) -> Option<Diagnosis>;

const FAMILIES: [Family; 19] = [
    reach::not_connected,
    reach::nobody_behind,
    reach::not_an_echo,
    size::black_hole,
    cut::quota,
    cut::lifetime,
    cut::idle,
    crowd::limit,
    crowd::rate,
    crowd::queue,
    other_end::half_close,
    other_end::urgent,
    values::changed,
    held::lines,
    held::stored,
    held::small_writes,
    loss::loss,
    foreign::bytes_of_others,
    foreign::translated,
];

/// The causes of what failed, the one that explains most first.
pub(in crate::check) fn infer(facts: &Facts, findings: &Findings) -> Vec<Diagnosis> {
    let failed: Vec<_> = facts.clauses(|_| true);
    let candidates = FAMILIES.iter().filter_map(|family| family(facts, findings));
    pick(&failed, candidates.collect())
}
