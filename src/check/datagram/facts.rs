//! All that the clauses saw: what causes are inferred from.

use super::trouble::Trouble;

/// A failed clause.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) clause: &'static str,
    pub(super) trouble: Trouble,
}

impl Failure {
    /// Whether something that was sent did not come back, without a word.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(
            self.trouble,
            Trouble::Unanswered
                | Trouble::Lost { .. }
                | Trouble::Ports { .. }
                | Trouble::Hole { .. }
                | Trouble::Forgotten
        )
    }

    /// Whether the size of datagrams is what it tests.
    pub(super) fn is_of_size(&self) -> bool {
        ["sizes", "full-packet", "fragments", "longest", "path-mtu"].contains(&self.clause)
    }
}

/// All that the clauses saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) failures: Vec<Failure>,
    pub(super) passed: Vec<&'static str>,
}

impl Facts {
    pub(super) fn failure(&self, clause: &str) -> Option<&Failure> {
        self.failures.iter().find(|at| at.clause == clause)
    }

    /// The clauses for which that holds.
    pub(super) fn clauses(&self, is_it: impl Fn(&Failure) -> bool) -> Vec<&'static str> {
        let some = self.failures.iter().filter(|failure| is_it(failure));
        some.map(|failure| failure.clause).collect()
    }

    /// What the first clause saw of which this is something.
    pub(super) fn find<T>(&self, what: impl Fn(&Trouble) -> Option<T>) -> Option<T> {
        self.failures
            .iter()
            .find_map(|failure| what(&failure.trouble))
    }

    /// The same without these clauses.
    pub(super) fn without(&self, explained: &[&str]) -> Self {
        let open = |failure: &&Failure| !explained.contains(&failure.clause);
        Self {
            failures: self.failures.iter().filter(open).cloned().collect(),
            passed: self.passed.clone(),
        }
    }
}

#[cfg(test)]
pub(super) mod made {
    use super::*;

    /// These clauses failed so, those passed.
    pub(in crate::check::datagram) fn facts(
        failures: &[(&'static str, Trouble)],
        passed: &[&'static str],
    ) -> Facts {
        let failures = failures.iter().map(|(clause, trouble)| Failure {
            clause,
            trouble: trouble.clone(),
        });
        Facts {
            failures: failures.collect(),
            passed: passed.to_vec(),
        }
    }
}
