//! Times without a server, and how those of single slots join to outages.

use super::results::Outage;

/// The time from the loss of a connection to the next echo in its slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// When the connection was lost.
    pub(super) start: u64,
    /// When there was an echo again.
    pub(super) end: Option<u64>,
    /// Bytes lost with it, and with the connections tried after it.
    pub(super) lost_bytes: u64,
    /// Attempts to connect that were refused.
    pub(super) refused: u64,
    /// Connections that were reset.
    pub(super) reset: u64,
    /// Connections that were closed.
    pub(super) closed: u64,
}

/// Joins gaps that overlap to outages, whose times count from `zero`.
pub(super) fn join(mut gaps: Vec<Gap>, zero: u64) -> Vec<Outage> {
    gaps.sort_by_key(|gap| gap.start);
    let mut outages: Vec<Outage> = Vec::new();
    for gap in &gaps {
        let start = after(zero, gap.start);
        let joined = outages.last_mut().filter(|outage| {
            let end = outage
                .length_ns
                .map(|length| end_of(outage.start_ns, length));
            end.is_none_or(|end| start <= end)
        });
        let outage = match joined {
            Some(outage) => outage,
            None => {
                outages.push(empty(start));
                outages.last_mut().expect("one was pushed just now")
            }
        };
        let length = gap
            .end
            .map(|end| after(zero, end).abs_diff(outage.start_ns));
        outage.length_ns = match (outage.length_ns, length) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
        outage.connections += 1;
        outage.lost_bytes += gap.lost_bytes;
        outage.refused += gap.refused;
        outage.reset += gap.reset;
        outage.closed += gap.closed;
    }
    outages
}

const fn empty(start_ns: i64) -> Outage {
    Outage {
        start_ns,
        length_ns: Some(0),
        connections: 0,
        lost_bytes: 0,
        refused: 0,
        reset: 0,
        closed: 0,
    }
}

const fn end_of(start: i64, length: u64) -> i64 {
    start.saturating_add_unsigned(length)
}

/// A time of the clock, counted from `zero`.
pub(super) const fn after(zero: u64, time: u64) -> i64 {
    time.wrapping_sub(zero).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(start: u64, end: Option<u64>) -> Gap {
        Gap {
            start,
            end,
            lost_bytes: 10,
            refused: 1,
            reset: 1,
            closed: 0,
        }
    }

    fn windows(gaps: Vec<Gap>) -> Vec<(i64, Option<u64>, u64)> {
        let outages = join(gaps, 1000);
        let window = |outage: &Outage| (outage.start_ns, outage.length_ns, outage.connections);
        outages.iter().map(window).collect()
    }

    #[test]
    fn gaps_that_overlap_are_one_outage() {
        let gaps = vec![
            gap(1200, Some(1300)),
            gap(1100, Some(1250)),
            gap(1120, Some(1130)),
        ];
        assert_eq!(windows(gaps.clone()), [(100, Some(200), 3)]);
        let outage = &join(gaps, 1000)[0];
        assert_eq!(
            (outage.lost_bytes, outage.refused, outage.reset),
            (30, 3, 3)
        );
    }

    #[test]
    fn gaps_apart_are_outages_apart() {
        let gaps = vec![gap(1500, Some(1600)), gap(900, Some(1100))];
        assert_eq!(windows(gaps), [(-100, Some(200), 1), (500, Some(100), 1)]);
    }

    #[test]
    fn an_outage_without_end_includes_all_that_follow() {
        let gaps = vec![
            gap(1100, None),
            gap(1200, Some(1300)),
            gap(9000, Some(9001)),
        ];
        assert_eq!(windows(gaps), [(100, None, 3)]);
        assert!(windows(Vec::new()).is_empty());
    }
}
