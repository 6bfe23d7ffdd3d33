//! A clause: one promise of a faithful path, and how to try it.

use super::ended::Ended;
use super::probe::Probe;

/// One promise of a faithful path, and how to try it.
#[derive(Debug)]
pub struct Clause {
    /// What it is called on the command line: lower case, with hyphens.
    pub name: &'static str,
    /// What it proves, in a line.
    pub proves: &'static str,
    /// What its failure usually means; it reads on from "usually".
    pub usually: &'static str,
    /// Where it is written that it must hold.
    pub rfc: &'static str,
    /// Tries it. Returns what was seen.
    pub(super) run: fn(&Probe<'_>) -> Result<String, Ended>,
}
