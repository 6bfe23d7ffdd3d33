//! The values of options: how counts, sizes, rates, times and lists are read in every command.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};

use crate::base::address::{Address, BadAddress};
use crate::base::units;

/// The longest time: three years, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(100_000_000);

/// The longest message, in bytes: 4 GiB.
const MESSAGE_MAX: usize = 1 << 32;

/// The rates that are accepted, in messages a second: from one message in eleven days to
/// more than any machine sends. Beyond them the time between two messages overflows, or
/// counting the messages that could not be sent takes longer than the run.
const RATES: RangeInclusive<f64> = 1e-6..=1e8;

/// A whole number within `range`, as in `1000`, `50k` or `2M`.
pub(super) fn count<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| match whole(text.trim()) {
        Some(number) if range.contains(&number) => T::try_from(number).map_err(|_| out_of(&range)),
        Some(_) => Err(out_of(&range)),
        None => Err(String::from(
            "it must be a whole number, such as 1000, 50k or 2M",
        )),
    }
}

/// A count that limits something.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    count(1..=usize::MAX as u64)(text).map_err(|error| match whole(text.trim()) {
        Some(0) => format!("{error}; leave the option out to set no limit"),
        _ => error,
    })
}

/// The number in `1000`, `50k` or `1.5M`; `None` where it is not whole or too large.
fn whole(text: &str) -> Option<u64> {
    let (digits, factor) = units::split_factor(text);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1, 1e3 or 1e6"
    )]
    let factor = factor as u64;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    // Of a number above 2^64 it is said that it is out of the range.
    let whole = whole
        .parse::<u64>()
        .unwrap_or(u64::MAX)
        .saturating_mul(factor);
    let tenths = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    match fraction.is_empty() {
        true => Some(whole),
        false if factor.is_multiple_of(tenths) => {
            let part = fraction.parse::<u64>().ok()? * (factor / tenths);
            Some(whole.saturating_add(part))
        }
        false => None,
    }
}

fn out_of(range: &RangeInclusive<u64>) -> String {
    let least = units::whole(*range.start());
    match *range.end() {
        u64::MAX => format!("it must be {least} or more"),
        most => format!("it must be from {least} to {}", units::whole(most)),
    }
}

/// A time, as in `250ms`, `1m 30s` or, in seconds, `1.5`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let time = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match time {
        Some(time) if time <= LONGEST => Ok(time),
        Some(_) => Err(String::from("it must be at most three years")),
        None => Err(String::from(
            "it must be a time, such as 250ms, 1.5s, 2m or 1h 30m; seconds without a unit",
        )),
    }
}

/// A time that is not zero.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err(String::from("it must be longer than 0s")),
        time => Ok(time),
    }
}

/// A time that limits something.
pub(super) fn time_limit(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err(String::from(
            "it must be longer than 0s; leave the option out to set no limit",
        )),
        time => Ok(time),
    }
}

/// A number of bytes from 1 to `most`, as in `64k`, `1 MiB` or `65536`.
pub(super) fn bytes(most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let size = parse_size::parse_size(text.trim()).map_err(|_| {
            String::from("it must be a number of bytes, such as 65536, 64k or 16MiB")
        })?;
        match usize::try_from(size) {
            Ok(size) if (1..=most).contains(&size) => Ok(size),
            _ => Err(out_of(&(1..=most as u64)) + " bytes"),
        }
    }
}

/// A message size in bytes, or two with `..` between them.
pub(super) fn sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let one = bytes(MESSAGE_MAX);
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (one(least)?, one(most)?),
        None => (one(text)?, one(text)?),
    };
    match least <= most {
        true => Ok(least..=most),
        false => Err(format!(
            "the smaller size of a range comes first: {most}..{least}"
        )),
    }
}

/// A rate in messages a second, with or without `/s` at its end.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let (digits, factor) = units::split_factor(number);
    match digits.parse::<f64>().map(|number| number * factor) {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        Ok(_) => Err(String::from("it must be from 0.000001 to 100M a second")),
        Err(_) => Err(String::from(
            "it must be a number of messages a second, such as 1000, 50k or 0.5/s",
        )),
    }
}

/// What a source of datagrams may send a second; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UdpRate(pub(super) Option<u32>);

