//! The search for the highest rate at which a condition holds: the rate is doubled
//! until a trial fails, then bisected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::Error;
use super::expect::Condition;
use super::plan::Plan;
use super::progress::Watch;
use super::results::{Doubt, Results, Trial};
use super::run::run;
use crate::probe::addresses::Addresses;

/// The rate is found when the bounds around it differ by at most this factor.
const PRECISION: f64 = 1.05;

/// The search gives up below this rate, in messages a second.
const LOWEST: f64 = 1.0;

/// How long a trial is if the plan does not say.
const TRIAL_TIME: Duration = Duration::from_secs(2);

/// A trial may be up to this many times as long, to have enough messages.
const MAX_STRETCH: u32 = 20;

/// A trial has this many times the messages that a percentile needs, since arrivals
/// may be random.
const MARGIN: f64 = 1.2;

/// The longest warm-up of a trial: the server is warm from the one before.
const TRIAL_WARMUP: Duration = Duration::from_millis(300);

/// How long the probe run is, a closed loop that gives the first rate.
const PROBE_TIME: Duration = Duration::from_millis(300);

/// The first rate, as a fraction of the rate of the closed loop.
const FIRST_FRACTION: f64 = 0.5;

/// Searches for the highest rate at which `condition` holds and the generator keeps
/// its schedule. Returns the results of the run at that rate, with all trials; if
/// there is no such rate, the results of the last trial.
///
/// # Errors
/// Those of [`run`].
pub fn find_rate(
    addresses: &Addresses,
    plan: &Plan,
    condition: &Condition,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
) -> Result<Results, Error> {
    let probe = Plan {
        rate_per_s: None,
        duration: Some(PROBE_TIME),
        count: None,
        warmup: plan.warmup.min(TRIAL_WARMUP),
        ..plan.clone()
    };
    let mut last = run(addresses, &probe, stop, watch)?;
    let mut bounds = Bounds::starting_at(last.rate_per_s * FIRST_FRACTION);
    let mut best = None;
    let mut trials = Vec::new();
    while let Some(rate) = bounds.next()
        && !stop.load(Ordering::Relaxed)
    {
        let attempt = Plan {
            rate_per_s: Some(rate),
            duration: Some(trial_time(plan, condition, rate)),
            ..probe.clone()
        };
        let results = run(addresses, &attempt, stop, watch)?;
        if stop.load(Ordering::Relaxed) {
            // It was cut short, so its results mean nothing.
            break;
        }
        let trial = assess(rate, &results, condition);
        bounds.update(rate, trial.held);
        if trial.held {
            best = Some(results);
        } else {
            last = results;
        }
        trials.push(trial);
    }
    let mut results = best.unwrap_or(last);
    results.search = trials;
    Ok(results)
}

/// The length of a trial: that of the plan, or longer if the condition's percentile
/// needs more messages.
#[expect(clippy::cast_precision_loss, reason = "few messages are needed")]
fn trial_time(plan: &Plan, condition: &Condition, rate: f64) -> Duration {
    let time = plan.duration.unwrap_or(TRIAL_TIME);
    let needed = condition.needed() as f64 * MARGIN / rate;
    let most = time * MAX_STRETCH;
    Duration::try_from_secs_f64(needed).map_or(most, |needed| needed.clamp(time, most))
}

/// The trial of a rate, from the results of its run.
fn assess(rate: f64, results: &Results, condition: &Condition) -> Trial {
    let kept = !results
        .suspicions
        .iter()
        .any(|suspicion| suspicion.kind == Doubt::ScheduleMissed);
    let latency = results.round_trips();
    Trial {
        rate_per_s: rate,
        echoed_per_s: results.rate_per_s,
        p50_ns: latency.percentile(50.0),
        p99_ns: latency.percentile(99.0),
        max_ns: latency.max(),
        held: kept && condition.check(results).held,
    }
}

/// The bounds of the rate that is searched for.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: f64,
    /// The highest rate that held.
    held: Option<f64>,
    /// The lowest rate that failed.
    failed: Option<f64>,
}

impl Bounds {
    const fn starting_at(rate: f64) -> Self {
        Self {
            first: rate.max(LOWEST),
            held: None,
            failed: None,
        }
    }

    /// The next rate to try, unless it is found or there is none.
    fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * 2.0),
            (None, Some(failed)) => Some(failed / 2.0).filter(|&rate| rate >= LOWEST),
            (Some(held), Some(failed)) if failed <= held * PRECISION => None,
            (Some(held), Some(failed)) => Some(f64::midpoint(held, failed)),
        }
    }

    const fn update(&mut self, rate: f64, held: bool) {
        match held {
            true => self.held = Some(rate),
            false => self.failed = Some(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of trials for a server that holds up to `limit`, and the rate found.
    fn search(first: f64, limit: f64) -> (usize, Option<f64>) {
        let mut bounds = Bounds::starting_at(first);
        let mut trials = 0;
        while let Some(rate) = bounds.next() {
            trials += 1;
            bounds.update(rate, rate <= limit);
        }
        (trials, bounds.held)
    }

    #[test]
    fn the_rate_is_found_to_a_twentieth_from_any_first_rate() {
        for first in [1.0, 10.0, 5000.0, 800_000.0] {
            let (trials, found) = search(first, 12_345.0);
            let found = found.unwrap();
            assert!(
                found <= 12_345.0 && found * PRECISION >= 12_345.0,
                "{first}: {found}"
            );
            assert!(trials <= 20, "{first}: {trials} trials");
        }
    }

    #[test]
    fn a_server_that_holds_no_rate_ends_the_search() {
        assert_eq!(search(1000.0, 0.1), (10, None));
    }
}
