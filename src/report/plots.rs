//! The charts of one run, and of several runs in common.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::chart::{Axis, Series, Shape, draw};
use super::run::Run;
use crate::base::units;
use crate::bench::datagram_counts::DatagramCounts;
use crate::bench::plan::Load;
use crate::bench::results::{Interval, Results, Trial};
use crate::bench::tcp::TcpCounts;
use crate::probe::latency::Latency;

/// A name, and `(n, ns)` of each point; see [`curve`].
type Curve = (String, Vec<(f64, f64)>);

/// The percentile curves of one run, one a latency.
pub(super) fn percentiles(results: &Results) -> Markup {
    let timed = results.latencies();
    let curves = timed.map(|(name, latency)| (name.to_owned(), curve(latency)));
    percentile_chart(&curves.collect::<Vec<_>>())
}

/// The percentile curves of several runs, one a run.
pub(super) fn compared_percentiles(runs: &[Run]) -> Markup {
    let curves = runs.iter().map(|run| {
        let name = format!("{} ({})", run.name, latency_name(&run.results));
        (name, curve(run.results.round_trips()))
    });
    percentile_chart(&curves.collect::<Vec<_>>())
}

/// The name of the latency that a run's round trips are.
const fn latency_name(results: &Results) -> &'static str {
    match results.response {
        Some(_) => "response",
        None => "service",
    }
}

/// Points `(n, ns)`: one message in `n` took longer than `ns`, up to the percentile
/// for which there are enough messages.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    const POINTS_A_DECADE: i32 = 50;
    const DECADES: i32 = 7;
    let points = (0..=POINTS_A_DECADE * DECADES).map_while(|step| {
        let one_in = 10_f64.powf(f64::from(step) / f64::from(POINTS_A_DECADE));
        let time = latency.percentile(100.0 - 100.0 / one_in)?;
        Some((one_in, positive(time)))
    });
    points.collect()
}

/// A duration for a logarithmic scale, which has no zero.
#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
fn positive(nanoseconds: u64) -> f64 {
    nanoseconds.max(1) as f64
}

fn percentile_chart(curves: &[Curve]) -> Markup {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let Some(times) = range(points().map(|point| point.1)) else {
        return html! {};
    };
    let most = points().map(|point| point.0).fold(10.0, f64::max);
    let named = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
    let ticks = named.map(|percentile| (100.0 / (100.0 - percentile), format!("{percentile} %")));
    let x = Axis::log(
        "part of the round trips that took no longer",
        (1.0, most),
        |_| String::new(),
    )
    .with_ticks(ticks);
    let y = Axis::log_with_room("time", times, units::time);
    let series = curves.iter().enumerate().map(|(colour, (name, points))| {
        Series::line(name, colour, points.iter().copied().map(Some))
    });
    draw("Percentiles", &x, &y, &series.collect::<Vec<_>>())
}

/// The minimum and the maximum.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, most)) => Some((value.min(least), value.max(most))),
    })
}

/// The histogram of the round trips. Both scales are logarithmic, so that a few slow
/// ones are visible.
pub(super) fn histogram(results: &Results) -> Markup {
    let latency = results.round_trips();
    let (Some(min), Some(max)) = (latency.min(), latency.max()) else {
        return html! {};
    };
    let bars = bars(latency, (positive(min), positive(max)));
    let most = bars.iter().map(|(_, _, count)| *count).fold(10.0, f64::max);
    let x = Axis::log("time", (bars[0].0, bars[bars.len() - 1].1), units::time);
    let y = Axis::log("round trips", (0.5, most), units::grouped).with_ticks(
        (0..16)
            .map(|power| 10_f64.powi(power))
            .map(|n| (n, units::grouped(n))),
    );
    let corners = bars.iter().flat_map(|(from, to, count)| {
        let count = count.max(0.5);
        [Some((*from, count)), Some((*to, count))]
    });
    let series = Series {
        name: String::from("round trips"),
        colour: 0,
        shape: Shape::Area,
        points: corners.collect(),
    };
    let title = format!("Histogram of the {} time", latency_name(results));
    draw(&title, &x, &y, &[series])
}

