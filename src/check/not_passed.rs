//! Why a clause did not pass.

use std::time::Duration;

use super::observation::{Crowd, End, Observation};
use crate::base::units::whole;

/// Why a clause did not pass.
#[derive(Debug)]
pub(super) enum NotPassed {
    /// The path violated the clause.
    Failed {
        /// What was observed instead.
        seen: String,
        /// The usual cause, if it differs from the clause's own.
        usually: Option<&'static str>,
        /// The same as data.
        observed: Box<Observation>,
    },
    /// The clause could not be tested from here, with the reason.
    Skipped(String),
    /// The check was stopped.
    Stopped,
}

impl NotPassed {
    /// A failure with the clause's usual cause.
    pub(super) fn observed(seen: impl Into<String>, observed: Observation) -> Self {
        Self::Failed {
            seen: seen.into(),
            usually: None,
            observed: Box::new(observed),
        }
    }

    /// A failure with the clause's usual cause, and nothing known but how it ended.
    pub(super) fn ended(seen: impl Into<String>, end: End) -> Self {
        Self::observed(seen, Observation::ended(end))
    }

    /// The same, prefixed with where it was seen: `connection 9 of 64: reset after ...`.
    pub(super) fn at(self, place: &str) -> Self {
        let mut this = self;
        if let Self::Failed { seen, .. } = &mut this {
            *seen = format!("{place}: {seen}");
        }
        this
    }

    /// The same, with more that was seen.
    pub(super) fn followed_by(self, more: &str) -> Self {
        let mut this = self;
        if let Self::Failed { seen, .. } = &mut this {
            seen.push_str(more);
        }
        this
    }

    /// The same, of a connection's place among `number`, from 0.
    pub(super) fn at_connection(self, at: usize, number: usize) -> Self {
        let mut this = self.at(&ordinal(at, number));
        if let Self::Failed { observed, .. } = &mut this {
            observed.place = Some((at + 1, number));
        }
        this
    }

    /// The same, beside so many connections that were served, of as many more as were tried then
    /// and of those of them that were served as well.
    pub(super) fn of_crowd(self, served: usize, (tried, more): (usize, usize)) -> Self {
        let mut this = self;
        if let Self::Failed { seen, observed, .. } = &mut this {
            let [was, beyond] = [served, more].map(|number| whole(number as u64));
            let tried_beyond = whole(tried as u64);
            *seen = format!(
                "{seen}; {was} were served, and beside them {beyond} of {tried_beyond} more"
            );
            observed.crowd = Some(Crowd { served, more });
        }
        this
    }

    /// The same, of a message of so many bytes.
    pub(super) fn at_message(self, size: u64) -> Self {
        let mut this = self.at(&format!("a message of {} bytes", whole(size)));
        if let Self::Failed { observed, .. } = &mut this {
            observed.message = Some(size);
        }
        this
    }

    /// The same, of a connection that was held silent before.
    pub(super) fn after_silence(self, silence: Duration) -> Self {
        let silence = humantime::format_duration(silence);
        let mut this = self.at(&format!("after {silence} of silence"));
        if let Self::Failed { observed, .. } = &mut this {
            observed.held_silent = true;
        }
        this
    }

    /// The same, with the clause's usual cause: for clauses that are about connections
    /// being made at all.
    pub(super) fn with_cause_of_clause(self) -> Self {
        match self {
            Self::Failed { seen, observed, .. } => Self::Failed {
                seen,
                usually: None,
                observed,
            },
            other => other,
        }
    }
}

/// `connection 9 of 64`, from an index that starts at 0.
fn ordinal(at: usize, number: usize) -> String {
    let (at, number) = (at as u64 + 1, number as u64);
    format!("connection {} of {}", whole(at), whole(number))
}
