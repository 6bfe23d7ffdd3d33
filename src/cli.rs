//! The command line: what is asked of which part.

mod bench;
mod check;
mod ping;
mod report;
mod serve;
mod talk;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use serde::Serialize;

use bench::Bench;
use check::Check;
use ping::Echoes;
use report::Report;
use serve::Serve;
use talk::Talk;

use crate::escape::escape;

/// TCP echo server on a fixed pool of workers, and the client that proves a path byte for byte
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
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
    Check(Check),
}

/// Parses the command line, runs what it names and prints what went wrong.
/// Returns the exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Client(talk) => talk.run(),
        Command::Bench(bench) => bench.run(),
        Command::Report(report) => report.run(),
        Command::Ping(echoes) => echoes.run(),
        Command::Check(check) => check.run(),
    };
    result.unwrap_or_else(|error| {
        // Not eprintln: it panics where standard error is closed.
        // It may quote a file that somebody else made.
        let text = escape(error.to_string().as_bytes());
        let _ = writeln!(io::stderr(), "echopool: {text}");
        ExitCode::FAILURE
    })
}

fn up_to(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(String::from("it must be longer than nothing")),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of bytes, as in `64k`, `1 MiB` or `65536`.
fn bytes(text: &str) -> Result<usize, String> {
    match parse_size::parse_size(text) {
        Ok(0) => Err(String::from("it must be more than nothing")),
        Ok(bytes) => usize::try_from(bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ends the program as clap does, where what was asked for makes no sense.
fn usage_error(text: &str) -> ! {
    clap::Error::raw(ErrorKind::ArgumentConflict, text).exit()
}

fn write_json(results: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *to, results)?;
    writeln!(to)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