/// `(from, to, count)` of about 60 bars, all with the same ratio of `to` to `from`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "there are tens of bars, and counts are below 2^53"
)]
fn bars(latency: &Latency, (min, max): (f64, f64)) -> Vec<(f64, f64, f64)> {
    const BARS: f64 = 60.0;
    // No narrower than the resolution of the histogram.
    let width = ((max / min).ln() / BARS).max(0.002);
    let bar = |value: f64| ((value / min).ln() / width).floor().max(0.0) as i64;
    let mut counts: BTreeMap<i64, u64> = (0..=bar(max)).map(|bar| (bar, 0)).collect();
    for step in latency.histogram.iter_recorded() {
        let value = positive(step.value_iterated_to());
        let count = counts.entry(bar(value).min(bar(max))).or_default();
        *count = count.saturating_add(step.count_at_value());
    }
    let edge = |bar: i64| min * (bar as f64 * width).exp();
    let bars = counts.into_iter();
    bars.map(|(bar, count)| (edge(bar), edge(bar + 1), count as f64))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// When an interval begins and ends, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
fn span(interval: &Interval) -> (f64, f64) {
    let start = seconds(interval.start_ns);
    (start, start + interval.length_ns as f64 / 1e9)
}

fn show_seconds(seconds: f64) -> String {
    // A sum of steps can be a little off, and zero below zero.
    let whole = (seconds * 1000.0).round() / 1000.0;
    format!("{} s", if whole == 0.0 { 0.0 } else { whole })
}

/// From the start of the warm-up to the end of the longest run.
fn time_axis<'a>(runs: impl Iterator<Item = &'a Results>) -> Option<Axis> {
    let ends = runs.flat_map(|results| &results.timeline).map(span);
    let times = range(ends.flat_map(|(from, to)| [from, to]))?;
    Some(Axis::linear(
        "time since the start of the measured part",
        times,
        show_seconds,
    ))
}

/// The quantity that is drawn over time.
#[derive(Clone, Copy)]
enum Pace {
    RoundTrips,
    Bytes,
}

impl Pace {
    /// The unit that all the runs can be drawn in: bytes if one of them is a stream, which has
    /// no messages.
    fn of<'a>(mut runs: impl Iterator<Item = &'a Results>) -> Self {
        match runs.any(|results| results.plan.load == Load::Stream) {
            true => Self::Bytes,
            false => Self::RoundTrips,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::RoundTrips => "Rate",
            Self::Bytes => "Throughput",
        }
    }

    fn axis<'a>(self, series: impl IntoIterator<Item = &'a Series>) -> Axis {
        let points = series
            .into_iter()
            .flat_map(|each| each.points.iter().flatten());
        let to = points.map(|point| point.1).fold(0.0, f64::max) * 1.05;
        match self {
            Self::RoundTrips => Axis::linear("round trips a second", (0.0, to), units::grouped),
            Self::Bytes => Axis::linear("bytes a second", (0.0, to), units::bytes),
        }
    }

    /// A step an interval.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn steps(self, results: &Results) -> Vec<Option<(f64, f64)>> {
        let timeline = results.timeline.iter();
        let lasting = timeline.filter(|interval| interval.length_ns > 0);
        let steps = lasting.flat_map(|interval| {
            let (from, to) = span(interval);
            let moved = match self {
                Self::RoundTrips => interval.echoed,
                Self::Bytes => interval.echoed_bytes,
            };
            let pace = moved as f64 / (to - from);
            [Some((from, pace)), Some((to, pace))]
        });
        steps.collect()
    }
}

/// The rate and the percentiles over time, with warm-up and outages behind them.
pub(super) fn timeline(results: &Results) -> Markup {
    let Some(x) = time_axis(std::iter::once(results)) else {
        return html! { p { "The run was too short." } };
    };
    let pace = Pace::of(std::iter::once(results));
    let steps = Series {
        name: pace.title().to_lowercase(),
        colour: 0,
        shape: Shape::Area,
        points: pace.steps(results),
    };
    let y = pace.axis([&steps]);
    let mut series = shades(results);
    series.push(steps);
    html! {
        (draw(pace.title(), &x, &y, &series))
        (percentiles_over_time(results, &x))
    }
}

