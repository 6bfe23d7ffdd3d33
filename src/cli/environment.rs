//! The environment variables that set the server's options.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Arg;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::Error;
use crate::base;
use crate::base::address::Address;
use crate::base::escape::escape;

/// A variable that is set.
struct Variable {
    name: String,
    value: OsString,
    /// The option as clap shows it: `--grace <DURATION>`.
    option: String,
    /// It takes no value on the command line.
    is_flag: bool,
}

/// Lets an option be set by a variable: `--max-connections` by `ECHOPOOL_MAX_CONNECTIONS`.
/// Excludes help and the options of the log level, which `RUST_LOG` sets.
pub(super) fn with_variable(option: Arg) -> Arg {
    match option.get_long() {
        Some(long) if !["help", "verbose", "quiet"].contains(&long) => {
            let name = long.to_uppercase().replace('-', "_");
            option.env(format!("ECHOPOOL_{name}"))
        }
        _ => option,
    }
}

/// Prints which variables caused an error of clap.
pub(super) fn note_misuse(error: &clap::Error, command: clap::Command) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    note(command, |variable| match error.kind() {
        // For this error clap does not name the option.
        ErrorKind::InvalidUtf8 => variable.value.to_str().is_none(),
        _ => {
            // The value may be one of a list separated by commas.
            let has_it = |text: &str| text.split(',').chain([text]).any(|part| part == value);
            option == Some(&*variable.option) && variable.value.to_str().is_some_and(has_it)
        }
    });
}

/// Prints which variables name the host that could not be resolved: a word that is meant
/// to switch an option on is read as a host name.
pub(super) fn note_failure(error: &Error, command: clap::Command) {
    let Some(base::error::Error::Resolve { host, .. }) = error.base() else {
        return;
    };
    note(command, |variable| {
        let value = variable.value.to_string_lossy();
        let mut addresses = value.split(',').filter_map(|text| text.parse().ok());
        addresses.any(|address: Address| address.host() == Some(host))
    });
}

/// Prints a note for each variable that `is_meant` selects.
fn note(command: clap::Command, is_meant: impl Fn(&Variable) -> bool) {
    for variable in all(command).iter().filter(|variable| is_meant(variable)) {
        let Variable { name, option, .. } = variable;
        let value = escape(variable.value.to_string_lossy().as_bytes());
        let advice = match variable.is_flag {
            true => "make it true or false, or unset it",
            false => "correct or unset it",
        };
        let _ = writeln!(
            io::stderr(),
            "note: the environment has {name}={value} for {option}: {advice}"
        );
    }
}

/// All variables that are set and belong to an option.
fn all(mut command: clap::Command) -> Vec<Variable> {
    command.build();
    let options = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let variable = |option: &Arg| {
        let name = option.get_env()?.to_str()?;
        Some(Variable {
            name: name.to_owned(),
            value: std::env::var_os(name)?,
            option: option.to_string(),
            is_flag: !option.get_action().takes_values(),
        })
    };
    options.filter_map(variable).collect()
}
