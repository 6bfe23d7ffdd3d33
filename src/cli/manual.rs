//! `echopool man`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::error::Error;
use super::exit::Exit;
use super::page;
use crate::base::output::Output;

/// Write the manual pages
///
/// With DIR, writes a page for the program and one for each command, for section 1. Without,
/// writes the page of the program to standard output.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  echopool man | man -l -             read the page of the program
  echopool man ~/.local/share/man/man1
                                      install the pages for one user

Exit codes:
  0    the pages were written
  1    they were not
  2    wrong usage")]
pub(super) struct ManualArgs {
    /// Folder to write to; it must exist
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: Option<PathBuf>,
}

impl ManualArgs {
    pub(super) fn run(self, command: clap::Command) -> Result<Exit, Error> {
        let mut command = command.disable_help_subcommand(true);
        // Sets the name of each command to that of its page, as in echopool-serve.
        command.build();
        let write = |page: &clap::Command, output: &Output| {
            let text = page::of(page, &command);
            output.write(|to: &mut dyn Write| to.write_all(text.as_bytes()))
        };
        let Some(folder) = &self.folder else {
            write(&command, &Output::Standard)?;
            return Ok(Exit::Success);
        };
        for each in command.get_subcommands().chain([&command]) {
            let file = format!("{}.1", page::name(each));
            write(each, &Output::Path(folder.join(file)))?;
        }
        Ok(Exit::Success)
    }
}
