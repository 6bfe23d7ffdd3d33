//! Numbers as people read them: three digits and a unit.

use std::time::Duration;

/// A duration in the unit that suits its size: `31.2 us`, `4.01 ms`, `1.53 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    // What would be rounded up to 1000 of a unit is 1.00 of the next.
    for (factor, unit) in [(1e6, "us"), (1e3, "ms")] {
        let number = seconds * factor;
        if number < 999.5 {
            return format!("{} {unit}", digits(number));
        }
    }
    format!("{} s", digits(seconds))
}

/// The same, of nanoseconds.
pub(crate) fn nanoseconds(nanoseconds: u64) -> String {
    time(Duration::from_nanos(nanoseconds))
}

fn digits(number: f64) -> String {
    let decimals = match number {
        _ if number < 9.995 => 2,
        _ if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_three_digits_and_the_unit_of_its_size() {
        for (nanos, text) in [
            (0, "0.00 us"),
            (800, "0.80 us"),
            (9_994, "9.99 us"),
            (9_996, "10.0 us"),
            (31_249, "31.2 us"),
            (999_499, "999 us"),
            (999_500, "1.00 ms"),
            (200_000_000, "200 ms"),
            (999_500_000, "1.00 s"),
            (1_530_000_000, "1.53 s"),
            (4_321_000_000_000, "4321 s"),
        ] {
            assert_eq!(nanoseconds(nanos), text, "{nanos} ns");
        }
    }
}
