//! The highest rate at which something holds.

use std::io;

/// The first rate that is tried, a second.
const FIRST: u32 = 20_000;

/// The highest one.
const MOST: u32 = 2_000_000;

/// The search ends when the lowest rate that is too high is less than a fiftieth above.
const NEAR: u32 = 50;

/// How often it has to hold in a row at the rate that is found: a loss is rare near the limit.
const TIMES: u32 = 3;

/// The highest rate, to a fiftieth, at which `holds`; 0 where there is none.
///
/// # Errors
/// Those of `holds`.
pub fn highest(mut holds: impl FnMut(u32) -> io::Result<bool>) -> io::Result<u32> {
    let (mut good, mut bad) = (0, FIRST);
    while bad <= MOST && holds(bad)? {
        (good, bad) = (bad, bad + bad / 2);
    }
    while good > 0 && bad - good > good / NEAR {
        let middle = u32::midpoint(good, bad);
        match holds(middle)? {
            true => good = middle,
            false => bad = middle,
        }
    }
    'found: while good > 0 {
        for _ in 1..TIMES {
            if !holds(good)? {
                good -= good / NEAR + 1;
                continue 'found;
            }
        }
        break;
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_to_a_fiftieth() {
        for limit in [20_000, 123_456, 300_000, 1_900_000] {
            let found = highest(|rate| Ok(rate <= limit)).unwrap();
            assert!(
                found <= limit && found >= limit - limit / 40,
                "{found} of {limit}"
            );
        }
        assert_eq!(highest(|_| Ok(false)).unwrap(), 0);
    }

    #[test]
    fn a_rate_at_which_it_holds_now_and_then_is_too_high() {
        let mut tries = 0_u32;
        let found = highest(|rate| {
            tries += 1;
            Ok(rate <= 100_000 || rate <= 200_000 && tries.is_multiple_of(2))
        });
        assert!((95_000..=100_000).contains(&found.unwrap()));
    }

    #[test]
    fn an_error_ends_the_search() {
        let error = highest(|_| Err(io::Error::other("gone"))).unwrap_err();
        assert_eq!(error.to_string(), "gone");
    }
}
