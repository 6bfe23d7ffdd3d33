//! Why a clause did not pass.

use super::trouble::Trouble;

/// Why a clause did not pass.
#[derive(Debug)]
pub(super) enum NotPassed {
    /// The path violated the clause.
    Failed {
        /// What was observed instead.
        seen: String,
        /// The same as data.
        trouble: Trouble,
    },
    /// The clause could not be tested from here, with the reason.
    Skipped(String),
    /// The check was stopped.
    Stopped,
}

impl NotPassed {
    pub(super) fn failed(seen: impl Into<String>, trouble: Trouble) -> Self {
        Self::Failed {
            seen: seen.into(),
            trouble,
        }
    }
}