/// The segments that were sent again, a second each; nothing where none was.
pub(super) fn retransmits(results: &Results) -> Markup {
    let again = counts_of_seconds(results, "retransmits", 3, |interval| {
        interval.tcp?.retransmits
    });
    let titles = ("TCP retransmits in each second", "segments sent again");
    draw_counts(results, titles, &[again])
}

/// What became of the datagrams of each second; nothing where all came back once and in order.
pub(super) fn losses(results: &Results) -> Markup {
    type Of = fn(&DatagramCounts) -> u64;
    let all: [(&str, usize, Of); 3] = [
        ("lost", 3, |counts| counts.lost),
        ("duplicates", 1, |counts| counts.duplicates),
        ("reordered", 2, |counts| counts.reordered),
    ];
    let series = all.map(|(name, colour, of)| {
        counts_of_seconds(results, name, colour, |interval| {
            interval.datagrams.as_ref().map(of)
        })
    });
    let some = |series: &Series| most(std::slice::from_ref(series)) > 0.0;
    let series: Vec<_> = series.into_iter().filter(some).collect();
    let titles = ("Datagrams that went astray, by the second", "datagrams");
    draw_counts(results, titles, &series)
}

/// A step a second.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn counts_of_seconds(
    results: &Results,
    name: &str,
    colour: usize,
    of: impl Fn(&Interval) -> Option<u64>,
) -> Series {
    let steps = results.timeline.iter().flat_map(|interval| {
        let (from, to) = span(interval);
        let count = of(interval).map(|count| count as f64);
        [
            count.map(|count| (from, count)),
            count.map(|count| (to, count)),
        ]
    });
    Series {
        name: name.to_owned(),
        colour,
        shape: Shape::Area,
        points: steps.collect(),
    }
}

fn most(series: &[Series]) -> f64 {
    let points = series.iter().flat_map(|each| each.points.iter().flatten());
    points.map(|point| point.1).fold(0.0, f64::max)
}

fn draw_counts(results: &Results, (title, unit): (&str, &str), series: &[Series]) -> Markup {
    let most = most(series);
    let Some(x) = time_axis(std::iter::once(results)).filter(|_| most > 0.0) else {
        return html! {};
    };
    let y = Axis::linear(unit, (0.0, most * 1.05), units::grouped);
    draw(title, &x, &y, series)
}

/// The round trips of segments, a second each, as TCP smooths them.
pub(super) fn tcp_round_trips(results: &Results) -> Markup {
    type Of = fn(&TcpCounts) -> Option<u64>;
    let all: [(&str, Of); 2] = [
        ("least", |tcp| tcp.least_rtt_ns),
        ("smoothed, at most", |tcp| tcp.most_smoothed_rtt_ns),
    ];
    let lines = all.into_iter().enumerate().map(|(place, (name, of))| {
        let points = results.timeline.iter().map(|interval| {
            let (from, to) = span(interval);
            let time = interval.tcp.as_ref().and_then(of)?;
            Some((f64::midpoint(from, to), positive(time)))
        });
        Series::line(name, place, points)
    });
    let lines: Vec<_> = lines.collect();
    let times = range(
        lines
            .iter()
            .flat_map(|line| &line.points)
            .flatten()
            .map(|point| point.1),
    );
    let (Some(x), Some(times)) = (time_axis(std::iter::once(results)), times) else {
        return html! {};
    };
    let y = Axis::log_with_room("time", times, units::time);
    draw("TCP round trip in each second", &x, &y, &lines)
}

