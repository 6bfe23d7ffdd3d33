//! Negative values: clap takes the `-1s` of `--timeout -1s` for an option, and its error says
//! nothing of the value.

use std::ffi::OsString;

use clap::Command;

/// Joins each option that needs a value with a negative one behind it, `--timeout=-1s`, so that
/// the error is that of the value and says what would do.
pub(super) fn joined(
    arguments: impl IntoIterator<Item = OsString>,
    program: &Command,
) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut command = None;
    let mut is_over = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        let before = joined.last().map(|last| last.to_string_lossy());
        let needs = |option: &str| command.is_some_and(|command| needs_value(command, option));
        if !is_over && is_negative(&text) && before.is_some_and(|option| needs(&option)) {
            if let Some(last) = joined.last_mut() {
                last.push("=");
                last.push(&argument);
            }
            continue;
        }
        command = command.or_else(|| program.find_subcommand(&argument));
        is_over |= text == "--";
        joined.push(argument);
    }
    joined
}

/// Whether it is a number below zero, with or without a unit. `-4` and `-6` are options as well,
/// but not where a value must come.
fn is_negative(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or_default();
    number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

/// Whether this is an option, or short ones in one, whose value is the next argument.
fn needs_value(command: &Command, option: &str) -> bool {
    let mut all = command.get_arguments().filter(|argument| {
        let values = argument.get_num_args();
        argument.get_action().takes_values() && values.is_none_or(|range| range.min_values() > 0)
    });
    match option.strip_prefix("--") {
        Some(long) => all.any(|argument| argument.get_long() == Some(long)),
        None => option.strip_prefix('-').is_some_and(|shorts| {
            let last = shorts.chars().next_back();
            let letters = shorts.chars().all(|c| c.is_ascii_alphabetic());
            letters
                && all
                    .any(|argument| argument.get_short().is_some() && argument.get_short() == last)
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn a_negative_value_belongs_to_the_option_that_needs_one() {
        let flag = Arg::new("q").short('q').action(ArgAction::SetTrue);
        let time = Arg::new("time").short('t').long("time");
        let udp = Arg::new("udp").long("udp").num_args(0..=1);
        let v4 = Arg::new("v4").short('4').action(ArgAction::SetTrue);
        let ping = Command::new("ping").args([flag, time, udp, v4, Arg::new("address")]);
        let program = Command::new("p").subcommand(ping);
        for (arguments, same) in [
            ("p ping --time -1s h", "p ping --time=-1s h"),
            ("p ping -t -.5 h", "p ping -t=-.5 h"),
            ("p ping -qt -5k/s h", "p ping -qt=-5k/s h"),
            ("p ping --time 1s -4 h", "p ping --time 1s -4 h"),
            ("p ping --udp -4 h", "p ping --udp -4 h"),
            ("p ping -q -4 h", "p ping -q -4 h"),
            ("p ping --time -q", "p ping --time -q"),
            ("p ping -- --time -1", "p ping -- --time -1"),
            ("p ping h -1s", "p ping h -1s"),
        ] {
            let found = joined(arguments.split(' ').map(OsString::from), &program);
            assert_eq!(found.join(&OsString::from(" ")), *same, "{arguments}");
        }
    }
}
