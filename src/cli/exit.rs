//! The exit codes of all commands.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::error::ErrorKind as UsageError;
use rustyline::error::ReadlineError;

use super::error::Error;
use crate::base;
use crate::base::signals::INTERRUPTED;
use crate::client;

/// How a command ended. Wrong usage, code 2, ends the program where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The command succeeded.
    Success,
    /// The command failed, or found a fault.
    Failure,
    /// A condition of `--expect` did not hold, or a stopping server cut connections.
    Unmet,
    /// The command was interrupted before its result was known.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::Unmet => Self::from(3),
            Exit::Interrupted => Self::from(INTERRUPTED),
        }
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        if let Error::Client(client::Error::Terminal(ReadlineError::Interrupted)) = error {
            return Self::Interrupted;
        }
        if error.is_interrupted() {
            return Self::Interrupted;
        }
        match error.base() {
            // The reader of the output has closed it, which is no failure.
            Some(base::error::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Self::Success
            }
            _ => Self::Failure,
        }
    }
}

/// Ends the program as clap does for wrong usage: prints the text, a line, and exits with 2.
pub(super) fn usage_error(text: &str) -> ! {
    clap::Error::raw(UsageError::ArgumentConflict, format!("{text}\n")).exit()
}

/// Ends the program as after a failure. The message has been printed.
pub(super) fn with_failure() -> ! {
    std::process::exit(1)
}

/// Ends the program with clap's exit code: 2 for wrong usage, 0 for help and version. The
/// message has been printed.
pub(super) fn with_code_of(error: &clap::Error) -> ! {
    std::process::exit(error.exit_code())
}
