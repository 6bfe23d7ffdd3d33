//! The result of a check. Its fields are the keys of the JSON; they carry their units.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::cause::{Confidence, Diagnosis};
use super::observation::Observation;
use crate::base::kernel::KernelView;
use crate::base::units;
pub(super) use crate::base::units::nanoseconds;

/// The name and version of the JSON format; the number grows when a reader of
/// the one before would be misled.
pub const FORMAT: &str = "echopool-check/1";

/// The verdict on a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It was not tested, or could not be.
    Skip,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            // Upper case, so that it stands out.
            Self::Fail => "FAIL",
            Self::Skip => "skip",
        })
    }
}

/// The outcome of one clause.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The clause's name.
    pub name: &'static str,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What was observed, or why it was skipped.
    pub seen: String,
    /// What such an end usually means; `None` unless it failed, and where it follows from
    /// a cause.
    pub usually: Option<&'static str>,
    /// The cause that it follows from, if it failed and one was found.
    pub follows_from: Option<&'static str>,
    /// The standard that demands it.
    pub rfc: &'static str,
    /// How long the test took, in nanoseconds.
    pub elapsed_ns: u64,
    /// What the system's TCP knew of the connection that the clause reports of; `None` of all
    /// clauses but `options`, and where it does not tell.
    pub tcp: Option<KernelView>,
    /// What a failed clause saw, as data.
    #[serde(skip)]
    pub(super) observed: Option<Box<Observation>>,
}

/// One line of text. What a failure means is known only once all clauses were tested.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:<16}  {}", self.verdict, self.name, self.seen)
    }
}

/// The result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always [`FORMAT`].
    pub format: &'static str,
    /// The server's addresses.
    pub addresses: Vec<String>,
    /// `echo`, `counted` or `whoami`.
    pub protocol: String,
    /// The number of clauses that hold.
    pub passed: usize,
    /// The number of clauses that do not hold.
    pub failed: usize,
    /// The number of clauses that were skipped.
    pub skipped: usize,
    /// Whether the check was stopped before every clause was tested.
    pub interrupted: bool,
    /// How long the check took, in nanoseconds.
    pub elapsed_ns: u64,
    /// The outcomes, in the order of the test.
    pub clauses: Vec<Outcome>,
    /// The causes of what failed, the one that explains most first.
    pub diagnosis: Vec<Diagnosis>,
}

impl Report {
    pub(super) fn new(
        (addresses, protocol): (&[SocketAddr], String),
        mut clauses: Vec<Outcome>,
        diagnosis: Vec<Diagnosis>,
        elapsed: Duration,
        interrupted: bool,
    ) -> Self {
        for outcome in clauses.iter_mut().filter(|at| at.verdict == Verdict::Fail) {
            let explains = |one: &&Diagnosis| one.explains.contains(&outcome.name);
            let all = diagnosis.iter().filter(explains);
            // A proved one, by which it ended, and of those the one that explains least: what
            // explains much may hide it.
            let first = all.min_by_key(|one| {
                let is_likely = one.confidence == Confidence::Likely;
                let is_hidden = one.hidden.contains(&outcome.name);
                (is_likely, is_hidden, one.explains.len())
            });
            outcome.follows_from = first.map(|one| one.cause);
            if outcome.follows_from.is_some() {
                outcome.usually = None;
            }
        }
        let count = |verdict| clauses.iter().filter(|at| at.verdict == verdict).count();
        Self {
            format: FORMAT,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            protocol,
            passed: count(Verdict::Pass),
            failed: count(Verdict::Fail),
            skipped: count(Verdict::Skip),
            interrupted,
            elapsed_ns: nanoseconds(elapsed),
            clauses,
            diagnosis,
        }
    }

    /// Writes for each failed clause what it follows from, and each cause; for one without,
    /// what its end usually means.
    fn write_reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.clauses {
            match (outcome.follows_from, outcome.usually) {
                (Some(cause), _) => writeln!(f, "{}: follows from {cause}", outcome.name)?,
                (None, Some(usually)) => writeln!(f, "{}: usually {usually}", outcome.name)?,
                (None, None) => {}
            }
        }
        for cause in &self.diagnosis {
            writeln!(f, "{cause}")?;
        }
        Ok(())
    }

    /// Whether every clause was skipped, so that nothing is known about the path.
    pub const fn proves_nothing(&self) -> bool {
        self.passed == 0 && self.failed == 0 && !self.interrupted
    }
}

/// What the failures mean, and the summary line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed, skipped) = (self.passed, self.failed, self.skipped);
        let time = units::duration(Duration::from_nanos(self.elapsed_ns));
        self.write_reasons(f)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_follows_from_the_proved_cause_that_explains_least() {
        let outcome = |name| Outcome {
            name,
            verdict: Verdict::Fail,
            seen: String::new(),
            usually: Some("something"),
            follows_from: None,
            rfc: "",
            elapsed_ns: 0,
            tcp: None,
            observed: None,
        };
        let clauses = ["bytes", "urgent", "idle", "reset"].map(outcome).to_vec();
        let cause = |name, explains: &[&'static str]| {
            Diagnosis::certain(name, "text", "advice", explains.to_vec())
        };
        let causes = vec![
            cause("much", &["bytes", "urgent", "idle"]),
            cause("urgent-lost", &["urgent"]),
            cause("hidden", &[]).hiding(vec!["bytes"]),
            cause("guess", &["idle"]).likely(),
        ];
        let about = (&[][..], String::from("echo"));
        let report = Report::new(about, clauses, causes, Duration::ZERO, false);
        let follow: Vec<_> = report.clauses.iter().map(|one| one.follows_from).collect();
        let expected = [Some("much"), Some("urgent-lost"), Some("much"), None];
        assert_eq!(follow, expected);
        assert_eq!(report.clauses[0].usually, None);
        assert_eq!(report.clauses[3].usually, Some("something"));
    }
}
