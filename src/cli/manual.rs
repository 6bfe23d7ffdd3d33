//! `echopool man`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use super::error::Error;
use super::exit::Exit;
use crate::base;
use crate::base::output::Output;

/// Write the manual pages
///
/// With DIR, a page for the program and one for each command, as files for section 1.
/// Without, the program's page to standard output: echopool man | man -l -
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit codes: 0 the pages were written, 1 they were not, 2 wrong usage.")]
pub(super) struct ManualArgs {
    /// The folder they go to; it must be there
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl ManualArgs {
    pub(super) fn run(self, command: clap::Command) -> Result<Exit, Error> {
        let mut command = command.disable_help_subcommand(true);
        // Sets the name of each command to that of its page, as in echopool-serve.
        command.build();
        let Some(folder) = self.folder else {
            write(command, &Output::Standard)?;
            return Ok(Exit::Success);
        };
        let commands = command.get_subcommands().cloned().collect::<Vec<_>>();
        for each in commands.into_iter().chain([command]) {
            let name = Man::new(each.clone()).get_filename();
            write(each, &Output::Path(folder.join(name)))?;
        }
        Ok(Exit::Success)
    }
}

/// Writes the page of one command.
fn write(command: clap::Command, output: &Output) -> Result<(), base::error::Error> {
    let render = |to: &mut dyn Write| -> io::Result<()> {
        Man::new(command)
            .source(concat!("echopool ", env!("CARGO_PKG_VERSION")))
            .manual("User Commands")
            .render(to)
    };
    output.write(render)
}
