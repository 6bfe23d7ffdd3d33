//! The environment variables that set the server's options.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Arg;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::Error;
use crate::base;
use crate::base::address::Address;
use crate::base::escape::escape;

/// The beginning of every variable's name.
const PREFIX: &str = "ECHOPOOL_";

/// A name that needs more edits than this to become another is not a mistyped one.
const FARTHEST: usize = 6;

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
            let name = PREFIX.to_owned() + &long.to_uppercase().replace('-', "_");
            match is_empty(&name) {
                // clap takes an empty variable for a value.
                true => option,
                false => option.env(name),
            }
        }
        _ => option,
    }
}

/// An empty variable, or one of blanks, counts as not set.
fn is_empty(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value.trim().is_empty())
}

/// A warning for each variable that belongs to no option, with the nearest one that does.
pub(super) fn unknown(mut command: clap::Command) -> Vec<String> {
    command.build();
    let options = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let known: Vec<String> = options
        .filter_map(|option| option.get_env()?.to_str().map(str::to_owned))
        .collect();
    let set = std::env::vars_os().map(|(name, value)| {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        (text(name), text(value))
    });
    let mut warnings: Vec<String> = set
        .filter(|(name, value)| is_meant_for_us(name, value) && !known.contains(name))
        .map(|(name, _)| warning(&name, &known))
        .collect();
    warnings.sort();
    warnings
}

/// Whether a user may have set this variable for the server. Kubernetes and Docker describe
/// a service named `echopool` by variables with the same beginning.
fn is_meant_for_us(name: &str, value: &str) -> bool {
    let describes_service = name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || value.contains("://");
    name.to_uppercase().starts_with(PREFIX) && !value.trim().is_empty() && !describes_service
}

fn warning(name: &str, known: &[String]) -> String {
    let nearest = |known: &&String| strsim::damerau_levenshtein(&name.to_uppercase(), known);
    let shown = escape(name.as_bytes());
    let ignored = format!("{shown} is ignored: no option has this variable");
    match known.iter().min_by_key(nearest) {
        _ if name == "ECHOPOOL_PORT" => {
            format!("{ignored}; the port is part of the address: ECHOPOOL_ECHO=PORT")
        }
        _ if ["ECHOPOOL_VERBOSE", "ECHOPOOL_QUIET", "ECHOPOOL_LOG"].contains(&name) => {
            format!("{ignored}; RUST_LOG sets what is logged: RUST_LOG=debug, RUST_LOG=warn")
        }
        Some(option) if nearest(&option) <= FARTHEST => {
            format!("{ignored}; did you mean {option}?")
        }
        _ => format!("{ignored}; 'echopool serve --help' lists them"),
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
