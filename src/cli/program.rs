//! The program: parses the command line, runs a command, prints its error.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::advice;
use super::bench::BenchArgs;
use super::check::CheckArgs;
use super::client::ClientArgs;
use super::completions::CompletionsArgs;
use super::environment;
use super::exit::{self, Exit};
use super::health::HealthArgs;
use super::manual::ManualArgs;
use super::negative;
use super::ping::PingArgs;
use super::report::ReportArgs;
use super::serve::ServeArgs;
use crate::base;
use crate::base::escape::escape;
use crate::base::logging;
use crate::base::output::Output;
use crate::base::signals::end_on_signal;

/// TCP and UDP echo server on a fixed pool of workers, and probes that verify every byte
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<ServeArgs>),
    Client(ClientArgs),
    Ping(PingArgs),
    Check(CheckArgs),
    Bench(Box<BenchArgs>),
    Report(ReportArgs),
    Completions(CompletionsArgs),
    #[command(name = "man")]
    Manual(ManualArgs),
    Health(HealthArgs),
}

/// Parses the command line, runs the command and prints its error. Returns the exit code.
pub fn main() -> ExitCode {
    end_on_signal();
    let command = parse().command;
    let serves = matches!(command, Command::Serve(_));
    let result = match command {
        Command::Serve(serve) => serve.run(&environment::unknown(self::command())),
        Command::Client(client) => client.run(),
        Command::Bench(bench) => bench.run(),
        Command::Report(report) => report.run(),
        Command::Ping(ping) => ping.run(),
        Command::Check(check) => check.run(),
        Command::Health(health) => health.run(),
        Command::Manual(manual) => manual.run(self::command()),
        Command::Completions(completions) => completions.run(self::command()),
    };
    let exit = result.unwrap_or_else(|error| {
        let exit = Exit::from(&error);
        if exit == Exit::Failure {
            // Not eprintln: it panics where standard error is closed.
            // The text may quote an untrusted file.
            let text = escape(error.to_string().as_bytes());
            let prefix = logging::error_prefix();
            let _ = writeln!(io::stderr(), "{prefix}echopool: {text}");
            if serves {
                environment::note_failure(&error, self::command());
            }
        }
        exit
    });
    exit.into()
}

/// The command line, with the environment variables of the server's options.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("serve", |serve| serve.mut_args(environment::with_variable))
}

/// Parses the command line. Ends the program for help and wrong usage. A wrong value may
/// come from a variable, which clap does not mention.
fn parse() -> Cli {
    let parsed = command().try_get_matches_from(negative::joined(std::env::args_os(), &command()));
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|mut error| {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        let arguments = arguments.iter().map(|text| text.to_string_lossy());
        let arguments: Vec<_> = arguments.map(String::from).collect();
        advice::improve(&mut error, &arguments, &mut command());
        if error.use_stderr() {
            let _ = error.print();
            environment::note_misuse(&error, command());
        } else if let Err(failure) = show(&error) {
            let _ = writeln!(io::stderr(), "echopool: {failure}");
            exit::with_failure()
        }
        exit::with_code_of(&error)
    })
}

/// Writes a text that was asked for, such as help, to standard output. Unlike clap's own
/// printing it fails where that is closed.
fn show(text: &clap::Error) -> Result<(), base::error::Error> {
    let styled = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Output::Standard.write(|to| match styled {
        true => write!(to, "{}", text.render().ansi()),
        false => write!(to, "{}", text.render()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
