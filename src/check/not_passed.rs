//! Why a clause did not pass.

/// Why a clause did not pass.
#[derive(Debug)]
pub(super) enum NotPassed {
    /// The path violated the clause.
    Failed {
        /// What was observed instead.
        seen: String,
        /// The usual cause, if it differs from the clause's own.
        usually: Option<&'static str>,
    },
    /// The clause could not be tested from here, with the reason.
    Skipped(String),
    /// The check was stopped.
    Stopped,
}

impl NotPassed {
    /// A failure with the clause's usual cause.
    pub(super) fn failed(seen: impl Into<String>) -> Self {
        Self::Failed {
            seen: seen.into(),
            usually: None,
        }
    }

    /// The same, prefixed with where it was seen: `connection 9 of 64: reset after ...`.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Failed { seen, usually } => Self::Failed {
                seen: format!("{place}: {seen}"),
                usually,
            },
            other => other,
        }
    }

    /// The same, with the clause's usual cause: for clauses that are about connections
    /// being made at all.
    pub(super) fn with_cause_of_clause(self) -> Self {
        match self {
            Self::Failed { seen, .. } => Self::failed(seen),
            other => other,
        }
    }
}