/// Reads a whole number of datagrams a second, or `off`.
pub(super) fn udp_rate(text: &str) -> Result<UdpRate, String> {
    let text = text.trim();
    if text == "off" {
        return Ok(UdpRate(None));
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    match count(1..=1_000_000_000)(number) {
        Ok(rate) => Ok(UdpRate(Some(rate))),
        Err(error) => Err(format!("{error}, or off")),
    }
}

/// An address of a list, with or without blanks around it.
pub(super) fn address(text: &str) -> Result<Address, BadAddress> {
    text.trim().parse()
}

/// One of these names, with or without blanks around it.
#[derive(Clone)]
pub(super) struct OneOf(pub(super) Vec<&'static str>);

impl TypedValueParser for OneOf {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        option: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let value = value.to_string_lossy();
        PossibleValuesParser::new(&self.0).parse_ref(command, option, value.trim().as_ref())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_may_have_a_factor() {
        let count = count::<u32>(1..=2_000_000);
        for (text, number) in [
            ("1", 1),
            (" 1000 ", 1000),
            ("5k", 5000),
            ("5K", 5000),
            ("1.5k", 1500),
            ("0.25k", 250),
            ("2M", 2_000_000),
            ("1.0", 1),
        ] {
            assert_eq!(count(text), Ok(number), "{text}");
        }
        for bad in [
            "", "k", "many", "-1", "+1", "1.5", "1.2345k", "1e3", ".5k", "5.", "1 000",
        ] {
            let error = count(bad).unwrap_err();
            assert!(
                error.starts_with("it must be a whole number, such as"),
                "{bad}: {error}"
            );
        }
        for bad in ["0", "2.1M", "99999999999999999999", "18446744073709551616k"] {
            let error = count(bad).unwrap_err();
            assert_eq!(error, "it must be from 1 to 2,000,000", "{bad}");
        }
    }

    #[test]
    fn a_rate_of_datagrams_is_whole_or_off() {
        for (text, rate) in [("2000/s", 2000), ("5k", 5000), (" 1 ", 1)] {
            assert_eq!(udp_rate(text), Ok(UdpRate(Some(rate))), "{text}");
        }
        assert_eq!(udp_rate("off"), Ok(UdpRate(None)));
        for bad in ["0", "1.5/s", "many", "", "-1"] {
            let error = udp_rate(bad).unwrap_err();
            assert!(error.ends_with(", or off"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_left_out() {
        assert_eq!(limit("5k"), Ok(5000));
        let error = limit("0").unwrap_err();
        assert_eq!(
            error,
            "it must be 1 or more; leave the option out to set no limit"
        );
        let error = time_limit("0").unwrap_err();
        assert!(
            error.ends_with("leave the option out to set no limit"),
            "{error}"
        );
    }

    #[test]
    fn a_time_without_a_unit_is_in_seconds() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("1.5s", 1500),
            ("1m 30s", 90_000),
            ("5", 5000),
            ("0.2", 200),
            (" 2 m ", 120_000),
            ("0", 0),
        ] {
            assert_eq!(
                time(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for bad in [
            "",
            "soon",
            "-1",
            "-1s",
            "nan",
            "inf",
            "1h30",
            "5 lightyears",
        ] {
            let error = time(bad).unwrap_err();
            assert!(
                error.starts_with("it must be a time, such as"),
                "{bad}: {error}"
            );
        }
        assert_eq!(time("4y").unwrap_err(), "it must be at most three years");
        assert_eq!(some_time("0").unwrap_err(), "it must be longer than 0s");
    }

    #[test]
    fn a_size_has_a_unit_or_two_ends() {
        assert_eq!(sizes("64"), Ok(64..=64));
        assert_eq!(sizes("16KiB"), Ok(16384..=16384));
        assert_eq!(sizes("2k"), Ok(2000..=2000));
        assert_eq!(sizes("1..1024"), Ok(1..=1024));
        assert_eq!(sizes("1 .. 1k"), Ok(1..=1000));
        for (bad, words) in [
            ("", "it must be a number of bytes, such as"),
            ("x", "it must be a number of bytes, such as"),
            ("-1", "it must be a number of bytes, such as"),
            ("..", "it must be a number of bytes, such as"),
            ("0", "it must be from 1 to 4,294,967,296 bytes"),
            ("1..0", "it must be from 1 to 4,294,967,296 bytes"),
            ("5..4", "the smaller size of a range comes first: 4..5"),
        ] {
            let error = sizes(bad).unwrap_err();
            assert!(error.starts_with(words), "{bad}: {error}");
        }
        let error = bytes(10)("11").unwrap_err();
        assert_eq!(error, "it must be from 1 to 10 bytes");
    }

    #[test]
    fn a_rate_may_have_a_unit_and_a_fraction() {
        assert_eq!(rate("50000"), Ok(50_000.0));
        assert_eq!(rate("50k/s"), Ok(50_000.0));
        assert_eq!(rate("1.5M"), Ok(1_500_000.0));
        assert_eq!(rate("0.5/s"), Ok(0.5));
        assert_eq!(rate("100M"), Ok(1e8));
        for bad in ["", "k", "x", "10kps", "10k/m"] {
            let error = rate(bad).unwrap_err();
            assert!(
                error.starts_with("it must be a number of messages a second"),
                "{bad}"
            );
        }
        for bad in ["0", "-1", "inf", "nan", "1e300", "1e-300", "101M"] {
            let error = rate(bad).unwrap_err();
            assert!(error.starts_with("it must be from 0.000001"), "{bad}");
        }
    }
}
