//! `echopool completions`.

use clap::Args;
use clap_complete::{Shell, generate};

use super::error::Error;
use super::exit::Exit;
use crate::base::output::Output;

/// Write the completions for a shell to standard output
#[derive(Debug, Args)]
#[command(after_long_help = "\
For this shell: source <(echopool completions bash). 'make install' and the Debian package put \
them where bash, zsh and fish look.

Exit codes: 0 they were written, 1 they were not, 2 wrong usage.")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<Exit, Error> {
        let name = command.get_name().to_owned();
        // `generate` panics when its output fails, so it writes to memory.
        let mut script = Vec::new();
        generate(self.shell, &mut command, name, &mut script);
        Output::Standard.write(|to| to.write_all(&script))?;
        Ok(Exit::Success)
    }
}
