//! Whether the clauses that lost something pass now.

use crate::check::datagram::clauses::clauses;
use crate::check::datagram::facts::{Facts, Failure};
use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::target::Target;

/// Those that failed by silence and pass now.
pub(super) fn again(
    target: &mut Target<'_>,
    facts: &Facts,
) -> Result<Vec<&'static str>, NotPassed> {
    let mut pass = Vec::new();
    for name in facts.clauses(Failure::is_silent) {
        let Some(clause) = clauses().iter().find(|clause| clause.name == name) else {
            continue;
        };
        match (clause.run)(target) {
            // One that can't tell more than that something comes back is answered.
            Ok(_) | Err(NotPassed::Skipped(_)) => pass.push(name),
            Err(NotPassed::Stopped) => return Err(NotPassed::Stopped),
            Err(NotPassed::Failed { .. }) => {}
        }
    }
    Ok(pass)
}
