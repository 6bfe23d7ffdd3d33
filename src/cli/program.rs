//! The command line: what is asked of which part.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::bench::Bench;
use super::check::Check;
use super::completions::Completions;
use super::exit::{self, Exit};
use super::manual::Manual;
use super::ping::Echoes;
use super::report::Report;
use super::serve::Serve;
use super::talk::Talk;
use super::variable;
use crate::base::escape::escape;

/// TCP echo server on a fixed pool of workers, and the client that proves a path byte for byte
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    Client(Talk),
    Bench(Box<Bench>),
    Report(Report),
    Ping(Echoes),
    #[command(name = "man")]
    Manual(Manual),
    Completions(Completions),
    Check(Check),
}

/// Parses the command line, runs what it names and prints what went wrong.
/// Returns the exit code.
pub fn main() -> ExitCode {
    let command = parse().command;
    let serves = matches!(command, Command::Serve(_));
    let result = match command {
        Command::Serve(serve) => serve.run(),
        Command::Client(talk) => talk.run(),
        Command::Bench(bench) => bench.run(),
        Command::Report(report) => report.run(),
        Command::Ping(echoes) => echoes.run(),
        Command::Check(check) => check.run(),
        Command::Manual(manual) => manual.run(self::command()),
        Command::Completions(completions) => completions.run(self::command()),
    };
    let exit = result.unwrap_or_else(|error| {
        let exit = Exit::from(&error);
        if exit == Exit::Failure {
            // Not eprintln: it panics where standard error is closed.
            // It may quote a file that somebody else made.
            let text = escape(error.to_string().as_bytes());
            let _ = writeln!(io::stderr(), "echopool: {text}");
            if serves {
                variable::note_failure(&error, self::command());
            }
        }
        exit
    });
    exit.into()
}

/// The command line, with the environment variables of the server's options.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("serve", |serve| serve.mut_args(variable::of))
}

/// Ends the program where it is asked for help or is used wrongly. What is wrong
/// may come from a variable, which clap does not tell.
fn parse() -> Cli {
    let parsed = command().try_get_matches();
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| {
        let _ = error.print();
        if error.use_stderr() {
            variable::note_misuse(&error, command());
        }
        exit::with_code_of(&error)
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
