//! How a clause ends other than well.

/// Why a clause did not pass.
#[derive(Debug)]
pub(super) enum Ended {
    /// The path did not do what it should.
    Failed {
        /// What was seen instead.
        seen: String,
        /// What that usually means, where it is not what the clause's failures mean.
        usually: Option<&'static str>,
    },
    /// Whether it holds can't be told from here, and why.
    Skipped(String),
    /// The check was stopped.
    Stopped,
}

impl Ended {
    /// A failure that means what the clause's failures mean.
    pub(super) fn failed(seen: impl Into<String>) -> Self {
        Self::Failed {
            seen: seen.into(),
            usually: None,
        }
    }

    /// The same, with where it was said first: `connection 9 of 64: reset after ...`.
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Failed { seen, usually } => Self::Failed {
                seen: format!("{place}: {seen}"),
                usually,
            },
            other => other,
        }
    }

    /// The same, and it means what the clause's failures mean: that no connection
    /// is made is just what it is about.
    pub(super) fn by_clause(self) -> Self {
        match self {
            Self::Failed { seen, .. } => Self::failed(seen),
            other => other,
        }
    }
}
