//! Advice in the errors of clap, for mistakes that other programs' options lead to.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options that name the listening address in other servers.
const LISTEN_OPTIONS: [&str; 5] = ["--address", "--bind", "--host", "--listen", "--addr"];

/// The options that say what to serve, and where.
const SERVED: [&str; 5] = ["--echo", "--counted", "--whoami", "--udp", "--stamp"];

/// Replaces the tip of an error by one that helps, and drops one that misleads. `program` is
/// the whole command line.
pub(super) fn improve(error: &mut clap::Error, arguments: &[String], program: &mut Command) {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let command = arguments.iter().find(|argument| !argument.starts_with('-'));
    let command = command.map_or("", |command| command);
    match tip(command, unknown, arguments) {
        Some(tip) => {
            error.remove(ContextKind::SuggestedArg);
            // clap's usage has the argument that it would have suggested.
            program.build();
            if let Some(command) = program.find_subcommand_mut(command) {
                let usage = ContextValue::StyledStr(command.render_usage());
                error.insert(ContextKind::Usage, usage);
            }
            let tip = StyledStr::from(tip);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
        // clap's tip to put `--` before a value helps only where any text is a value.
        None if command != "client" => {
            error.remove(ContextKind::Suggested);
        }
        None => {}
    }
}

/// A hint at the right argument in place of an unknown one.
fn tip(command: &str, unknown: &str, arguments: &[String]) -> Option<String> {
    let is_port = |text: &&str| text.parse::<u16>().is_ok();
    let port = match unknown {
        "-p" | "--port" => value(arguments, unknown).filter(is_port).unwrap_or("PORT"),
        _ if is_port(&unknown) => unknown,
        _ if command == "serve" && LISTEN_OPTIONS.contains(&unknown) => {
            return Some(format!(
                "the address is {}: {} HOST:PORT",
                value_of(),
                listens(arguments)
            ));
        }
        _ => return None,
    };
    Some(match command {
        "serve" => format!("the port is {}: {} {port}", value_of(), listens(arguments)),
        _ => format!("the port is part of the address: HOST:{port}"),
    })
}

/// Where `serve` takes an address.
fn value_of() -> String {
    let (last, others) = SERVED.split_last().unwrap_or((&"", &[]));
    format!("the value of {} or {last}", others.join(", "))
}

/// The option that was given for what is to be served, or that for connections.
fn listens(arguments: &[String]) -> &'static str {
    let is_given = |option: &&&str| arguments.iter().any(|argument| argument == **option);
    SERVED.iter().find(is_given).unwrap_or(&SERVED[0])
}

/// The value of an option: what is behind its `=`, or the next argument.
fn value<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    arguments
        .iter()
        .enumerate()
        .find_map(|(at, argument)| match argument.strip_prefix(option)? {
            "" => arguments.get(at + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        })
}
