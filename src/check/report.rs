//! What a check saw: the shape of its JSON, too. Keys carry their units.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::plan::Plan;
use crate::base::units;

/// The name and version of the JSON format; the number grows when a reader of
/// the one before would be misled.
pub const FORMAT: &str = "echopool-check/1";

/// What came of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It was not tried, or can't be told.
    Skip,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            // The eye looks for it.
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}

/// One clause, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The clause's name.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, or why it was skipped.
    pub seen: String,
    /// What a failure usually means; nothing unless it failed.
    pub usually: Option<&'static str>,
    /// Where it is written that it must hold.
    pub rfc: &'static str,
    /// How long it took.
    pub elapsed_ns: u64,
}

/// One line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<16}  {}", self.verdict, self.name, self.seen)?;
        match self.usually {
            Some(usually) => write!(f, "; usually {usually}"),
            None => Ok(()),
        }
    }
}

/// A whole check.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The server's addresses.
    pub addresses: Vec<String>,
    /// `echo`, `counted` or `whoami`.
    pub protocol: String,
    /// Clauses that hold.
    pub passed: usize,
    /// Clauses that do not.
    pub failed: usize,
    /// Clauses that were not tried, or can't be told.
    pub skipped: usize,
    /// It was stopped before every clause had its turn.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed_ns: u64,
    /// Every clause that had its turn, in order.
    pub clauses: Vec<Outcome>,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        clauses: Vec<Outcome>,
        elapsed: Duration,
        interrupted: bool,
    ) -> Self {
        let count = |verdict| clauses.iter().filter(|at| at.verdict == verdict).count();
        Self {
            format: FORMAT,
            addresses: plan.addresses.iter().map(ToString::to_string).collect(),
            protocol: plan.protocol.to_string(),
            passed: count(Verdict::Pass),
            failed: count(Verdict::Fail),
            skipped: count(Verdict::Skip),
            interrupted,
            elapsed_ns: nanoseconds(elapsed),
            clauses,
        }
    }

    /// Whether every clause was skipped: nothing speaks against the path, or for it.
    pub const fn proves_nothing(&self) -> bool {
        self.passed == 0 && self.failed == 0 && !self.interrupted
    }
}

/// The last line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed, self.failed, self.skipped);
        let time = units::duration(Duration::from_nanos(self.elapsed_ns));
        write!(
            f,
            "{passed} passed, {failed} failed, {skipped} skipped in {time}"
        )?;
        if self.interrupted {
            f.write_str(", interrupted before the others")?;
        }
        if self.proves_nothing() {
            f.write_str(", so nothing was proved")?;
        }
        Ok(())
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
