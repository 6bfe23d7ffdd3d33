//! `echopool report`.

use std::io::{self, Write};
use std::path::Path;

use clap::{Args, ValueHint};

use super::error::Error;
use super::exit::Exit;
use super::json::write_json;
use super::outputs::check_distinct;
use crate::base;
use crate::base::output::Output;
use crate::bench::results::Results;
use crate::report::{self, Run, compare, html, merge, read, text};

/// Show, compare or merge results of echopool bench
///
/// One file is shown as text, several side by side with their ratios to the first. With
/// --merge they become one run, as if one machine had made all of the load.
#[derive(Debug, Args)]
#[command(after_long_help = "\
FILE is what 'echopool bench --json FILE' or 'echopool report --merge' wrote; - is standard input.

Only runs that made their load together, at the same time, are parts of one: --merge adds their \
rates, and the counts of their histograms, which is exact. It refuses runs that differ in load, \
message size, depth, pace, duration or --reconnect.

Examples:
  echopool report run.json                         one run as text
  echopool report before.json after.json           two runs side by side
  echopool report --merge -o all.json host-*.json  one run made by several hosts

Exit codes:
  0    all was read and written
  1    it was not
  2    wrong usage")]
pub(super) struct ReportArgs {
    /// Results of a run, as JSON
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required = true)]
    files: Vec<String>,

    /// Also write a page with charts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<Output>,

    /// Add up the runs, and write the sum as JSON
    #[arg(long)]
    merge: bool,

    /// Where to write the merged JSON [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "merge")]
    output: Option<Output>,
}

impl ReportArgs {
    pub(super) fn run(&self) -> Result<Exit, Error> {
        self.check();
        self.check_outputs()?;
        let mut runs = names(&self.files)
            .into_iter()
            .zip(&self.files)
            .map(|(name, file)| read::read(file).map(|results| Run { name, results }))
            .collect::<Result<Vec<_>, _>>()?;
        if self.merge {
            let results = merge::merge(&runs).map_err(report::error::Error::from)?;
            self.write_merged(&results)?;
            runs = vec![Run {
                name: String::from("merged"),
                results,
            }];
        }
        if let Some(output) = &self.html {
            output.write(|to| match &*runs {
                [run] => html::write(&run.results, to),
                _ => html::write_comparison(&runs, to),
            })?;
        }
        if !self.takes_standard_output() {
            Output::Standard.write(|to| show(&runs, to))?;
        }
        Ok(Exit::Success)
    }

    /// Ends the program as for wrong usage where the merged run and the page both go to the
    /// same place.
    fn check(&self) {
        let merged = self.merge.then(|| ("--merge", self.merged_output()));
        let page = self.html.as_ref().map(|output| ("--html", output));
        let outputs: Vec<_> = merged.into_iter().chain(page).collect();
        check_distinct(&outputs);
    }

    /// Checks that every output can be written, before one of them is.
    fn check_outputs(&self) -> Result<(), base::error::Error> {
        let text = (!self.takes_standard_output()).then_some(&Output::Standard);
        let merged = self.merge.then(|| self.merged_output());
        let outputs = [text, merged, self.html.as_ref()];
        outputs.into_iter().flatten().try_for_each(Output::check)
    }

    fn merged_output(&self) -> &Output {
        self.output.as_ref().unwrap_or(&Output::Standard)
    }

    fn write_merged(&self, results: &Results) -> Result<(), base::error::Error> {
        self.merged_output().write(|to| write_json(results, to))
    }

    /// Whether JSON or a page goes to standard output, so that no text may.
    fn takes_standard_output(&self) -> bool {
        let merged = self.merge && self.output.is_none();
        let outputs = [&self.output, &self.html];
        merged
            || outputs
                .into_iter()
                .flatten()
                .any(|output| *output == Output::Standard)
    }
}

/// Writes one run as text, or several side by side.
fn show(runs: &[Run], to: &mut dyn Write) -> io::Result<()> {
    match runs {
        [run] => text::write(&run.results, to),
        _ => compare::write(runs, to),
    }
}

/// Names of the files: their stems if these differ, else their paths.
fn names(files: &[String]) -> Vec<String> {
    let stem = |file: &String| {
        let stem = Path::new(file).file_stem();
        stem.map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned())
    };
    let stems: Vec<_> = files.iter().map(stem).collect();
    let apart = stems.iter().collect::<std::collections::HashSet<_>>().len() == stems.len();
    if apart { stems } else { files.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_used_where_it_distinguishes_files() {
        let names =
            |files: &[&str]| names(&files.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["runs/a.json", "b.json", "-"]), ["a", "b", "-"]);
        assert_eq!(names(&["x/a.json", "y/a.json"]), ["x/a.json", "y/a.json"]);
    }
}
