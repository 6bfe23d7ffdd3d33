//! A clause: one promise of a faithful path for datagrams, and how to test it.

use super::not_passed::NotPassed;
use super::target::Target;

/// One promise of a faithful path for datagrams, and how to test it.
#[derive(Debug)]
pub struct Clause {
    /// Its name on the command line: lower case, with hyphens.
    pub name: &'static str,
    /// What it proves, in one line.
    pub proves: &'static str,
    /// The usual cause of a failure; it reads on from "usually".
    pub usually: &'static str,
    /// The standard that demands it.
    pub rfc: &'static str,
    /// Tests it. Returns what was observed.
    pub(super) run: fn(&mut Target<'_>) -> Result<String, NotPassed>,
}
