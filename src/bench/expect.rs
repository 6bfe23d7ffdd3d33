//! Conditions on the results of a run: `p99<1ms`, `errors=0`, `rate>50000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::base::units;
use crate::bench::datagram_counts::DatagramCounts;
use crate::bench::plan::Load;
use crate::bench::results::{Expectation, Results};
use crate::probe::latency::{Latency, needed};

/// A bound on a metric of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    metric: Metric,
    operator: Operator,
    /// In the metric's unit: nanoseconds for a time.
    bound: f64,
}

impl Condition {
    /// Whether the results meet the condition, with the measured value. A metric that
    /// was not measured, or on too few messages, does not meet it.
    pub fn check(&self, results: &Results) -> Expectation {
        let value = self.metric.of(results);
        Expectation {
            text: self.text.clone(),
            held: value
                .as_ref()
                .is_ok_and(|value| self.operator.holds(*value, self.bound)),
            seen: value.map_or_else(|reason| reason, |value| self.metric.show(value)),
        }
    }
}

impl Condition {
    /// Whether a load of this kind has the metric.
    ///
    /// # Errors
    /// What the load has none of, as it reads after "it can't be judged: ".
    pub fn check_load(&self, load: Load) -> Result<(), String> {
        self.metric.check_load(load)
    }

    /// Whether a higher rate can break the condition, so that there is a highest one to search
    /// for: it bounds a time or a count from above, or asks for a throughput.
    pub fn bounds_load(&self) -> bool {
        let is_lower = matches!(self.operator, Operator::More | Operator::AtLeast);
        match self.metric {
            Metric::Rate | Metric::Megabytes | Metric::Megabits => true,
            Metric::Time(_) | Metric::Count(_) | Metric::Share(_) => !is_lower,
        }
    }

    /// Whether it is about times, which a generator that is woken late makes longer.
    pub(crate) const fn is_of_time(&self) -> bool {
        matches!(self.metric, Metric::Time(_))
    }

    /// The same of the results of a search for it. Where that found no rate, the results are of
    /// the last trial: that they meet the condition proves nothing.
    pub fn check_search(&self, results: &Results) -> Expectation {
        if results.search.iter().any(|trial| trial.held) {
            return self.check(results);
        }
        let reason = results.search_end.as_deref();
        Expectation {
            text: self.text.clone(),
            held: false,
            seen: reason.unwrap_or("no rate was tried").to_owned(),
        }
    }

    /// How far the measured value is from what would hold; `None` if it holds, or was not
    /// measured.
    pub(crate) fn shortfall(&self, results: &Results) -> Option<f64> {
        let value = self.metric.of(results).ok()?;
        let distance = (value - self.bound).abs();
        (!self.operator.holds(value, self.bound)).then_some(distance)
    }

    /// The fastest round trip, if even that is slower than the condition allows.
    pub(crate) fn fastest_is_too_slow(&self, results: &Results) -> Option<u64> {
        let is_from_below = match self.metric {
            Metric::Time(statistic) => statistic != Statistic::Stddev,
            _ => false,
        };
        let is_upper = matches!(
            self.operator,
            Operator::Less | Operator::AtMost | Operator::Equal
        );
        let fastest = results.round_trips().min()?;
        let holds = match self.operator {
            Operator::Less => whole(fastest) < self.bound,
            _ => whole(fastest) <= self.bound,
        };
        (is_from_below && is_upper && !holds).then_some(fastest)
    }

    /// How many messages are needed to decide the condition.
    pub(crate) fn needed(&self) -> u64 {
        match self.metric {
            Metric::Time(Statistic::Percentile(percentile)) => needed(percentile),
            // As many as for a percentile that so many are above.
            Metric::Share(_) if self.bound > 0.0 && self.bound < 50.0 => needed(100.0 - self.bound),
            _ => 1,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Time(Statistic),
    Rate,
    Megabytes,
    Megabits,
    Count(Counted),
    /// Of the messages sent, the part that a count is, in percent.
    Share(Counted),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Min,
    Mean,
    Stddev,
    Max,
    Percentile(f64),
}

/// A count and its name.
#[derive(Clone, Copy)]
struct Counted {
    name: &'static str,
    /// What it counts: where there is none of that, it has no value.
    unit: Unit,
    of: fn(&Results) -> Option<u64>,
}

/// What a count is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Messages, which a stream has none of.
    Messages,
    /// Datagrams.
    Datagrams,
    Any,
}

impl Counted {
    const fn new(unit: Unit, name: &'static str, of: fn(&Results) -> Option<u64>) -> Self {
        Self { name, unit, of }
    }

    const fn messages(name: &'static str, of: fn(&Results) -> Option<u64>) -> Self {
        Self::new(Unit::Messages, name, of)
    }

    const fn datagrams(name: &'static str, of: fn(&Results) -> Option<u64>) -> Self {
        Self::new(Unit::Datagrams, name, of)
    }

    const fn any(name: &'static str, of: fn(&Results) -> Option<u64>) -> Self {
        Self::new(Unit::Any, name, of)
    }

