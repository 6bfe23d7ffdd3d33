//! All that the clauses saw: what causes are inferred from.

use std::time::Duration;

use super::observation::{End, NotMade, Observation};
use super::report::{Outcome, Verdict};

/// Clauses that pass where bytes come back. What is not among them passes also where none
/// does.
const CARRYING: [&str; 14] = [
    "bytes",
    "tiny-segments",
    "message-mss",
    "message-64k",
    "message-16m",
    "pipelining",
    "full-duplex",
    "half-close-early",
    "half-close-late",
    "slow-reader",
    "slow-writer",
    "small-writes",
    "connections",
    "lifetime",
];

/// What comes back on a connection that is cut off in the midst, at least: less has other
/// reasons.
pub(super) const MANY: u64 = 500;

/// So few bytes may come back right by chance, one in 256 of which is.
pub(super) const FEW: u64 = 4;

/// Clauses that have one small message on its way at a time.
pub(super) const SMALL: [&str; 4] = ["slow-writer", "small-writes", "half-close-late", "lifetime"];

/// A failed clause.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) clause: &'static str,
    pub(super) observed: Observation,
}

impl Failure {
    /// Whether it ended so, without a word.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.observed.end, End::Silence | End::Slow)
    }

    /// Whether a connection of it ended in the midst of many bytes, by RST or FIN.
    pub(super) fn is_cut_off(&self) -> bool {
        matches!(self.observed.end, End::Close | End::Reset)
            && self.observed.received >= MANY
            && !self.observed.half_closed
            && !self.observed.urgent
    }

    /// How many bytes came back right: what came with a wrong one is not received.
    pub(super) fn came(&self) -> u64 {
        match &self.observed.end {
            End::Wrong(wrong) => self.observed.received.max(wrong.at),
            _ => self.observed.received,
        }
    }

    /// Whether a half-close is what it tests.
    pub(super) fn is_of_half_close(&self) -> bool {
        self.clause.starts_with("half-close")
    }
}

/// What one connection of a passed clause bore.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Borne {
    /// How long that of `lifetime` lived since it was made, and how many messages it carried.
    pub(super) age: Option<Duration>,
    pub(super) messages: u64,
    /// The bytes that one of the largest messages carried, each way.
    pub(super) bytes: u64,
    /// How many connections of `connections` were open at once, and of `connect-storm` begun.
    pub(super) connections: usize,
    pub(super) storm: usize,
    /// How many were served at once before the clauses that need that.
    pub(super) width: usize,
    /// One was reset with more on its way than was read: a proxy may keep it.
    pub(super) left_full: bool,
    /// Whether something came back whole before the first clause.
    pub(super) echoed: bool,
    /// The longest silence of one of the former that was served behind it.
    pub(super) silence: Option<Duration>,
}

/// All that the clauses saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) failures: Vec<Failure>,
    pub(super) passed: Vec<&'static str>,
    /// How many connections were made in all, also in clauses that failed.
    pub(super) made: u64,
    pub(super) borne: Borne,
}

impl Facts {
    pub(super) fn new(outcomes: &[Outcome], made: u64, borne: Borne) -> Self {
        let failed = outcomes.iter().filter_map(|outcome| {
            let observed = outcome.observed.as_deref()?.clone();
            let clause = outcome.name;
            Some(Failure { clause, observed })
        });
        let passed = || outcomes.iter().filter(|at| at.verdict == Verdict::Pass);
        Self {
            failures: failed.collect(),
            passed: passed().map(|outcome| outcome.name).collect(),
            made,
            borne,
        }
    }

    /// Whether a clause passed that has only small messages on its way.
    pub(super) fn carries_small(&self) -> bool {
        self.passed.iter().any(|name| SMALL.contains(name))
    }

    /// The same without the failures for which that holds.
    pub(super) fn without(&self, is_it: impl Fn(&Failure) -> bool) -> Self {
        let mut facts = self.clone();
        facts.failures.retain(|failure| !is_it(failure));
        facts
    }

    pub(super) fn has_failed(&self, clause: &str) -> bool {
        self.failures.iter().any(|at| at.clause == clause)
    }

    pub(super) fn failure(&self, clause: &str) -> Option<&Failure> {
        self.failures.iter().find(|at| at.clause == clause)
    }

    /// Whether nothing that was sent has come back on any connection.
    pub(super) fn is_mute(&self) -> bool {
        let is_carried = |name: &&str| CARRYING.contains(name);
        !self.borne.echoed
            && !self.passed.iter().any(is_carried)
            && self.failures.iter().all(|at| at.came() <= FEW)
    }

    /// Whether no connection was made.
    pub(super) fn is_unconnected(&self) -> bool {
        let mut failures = self.failures.iter();
        self.passed.is_empty()
            && self.made == 0
            && failures.all(|at| matches!(at.observed.end, End::NotMade(_)))
    }

    /// Whether somebody may have answered that no connection is to be made.
    pub(super) fn is_answered(&self) -> bool {
        let is_silence = |at: &Failure| at.observed.end == End::NotMade(NotMade::Unanswered);
        !self.failures.iter().all(is_silence)
    }

    /// The clauses for which that holds.
    pub(super) fn clauses(&self, is_it: impl Fn(&Failure) -> bool) -> Vec<&'static str> {
        let some = self.failures.iter().filter(|failure| is_it(failure));
        some.map(|failure| failure.clause).collect()
    }
}

#[cfg(test)]
pub(super) mod made {
    use super::*;

    /// A failed clause that ended so.
    pub(in crate::check) fn failure(clause: &'static str, end: End) -> Failure {
        Failure {
            clause,
            observed: Observation::ended(end),
        }
    }

    /// These clauses failed, those passed.
    pub(in crate::check) fn facts(failures: &[Failure], passed: &[&'static str]) -> Facts {
        Facts {
            failures: failures.to_vec(),
            passed: passed.to_vec(),
            made: 0,
            borne: Borne::default(),
        }
    }
}
