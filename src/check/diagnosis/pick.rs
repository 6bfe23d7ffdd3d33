//! Chooses the smallest set of causes that explains all that failed.

use crate::check::cause::{Confidence, Diagnosis};

/// Chooses from `candidates`. Each that is proved and explains something stays: a second
/// fault must not hide behind a first one. Of the others, the smallest set that explains
/// what then is left; of two such sets that of the candidates listed first. The one that
/// explains most comes first.
pub(in crate::check) fn pick(
    failed: &[&'static str],
    candidates: Vec<Diagnosis>,
) -> Vec<Diagnosis> {
    let explaining = candidates.into_iter().filter(|at| !at.explains.is_empty());
    let (mut picked, likely): (Vec<_>, Vec<_>) =
        explaining.partition(|at| at.confidence == Confidence::Certain);
    let is_open = |clause: &&&str| !picked.iter().any(|at| at.explains.contains(*clause));
    let open: Vec<_> = failed.iter().filter(is_open).copied().collect();
    let chosen = smallest(&open, &likely);
    let mut number = 0..;
    picked.extend(likely.into_iter().filter(|_| {
        let number = number.next().unwrap_or(u32::BITS);
        chosen.checked_shr(number).unwrap_or(0) & 1 == 1
    }));
    // Stable: of those that explain as much, the one listed first.
    picked.sort_by_key(|at| std::cmp::Reverse(at.explains.len()));
    picked
}

/// The set that explains most of `open` with the fewest candidates, one bit for each.
fn smallest(open: &[&str], candidates: &[Diagnosis]) -> u32 {
    let number = u32::try_from(candidates.len()).map_or(u32::BITS - 1, |all| all.min(20));
    let explained = |set: u32| {
        let is_in = |at: usize| set >> at & 1 == 1;
        let all = candidates
            .iter()
            .enumerate()
            .filter(|(at, _)| *at < 20 && is_in(*at));
        let chosen: Vec<_> = all.map(|(_, candidate)| candidate).collect();
        let is_explained = |clause: &&&str| chosen.iter().any(|at| at.explains.contains(*clause));
        open.iter().filter(is_explained).count()
    };
    let sets = 0..1_u32 << number;
    sets.min_by_key(|set| (open.len() - explained(*set), set.count_ones(), *set))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: [&str; 4] = ["bytes", "urgent", "connections", "idle"];

    fn certain(cause: &'static str, explains: &[&'static str]) -> Diagnosis {
        Diagnosis::certain(cause, "text", "advice", explains.to_vec())
    }

    fn likely(cause: &'static str, explains: &[&'static str]) -> Diagnosis {
        certain(cause, explains).likely()
    }

    fn picked(candidates: Vec<Diagnosis>) -> Vec<&'static str> {
        let picked = pick(&FAILED, candidates);
        picked.into_iter().map(|at| at.cause).collect()
    }

    #[test]
    fn one_cause_of_all_is_preferred_to_one_of_each() {
        let each = [likely("a", &["bytes"]), likely("b", &["urgent"])];
        let rest = [
            likely("c", &["connections", "idle"]),
            likely("all", &FAILED),
        ];
        assert_eq!(picked([each, rest].concat()), ["all"]);
    }

    #[test]
    fn two_overlapping_causes_are_preferred_to_three() {
        let some = [
            likely("a", &["bytes", "urgent"]),
            likely("b", &["urgent", "connections", "idle"]),
            likely("c", &["connections"]),
        ];
        assert_eq!(picked(some.to_vec()), ["b", "a"]);
    }

    #[test]
    fn a_proved_cause_stays_beside_one_that_explains_the_same() {
        let some = [certain("a", &FAILED), certain("b", &["urgent"])];
        assert_eq!(picked(some.to_vec()), ["a", "b"]);
    }

    #[test]
    fn a_guess_is_not_made_where_a_proof_explains_it() {
        let some = [
            likely("guess", &["urgent", "bytes"]),
            certain("proof", &FAILED),
        ];
        assert_eq!(picked(some.to_vec()), ["proof"]);
        let rest = [
            likely("guess", &["urgent", "bytes"]),
            certain("proof", &["bytes", "idle", "connections"]),
        ];
        assert_eq!(picked(rest.to_vec()), ["proof", "guess"]);
    }

    #[test]
    fn what_explains_nothing_is_not_reported() {
        assert_eq!(picked(vec![certain("a", &[]), likely("b", &[])]), [""; 0]);
        assert_eq!(picked(Vec::new()), [""; 0]);
        assert_eq!(picked(vec![likely("c", &["small-writes"])]), [""; 0]);
    }
}
