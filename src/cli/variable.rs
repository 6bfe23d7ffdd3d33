//! The environment variables that stand for options of the server.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Arg;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::Error;
use crate::base;
use crate::base::address::Address;
use crate::base::escape::escape;

/// One that is set.
struct Variable {
    name: String,
    value: OsString,
    /// The option as clap shows it: `--grace <DURATION>`.
    option: String,
    /// It takes no value on the command line.
    is_flag: bool,
}

/// `--max-connections` may also come from `ECHOPOOL_MAX_CONNECTIONS`, and so may all
/// options but those that ask for help or set the log's level, which has `RUST_LOG`.
pub(super) fn of(option: Arg) -> Arg {
    match option.get_long() {
        Some(long) if !["help", "verbose", "quiet"].contains(&long) => {
            let name = long.to_uppercase().replace('-', "_");
            option.env(format!("ECHOPOOL_{name}"))
        }
        _ => option,
    }
}

/// Names the variables that brought about what clap complains of.
pub(super) fn note_misuse(error: &clap::Error, command: clap::Command) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    note(command, |variable| match error.kind() {
        // Of these clap does not even tell the option.
        ErrorKind::InvalidUtf8 => variable.value.to_str().is_none(),
        _ => {
            // It may be one of several with commas between.
            let has_it = |text: &str| text.split(',').chain([text]).any(|part| part == value);
            option == Some(&*variable.option) && variable.value.to_str().is_some_and(has_it)
        }
    });
}

/// Names the variables with a host that the server could not make out: a word that is
/// meant to switch something on looks like one.
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

/// All that are set.
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
