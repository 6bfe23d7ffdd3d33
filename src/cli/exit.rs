//! The exit codes of all commands, and what each way to end means.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::error::ErrorKind as UsageError;
use rustyline::error::ReadlineError;

use super::error::Error;
use crate::base;
use crate::base::signals::INTERRUPTED;
use crate::client;

/// How a command ended. Wrong usage, code 2, ends the program where it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All is well.
    Success,
    /// Something failed, or is not as it should be.
    Failure,
    /// A condition of `--expect` did not hold, or a stopping server cut connections.
    Unmet,
    /// A person interrupted it before it knew.
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
        match error.base() {
            // Whoever read our output has seen enough.
            Some(base::error::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Self::Success
            }
            _ => Self::Failure,
        }
    }
}

/// Ends the program as clap does, where what was asked for makes no sense.
pub(super) fn usage_error(text: &str) -> ! {
    clap::Error::raw(UsageError::ArgumentConflict, text).exit()
}

/// Ends the program with the code of an error of clap's that was printed: 2 for wrong
/// usage, 0 for what was asked for, such as help.
pub(super) fn with_code_of(error: &clap::Error) -> ! {
    std::process::exit(error.exit_code())
}
