//! A line a second, for a run that is not shown on a terminal.

use std::fmt::Write as _;
use std::io::Write;

use crate::base::step::StepLine;
use crate::base::units;
use crate::bench::progress::{CONNECTING, Progress, Watch};
use crate::bench::results::Interval;

/// Writes a line for each second of a run.
#[derive(Debug)]
pub struct Lines<W: Write> {
    out: StepLine<W>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`, for instance standard error.
    pub const fn new(out: W) -> Self {
        Self {
            out: StepLine::new(out, false),
        }
    }
}

impl<W: Write> Watch for Lines<W> {
    fn search_step(&mut self, step: &str) {
        self.out.line(step);
    }

    fn connecting(&mut self, how_far: &str) {
        self.out.show(CONNECTING, how_far);
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        if let Some(second) = progress.finished {
            self.out.line(&line(second, progress));
        }
    }
}

/// ` 3.0 s  52,341/s  3.35 MB/s  p50 31.2 us  p99 120 us  max 2.06 ms  50 connections  0 errors`,
/// with the times that the second has.
fn line(second: &Interval, progress: &Progress<'_>) -> String {
    let end_ns = second.start_ns as f64 + second.length_ns as f64;
    let mut line = match second.start_ns {
        ..0 => String::from("warm-up"),
        _ => format!("{:5.1} s", end_ns / 1e9),
    };
    let seconds = second.length_ns.max(1) as f64 / 1e9;
    let rate = units::rate(second.echoed as f64 / seconds);
    let throughput = units::throughput(second.echoed_bytes as f64 / seconds);
    let _ = write!(line, "  {rate}  {throughput}");
    for (name, time) in [
        ("p50", second.p50_ns),
        ("p99", second.p99_ns),
        ("max", second.max_ns),
    ] {
        if let Some(time) = time {
            let _ = write!(line, "  {name} {}", units::time(time as f64));
        }
    }
    let _ = write!(line, "  {}", progress.connections());
    if let Some(lost) = progress.lost() {
        let _ = write!(line, "  {lost}");
    }
    let _ = write!(line, "  {}", units::count(second.errors, "error", "errors"));
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::datagram_counts::DatagramCounts;
    use crate::bench::results::Totals;
    use crate::probe::latency::Latency;

    /// What is written for these calls, each with or without a complete second.
    fn written(seconds: &[Option<Interval>]) -> String {
        written_of(None, seconds)
    }

    /// The same of datagrams, of which these counts are known so far.
    fn written_of(datagrams: Option<&DatagramCounts>, seconds: &[Option<Interval>]) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out);
        for second in seconds {
            lines.progress(&Progress {
                elapsed: Duration::ZERO,
                warming_up: false,
                left: None,
                totals: &Totals::default(),
                latency: &Latency::new(),
                recent: &Interval::default(),
                connections: 50,
                datagrams,
                finished: second.as_ref(),
            });
        }
        drop(lines);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_full_second_has_a_line_and_nothing_else_has() {
        let second = Interval {
            start_ns: 2_000_000_000,
            length_ns: 1_000_000_000,
            echoed: 52_341,
            echoed_bytes: 3_349_824,
            errors: 0,
            p50_ns: Some(31_200),
            p99_ns: Some(120_000),
            max_ns: Some(2_060_000),
            connections: Some(50.0),
            tcp: None,
            datagrams: None,
        };
        assert_eq!(
            written(&[None, Some(second), None]),
            "  3.0 s  52,341/s  3.35 MB/s  p50 31.2 us  p99 120 us  max 2.06 ms  \
             50 connections  0 errors\n"
        );
    }

    #[test]
    fn a_load_of_datagrams_has_flows_and_the_losses_so_far() {
        let second = Interval {
            length_ns: 1_000_000_000,
            ..Interval::default()
        };
        let counts = DatagramCounts {
            sent: 1000,
            lost: 12,
            ..DatagramCounts::default()
        };
        let end = |counts| written_of(Some(counts), &[Some(second.clone())]);
        let line = end(&counts);
        assert!(
            line.ends_with("  50 flows  12 lost (1.20 %)  0 errors\n"),
            "{line}"
        );
        let line = end(&DatagramCounts::default());
        assert!(line.ends_with("  50 flows  0 lost  0 errors\n"), "{line}");
    }

    #[test]
    fn a_second_of_the_warm_up_is_named_so() {
        let second = Interval {
            start_ns: -500_000_000,
            length_ns: 500_000_000,
            echoed: 10,
            echoed_bytes: 640,
            ..Interval::default()
        };
        let line = written(&[Some(second)]);
        assert!(
            line.starts_with("warm-up  20.00/s  1.28 kB/s  50 "),
            "{line}"
        );
    }

    #[test]
    fn a_second_without_a_reply_shows_no_latency() {
        let second = Interval {
            length_ns: 1_000_000_000,
            errors: 1,
            ..Interval::default()
        };
        assert_eq!(
            written(&[Some(second)]),
            "  1.0 s  0.00/s  0 B/s  50 connections  1 error\n"
        );
    }
}
