//! What all samples have: how busy both sides were, and percentiles in microseconds.

use echopool::probe::latency::Latency;

use crate::load::usage::Usage;
use crate::results::metric::{Metric, Sample};

/// How busy both sides were; `load` is the part of the time in which the load was.
pub(super) fn busy_sides(usage: &Usage, load: f64) -> Sample {
    Sample::from([
        (Metric::ServerCpu, usage.share(usage.server) * 100.0),
        (Metric::LoadBusy, load * 100.0),
        (Metric::OtherCpu, usage.share(usage.other()) * 100.0),
    ])
}

/// In microseconds; `quantile` is between 0 and 1.
pub(super) fn latency_us(latency: &Latency, quantile: f64) -> f64 {
    as_f64(latency.histogram.value_at_quantile(quantile)) / 1e3
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "all counts are far below 2^53")]
pub(super) const fn as_f64(count: u64) -> f64 {
    count as f64
}
