//! Numbers formatted for people, with a unit and three significant digits; and durations as
//! numbers.

use std::time::Duration;

/// A duration in nanoseconds, up to 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Formats a time in nanoseconds: `31.2 us`.
pub(crate) fn time(nanoseconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
    scaled(nanoseconds, &UNITS)
}

/// Formats a duration: `31.2 us`.
pub(crate) fn duration(duration: Duration) -> String {
    time(duration.as_secs_f64() * 1e9)
}

/// Formats bytes in powers of a thousand: `6.40 MB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [(f64, &str); 5] = [
        (1e12, "TB"),
        (1e9, "GB"),
        (1e6, "MB"),
        (1e3, "kB"),
        (1.0, "B"),
    ];
    scaled(bytes, &UNITS)
}

/// Formats bytes a second: `6.40 MB/s`.
pub(crate) fn throughput(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// Formats a number in the largest unit that gives 1 or more, to three digits.
fn scaled(number: f64, units: &[(f64, &str)]) -> String {
    // A value that rounds to 1,000 of a unit is 1 of the next.
    let large = |(size, _): &&(f64, &str)| number >= size * 0.9995;
    let (size, unit) = units.iter().find(large).unwrap_or(&units[units.len() - 1]);
    let value = number / size;
    let digits = match value {
        _ if *size == 1.0 && value.fract() == 0.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// Formats a rate: `52,341/s`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        100.0.. => format!("{}/s", grouped(per_second)),
        _ => format!("{per_second:.2}/s"),
    }
}

/// Formats a part of a whole in percent, with as many digits as a small one needs: `12.5 %`,
/// `0.012 %`.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let digits = match percent {
        0.0 => 0,
        ..0.01 => 4,
        ..0.1 => 3,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{percent:.digits$} %")
}

/// Rounds to a whole number and separates thousands: `1,234,567`.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Splits `50k` into its digits and the factor: `k` is a thousand, `M` a million.
pub(crate) fn split_factor(number: &str) -> (&str, f64) {
    match number.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&number[..end], 1e3),
        Some((end, 'M')) => (&number[..end], 1e6),
        _ => (number, 1.0),
    }
}

/// Formats a count with its noun: `1 reply`, `2 replies`, `1,000 replies`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", whole(number), form(number, one, many))
}

/// Formats a count with its noun as a log has it, whose numbers are read by programs as well:
/// `1 reply`, `1000 replies`.
pub(crate) fn plain_count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", form(number, one, many))
}

/// The form of a word that goes with a count: `reply`, `replies`; `loses`, `lose`.
pub(crate) const fn form<'a>(number: u64, one: &'a str, many: &'a str) -> &'a str {
    match number {
        1 => one,
        _ => many,
    }
}

/// Names the first of many numbers, and how many more there are: `1, 2 and 3 more`.
pub(crate) fn listed(numbers: &[u16]) -> String {
    /// More are not named.
    const MOST: usize = 8;

    let named: Vec<_> = numbers.iter().take(MOST).map(u16::to_string).collect();
    match numbers.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Formats a place in an order: `1st`, `2nd`, `11th`.
pub(crate) fn ordinal(number: u64) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// Formats a count with separated thousands: `1,234,567`.
pub(crate) fn whole(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    grouped(number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        for (nanoseconds, text) in [
            (0.0, "0 ns"),
            (7.0, "7 ns"),
            (7.25, "7.25 ns"),
            (999.0, "999 ns"),
            (999.6, "1.00 us"),
            (1000.0, "1.00 us"),
            (31_234.0, "31.2 us"),
            (99_960.0, "100 us"),
            (123_456.0, "123 us"),
            (999_700.0, "1.00 ms"),
            (40_000_000.0, "40.0 ms"),
            (1_500_000_000.0, "1.50 s"),
            (3_600_000_000_000.0, "3600 s"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
    }

    #[test]
    fn rates_bytes_and_counts_are_readable() {
        assert_eq!(rate(52_341.4), "52,341/s");
        assert_eq!(rate(9.5), "9.50/s");
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(6_400_000.0), "6.40 MB");
        assert_eq!(bytes(500_000_000.0), "500 MB");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.000_123_4), "0.012 %");
        assert_eq!(percent(0.000_012_34), "0.0012 %");
        assert_eq!(percent(0.005), "0.50 %");
        assert_eq!(percent(0.125), "12.5 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(whole(0), "0");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(count(1, "reply", "replies"), "1 reply");
        assert_eq!(count(1000, "reply", "replies"), "1,000 replies");
        assert_eq!(plain_count(0, "reply", "replies"), "0 replies");
        assert_eq!(plain_count(1, "reply", "replies"), "1 reply");
        assert_eq!(plain_count(1000, "reply", "replies"), "1000 replies");
    }
}
