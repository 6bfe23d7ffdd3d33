//! Numbers as people read them: with a unit, and no more digits than they bear.

/// A time that is given in nanoseconds, in the unit that suits its size:
/// `31.2 us`, `4.01 ms`, `1.53 s`.
pub(crate) fn time(nanoseconds: f64) -> String {
    // What would be rounded up to 1000 of a unit is 1.00 of the next.
    for (size, unit) in [(1e3, "us"), (1e6, "ms")] {
        if nanoseconds / size < 999.5 {
            return format!("{} {unit}", digits(nanoseconds / size));
        }
    }
    format!("{} s", digits(nanoseconds / 1e9))
}

/// Bytes a second: `6.40 MB/s`.
pub(crate) fn throughput(bytes_per_s: f64) -> String {
    for (size, unit) in [(1e3, "kB"), (1e6, "MB")] {
        if bytes_per_s / size < 999.5 {
            return format!("{} {unit}/s", digits(bytes_per_s / size));
        }
    }
    format!("{} GB/s", digits(bytes_per_s / 1e9))
}

/// Messages a second: `52,341/s`.
pub(crate) fn rate(per_s: f64) -> String {
    match per_s {
        100.0.. => format!("{}/s", whole(per_s.round() as u64)),
        _ => format!("{}/s", digits(per_s)),
    }
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", whole(number))
}

fn digits(number: f64) -> String {
    let decimals = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_and_the_unit_of_its_size() {
        for (nanoseconds, text) in [
            (0.0, "0.00 us"),
            (800.0, "0.80 us"),
            (9_994.0, "9.99 us"),
            (9_996.0, "10.0 us"),
            (31_249.0, "31.2 us"),
            (999_499.0, "999 us"),
            (999_500.0, "1.00 ms"),
            (200_000_000.0, "200 ms"),
            (999_500_000.0, "1.00 s"),
            (1_530_000_000.0, "1.53 s"),
            (4_321_000_000_000.0, "4321 s"),
        ] {
            assert_eq!(time(nanoseconds), text, "{nanoseconds} ns");
        }
    }

    #[test]
    fn rates_and_counts_are_readable() {
        assert_eq!(rate(0.0), "0.00/s");
        assert_eq!(rate(9.5), "9.50/s");
        assert_eq!(rate(52_341.4), "52,341/s");
        assert_eq!(throughput(640.0), "0.64 kB/s");
        assert_eq!(throughput(6_400_000.0), "6.40 MB/s");
        assert_eq!(throughput(1_250_000_000.0), "1.25 GB/s");
        assert_eq!(whole(0), "0");
        assert_eq!(whole(999), "999");
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(count(1, "error"), "1 error");
        assert_eq!(count(1000, "error"), "1,000 errors");
    }
}