    /// Why a load of this kind has no such count.
    fn check_load(self, load: Load) -> Result<(), String> {
        match (self.unit, load) {
            (Unit::Messages, Load::Stream) => Err(no_messages()),
            (Unit::Datagrams, load) if load != Load::Datagrams => {
                Err(format!("only datagrams have it: {} needs --udp", self.name))
            }
            _ => Ok(()),
        }
    }

    /// The count, or why there is none.
    fn value(self, results: &Results) -> Result<u64, String> {
        (self.of)(results).ok_or_else(|| String::from("the system does not say"))
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const COUNTED: [Counted; 19] = [
    Counted::any("errors", |results| Some(results.totals.errors.total())),
    Counted::messages("lost", |results| Some(results.totals.lost)),
    Counted::any("lost_bytes", |results| Some(results.totals.lost_bytes)),
    Counted::messages("in_flight", |results| Some(results.totals.in_flight)),
    Counted::messages("unsent", |results| Some(results.totals.unsent)),
    Counted::messages("sent", |results| Some(results.totals.sent)),
    Counted::messages("echoed", |results| Some(results.totals.echoed)),
    Counted::any("connected", |results| Some(results.totals.connected)),
    Counted::any("outages", |results| Some(results.outages.len() as u64)),
    Counted::any(
        "suspicions",
        |results| Some(results.suspicions.len() as u64),
    ),
    Counted::datagrams("changed", |results| Some(counts(results)?.changed)),
    Counted::datagrams("late", |results| Some(counts(results)?.late)),
    Counted::datagrams("duplicates", |results| Some(counts(results)?.duplicates)),
    Counted::datagrams("reordered", |results| Some(counts(results)?.reordered)),
    Counted::datagrams("refused", |results| Some(counts(results)?.refused)),
    Counted::datagrams("unnamed_errors", |results| {
        Some(counts(results)?.unnamed_errors)
    }),
    Counted::datagrams("not_sent", |results| Some(counts(results)?.not_sent)),
    Counted::datagrams("dropped_here", |results| counts(results)?.dropped_here),
    Counted::datagrams("wrong_checksums", |results| {
        counts(results)?.wrong_checksums
    }),
];

/// The part of the messages sent that is lost, which only a bound in percent makes sense of.
const LOSS: Counted = Counted::messages("loss", |results| Some(results.totals.lost));

fn no_messages() -> String {
    String::from("a stream has no messages")
}

fn counts(results: &Results) -> Option<&DatagramCounts> {
    Some(&results.datagrams.as_ref()?.counts)
}

impl Metric {
    /// The measured value, or why there is none.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    fn of(self, results: &Results) -> Result<f64, String> {
        self.check_load(results.plan.load)?;
        match self {
            Self::Time(statistic) => statistic.of(results.round_trips()),
            Self::Rate => Ok(results.rate_per_s),
            Self::Megabytes => Ok(results.throughput_bytes_per_s / 1e6),
            Self::Megabits => Ok(results.throughput_bytes_per_s * 8.0 / 1e6),
            Self::Count(counted) => Ok(counted.value(results)? as f64),
            Self::Share(counted) => match (counted.value(results)?, results.totals.sent) {
                (_, 0) => Err(String::from("nothing was sent")),
                (count, sent) => Ok(count as f64 * 100.0 / sent as f64),
            },
        }
    }

    /// Why a load of this kind has no such metric.
    fn check_load(self, load: Load) -> Result<(), String> {
        match self {
            Self::Time(_) | Self::Rate if load == Load::Stream => Err(no_messages()),
            Self::Count(counted) | Self::Share(counted) => counted.check_load(load),
            _ => Ok(()),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Time(_) => units::time(value),
            Self::Rate => units::rate(value),
            Self::Megabytes => format!("{value:.2} MB/s"),
            Self::Megabits => format!("{value:.2} Mbit/s"),
            Self::Count(_) => units::grouped(value),
            Self::Share(_) => units::percent(value / 100.0),
        }
    }

    /// Parses a bound in the notation of this metric.
    fn bound(self, text: &str) -> Result<f64, BadCondition> {
        let bad = |wanted| BadCondition::Bound {
            text: text.to_owned(),
            wanted,
        };
        match self {
            Self::Time(_) => time(text)
                .map(nanoseconds)
                .ok_or_else(|| bad("a time with its unit, such as 1ms, 250us or 1.5s")),
            Self::Rate => number(text.strip_suffix("/s").unwrap_or(text))
                .ok_or_else(|| bad("messages a second, such as 50000 or 50k")),
            Self::Megabytes => number(text).ok_or_else(|| bad("a number of megabytes a second")),
            Self::Megabits => number(text).ok_or_else(|| bad("a number of megabits a second")),
            Self::Count(_) => number(text)
                .filter(|number| number.fract() == 0.0)
                .ok_or_else(|| bad("a whole number")),
            Self::Share(_) => text
                .strip_suffix('%')
                .and_then(|text| number(text.trim_end()))
                .filter(|number| *number <= 100.0)
                .ok_or_else(|| bad("a part of the messages sent, such as 1% or 0.01%")),
        }
    }
}

impl Statistic {
    fn of(self, latency: &Latency) -> Result<f64, String> {
        let count = latency.count();
        let value = match self {
            Self::Min => latency.min().map(whole),
            Self::Mean => latency.mean(),
            Self::Stddev => latency.stddev(),
            Self::Max => latency.max().map(whole),
            Self::Percentile(percentile) => latency.percentile(percentile).map(whole),
        };
        value.ok_or_else(|| match self {
            Self::Percentile(percentile) if count > 0 => {
                let [count, needed] = [count, needed(percentile)].map(units::whole);
                format!("too few round trips to tell: {count} of the {needed} that it takes")
            }
            _ => String::from("no round trip was measured"),
        })
    }
}

impl FromStr for Metric {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        // Mb/s is read as megabits by some, as megabytes by others.
        if text.eq_ignore_ascii_case("mb/s") && !["MB/s", "mb/s"].contains(&text) {
            return Err(BadCondition::Ambiguous(text.to_owned()));
        }
        let name = text.to_lowercase().replace('-', "_");
        let unknown = || BadCondition::Metric(text.to_owned());
        Ok(match &*name {
            "min" => Self::Time(Statistic::Min),
            "mean" | "avg" => Self::Time(Statistic::Mean),
            "stddev" => Self::Time(Statistic::Stddev),
            "max" => Self::Time(Statistic::Max),
            "rate" => Self::Rate,
            "mb/s" => Self::Megabytes,
            "mbit/s" => Self::Megabits,
            _ if name == LOSS.name => Self::Share(LOSS),
            _ => match COUNTED.into_iter().find(|counted| counted.name == name) {
                Some(counted) => Self::Count(counted),
                None => Self::Time(Statistic::Percentile(
                    percentile(&name).ok_or_else(unknown)?,
                )),
            },
        })
    }
}

/// The number in `p99.9`.
fn percentile(name: &str) -> Option<f64> {
    let number = name.strip_prefix('p').and_then(number)?;
    (number > 0.0 && number < 100.0).then_some(number)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

impl Operator {
    /// The notation of each; an operator comes before its own prefixes.
    const WRITTEN: [(&str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("<", Self::Less),
        (">", Self::More),
        ("=", Self::Equal),
    ];

    #[expect(clippy::float_cmp, reason = "counts are equal or not")]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
        }
    }
}

/// Why a text is not a [`Condition`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// There is no operator in it.
    #[error("it has no <, <=, >, >= or =; write it like 'p99<1ms', 'errors=0' or 'rate>50000'")]
    Operator,
    /// The text before the operator names no metric.
    #[error(
        "'{0}' is not measured; there are p50, p99, p99.9 (any percentile below 100), min, mean, \
         stddev, max, rate, MB/s, Mbit/s, loss (in %), {counts}",
        counts = COUNTED.map(|counted| counted.name).join(", ")
    )]
    Metric(
        /// The text.
        String,
    ),
    /// The unit has two meanings.
    #[error("'{0}' is ambiguous: write MB/s for megabytes a second, or Mbit/s for megabits")]
    Ambiguous(
        /// The text.
        String,
    ),
    /// The text after the operator is no value of this metric.
    #[error("'{text}' is not {wanted}")]
    Bound {
        /// The text.
        text: String,
        /// What is valid instead.
        wanted: &'static str,
    },
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        let text = text.trim();
        let at = text.find(['<', '>', '=']).ok_or(BadCondition::Operator)?;
        let (metric, rest) = text.split_at(at);
        let mut metric: Metric = metric.trim().parse()?;
        if let Metric::Count(counted) = metric
            && counted.unit != Unit::Any
            && rest.trim_end().ends_with('%')
        {
            metric = Metric::Share(counted);
        }
        let (operator, bound) = Operator::WRITTEN
            .into_iter()
            .find_map(|(written, operator)| Some((operator, rest.strip_prefix(written)?)))
            .ok_or(BadCondition::Operator)?;
        Ok(Self {
            text: text.to_owned(),
            metric,
            operator,
            bound: metric.bound(bound.trim())?,
        })
    }
}

/// A time. A month is refused: its unit, `M`, differs from that of a minute by case alone.
fn time(text: &str) -> Option<Duration> {
    let has_month = text.contains('M');
    let time = humantime::parse_duration(text).ok()?;
    (!has_month).then_some(time)
}

/// A number that is not negative, where `k` stands for a thousand and `M` for a million.
fn number(text: &str) -> Option<f64> {
    let (digits, factor) = units::split_factor(text);
    // `f64::from_str` would take signs, exponents, infinities and not-a-number.
    let plain = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = plain.then(|| digits.parse().ok())??;
    Some(number * factor)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run is shorter than 2^53 ns, 104 days"
)]
const fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run is shorter than 2^53 ns, 104 days"
)]
const fn whole(nanoseconds: u64) -> f64 {
    nanoseconds as f64
}
