//! The clauses of `echopool check`: their names, which are chosen, and what each proves.

use super::exit::usage_error;
use crate::base::error::Error;
use crate::base::output::Output;
use crate::check::{Clause, clauses, datagram};
use crate::proto::Protocol;

/// What is said of a clause.
pub(super) trait About {
    /// Its name, what it proves, what a failure usually means, and the standard.
    fn about(&self) -> [&'static str; 4];

    fn name(&self) -> &'static str {
        self.about()[0]
    }
}

impl About for Clause {
    fn about(&self) -> [&'static str; 4] {
        [self.name, self.proves, self.usually, self.rfc]
    }
}

impl About for datagram::Clause {
    fn about(&self) -> [&'static str; 4] {
        [self.name, self.proves, self.usually, self.rfc]
    }
}

/// The names of the clauses of all protocols, each once.
pub(super) fn names() -> Vec<&'static str> {
    let all = Protocol::ALL.map(clauses).into_iter().flatten();
    let all = all.map(About::name);
    let mut names = Vec::new();
    for name in all.chain(datagram::clauses().iter().map(About::name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The clauses chosen by `--only` and `--skip`. Ends the program as for wrong usage where
/// they name an unknown clause or leave none.
pub(super) fn chosen<C: About>(
    all: &'static [C],
    protocol: &str,
    only: &[String],
    skip: &[String],
) -> Vec<&'static C> {
    let is_of = |name: &String| all.iter().any(|clause| clause.name() == name);
    if let Some(name) = only.iter().chain(skip).find(|name| !is_of(name)) {
        let names: Vec<_> = all.iter().map(About::name).collect();
        let names = names.join(", ");
        usage_error(&format!(
            "the {protocol} protocol has no clause '{name}', but {names}"
        ));
    }
    let is_among = |names: &[String], clause: &C| names.iter().any(|at| at == clause.name());
    let chosen = all
        .iter()
        .filter(|clause| (only.is_empty() || is_among(only, clause)) && !is_among(skip, clause));
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        usage_error("--only and --skip leave no clause to check");
    }
    chosen
}

/// Writes what each clause proves.
pub(super) fn list<C: About>(clauses: &[&C]) -> Result<(), Error> {
    Output::Standard.write(|to| {
        for clause in clauses {
            let [name, proves, usually, rfc] = clause.about();
            writeln!(to, "{name}: {proves} ({rfc})")?;
            writeln!(to, "    if not, usually {usually}")?;
        }
        Ok(())
    })
}