fn percentiles_over_time(results: &Results, x: &Axis) -> Markup {
    let lines = percentile_lines(results.timeline.iter().map(|interval| {
        let (from, to) = span(interval);
        let times = [interval.p50_ns, interval.p99_ns, interval.max_ns];
        (f64::midpoint(from, to), times)
    }));
    let points = lines.iter().flat_map(|line| line.points.iter().flatten());
    let Some(times) = range(points.map(|point| point.1)) else {
        return html! {};
    };
    let mut series = shades(results);
    series.extend(lines);
    draw(
        "Percentiles of each second",
        x,
        &Axis::log_with_room("time", times, units::time),
        &series,
    )
}

/// A line each for the median, p99 and the maximum, where they are known.
fn percentile_lines(points: impl Iterator<Item = (f64, [Option<u64>; 3])>) -> Vec<Series> {
    let points: Vec<_> = points.collect();
    let names = ["p50", "p99", "max"].into_iter().enumerate();
    let lines = names.map(|(place, name)| {
        let points = points.iter();
        let known = points.map(|(at, times)| Some((*at, positive(times[place]?))));
        Series::line(name, place, known)
    });
    lines
        .filter(|line| line.points.iter().any(Option::is_some))
        .collect()
}

/// The shaded ranges of a timeline: the warm-up and the outages.
fn shades(results: &Results) -> Vec<Series> {
    let starts = results.timeline.iter().map(|interval| interval.start_ns);
    let start = starts.min().unwrap_or(0);
    let warm_up = (start < 0).then(|| Series::shade("warm-up", 7, seconds(start), 0.0));
    let ends = results.timeline.iter().map(|interval| span(interval).1);
    let end = ends.fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
    let outages = results.outages.iter().map(|outage| {
        let from = seconds(outage.start_ns);
        let to = outage
            .length_ns
            .map_or(end, |length| from + length as f64 / 1e9);
        Series::shade("outage", 3, from, to)
    });
    warm_up.into_iter().chain(outages).collect()
}

/// The rate over time of several runs.
pub(super) fn compared_paces(runs: &[Run]) -> Markup {
    let results = || runs.iter().map(|run| &run.results);
    let Some(x) = time_axis(results()) else {
        return html! {};
    };
    let pace = Pace::of(results());
    let lines = runs
        .iter()
        .enumerate()
        .map(|(colour, run)| Series::line(&run.name, colour, pace.steps(&run.results)));
    let lines: Vec<_> = lines.collect();
    draw(pace.title(), &x, &pace.axis(&lines), &lines)
}

/// The percentiles of each trial against the rate of its echoes.
pub(super) fn search(trials: &[Trial]) -> Markup {
    let mut trials: Vec<_> = trials.iter().collect();
    trials.sort_by(|a, b| a.echoed_per_s.total_cmp(&b.echoed_per_s));
    let lines = percentile_lines(trials.iter().map(|trial| {
        (
            trial.echoed_per_s,
            [trial.p50_ns, trial.p99_ns, trial.max_ns],
        )
    }));
    let points = || lines.iter().flat_map(|line| line.points.iter().flatten());
    let Some(times) = range(points().map(|point| point.1)) else {
        return html! {};
    };
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let x = Axis::linear("round trips a second", (0.0, most), units::grouped);
    let y = Axis::log_with_room("response time", times, units::time);
    draw("Latency against rate", &x, &y, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_one_bar() {
        let mut latency = Latency::new();
        for value in [1, 10, 10, 500, 100_000] {
            latency.histogram.record(value).unwrap();
        }
        let bars = bars(&latency, (1.0, positive(latency.max().unwrap())));
        let total: f64 = bars.iter().map(|(_, _, count)| count).sum();
        assert!((total - 5.0).abs() < 1e-9);
        let tens = bars
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&10.0));
        assert!((tens.unwrap().2 - 2.0).abs() < 1e-9);
        assert!(
            bars.windows(2)
                .all(|pair| (pair[0].1 - pair[1].0).abs() < 1e-6)
        );
    }

    #[test]
    fn the_curve_ends_where_the_durations_do_not_support_it() {
        let mut latency = Latency::new();
        latency.histogram.record_n(1000, 10_000).unwrap();
        let curve = curve(&latency);
        assert!((curve[curve.len() - 1].0 - 1000.0).abs() < 1e-6);
    }
}
