//! The search for the highest rate at which a condition holds: the rate is doubled
//! until a trial fails, or halved until one holds, then bisected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::Error;
use super::expect::Condition;
use super::plan::{Load, Plan};
use super::progress::Watch;
use super::results::{Doubt, Results, Suspicion, Trial};
use super::run::run;
use super::validity::not_offered;
use crate::base::units;
use crate::probe::addresses::Addresses;

/// The rate is found when the bounds around it differ by at most this factor.
const PRECISION: f64 = 1.05;

/// The search gives up below this rate, in messages a second.
const LOWEST: f64 = 1.0;

/// The search gives up after so many rates in a row, each half of the one before, that did
/// not bring the measured value nearer to what would hold.
const STUCK: u32 = 2;

/// Nearer means: at most this part of the distance before is left.
const NEARER: f64 = 0.95;

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

/// Datagrams a second that are due in the closed loop: more than come back.
const FASTEST: f64 = 1e6;

/// The least first rate of datagrams. They need not wait for each other, so what comes back one
/// at a time over a long path is no measure; and a server that answers each source so many a
/// second may have none left after the closed loop.
const FIRST_OF_DATAGRAMS: f64 = 1000.0;

/// Searches for the highest rate at which `condition` holds and the generator keeps
/// its schedule. Returns the results of the run at that rate, with all trials; if
/// there is no such rate, the results of the last trial.
///
/// # Errors
/// The errors of [`run`].
pub fn find_rate(
    addresses: &Addresses,
    plan: &Plan,
    condition: &Condition,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn Watch,
) -> Result<Results, Error> {
    let probe = Plan {
        duration: Some(PROBE_TIME),
        count: None,
        warmup: plan.warmup.min(TRIAL_WARMUP),
        ..match plan.load {
            Load::Datagrams => one_at_a_time(plan),
            _ => Plan {
                rate_per_s: None,
                ..plan.clone()
            },
        }
    };
    watch.search_step("step 1: as fast as replies come, for a first rate");
    let mut last = of_closed_loop(run(addresses, &probe, stop, watch)?);
    let first = first_rate(plan.load, last.rate_per_s);
    let mut search = Search::new(condition, first, floor(plan, condition));
    let mut best = None;
    while let Some(rate) = search.next()
        && !stop.load(Ordering::Relaxed)
    {
        let attempt = Plan {
            rate_per_s: Some(rate),
            duration: Some(trial_time(plan, condition, rate)),
            depth: plan.depth,
            ..probe.clone()
        };
        watch.search_step(&search.step(&attempt));
        let results = run(addresses, &attempt, stop, watch)?;
        if results.interrupted {
            // It was cut short, so its results mean nothing.
            break;
        }
        match search.add(rate, &results) {
            true => best = Some(results),
            false => last = results,
        }
    }
    let mut results = best.unwrap_or(last);
    results.interrupted |= search.end.is_none();
    results.suspicions.extend(search.limit_of_generator());
    results.search_end = search.end;
    results.search = search.trials;
    Ok(results)
}

/// The first rate to try, from that of the closed loop.
fn first_rate(load: Load, closed_loop: f64) -> f64 {
    let first = closed_loop * FIRST_FRACTION;
    match load {
        Load::Datagrams => first.max(FIRST_OF_DATAGRAMS),
        _ => first,
    }
}

/// The results of the closed loop as such: the rate that was due in it is none that anybody
/// asked for, nor is it a fault that no more was sent.
fn of_closed_loop(mut results: Results) -> Results {
    results.plan.rate_per_s = None;
    results.totals.unsent = 0;
    results
        .suspicions
        .retain(|each| each.kind != Doubt::ScheduleMissed);
    results
}

/// Datagrams as fast as echoes come, one in flight on each flow: a closed loop that goes on
/// where one is lost, after its time-out.
fn one_at_a_time(plan: &Plan) -> Plan {
    Plan {
        rate_per_s: Some(FASTEST),
        depth: 1,
        ..plan.clone()
    }
}

/// The lowest rate at which the longest trial has the messages that the condition needs.
#[expect(clippy::cast_precision_loss, reason = "few messages are needed")]
fn floor(plan: &Plan, condition: &Condition) -> f64 {
    let longest = plan.duration.unwrap_or(TRIAL_TIME) * MAX_STRETCH;
    let needed = condition.needed() as f64 * MARGIN;
    (needed / longest.as_secs_f64()).max(LOWEST)
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

/// A search that goes on: its trials, and what they tell.
struct Search<'a> {
    condition: &'a Condition,
    bounds: Bounds,
    trials: Vec<Trial>,
    /// Why it has ended.
    end: Option<String>,
    /// How far the last failing trial was from what would hold.
    shortfall: Option<f64>,
    /// Failing trials in a row that were no nearer than the one before.
    stuck: u32,
    /// The fastest round trip of the last trial, if even that was too slow.
    too_slow: Option<u64>,
    /// The rate that is tried once more.
    again: Option<f64>,
    /// Whether the lowest rate that failed did so by the generator alone.
    is_by_generator: bool,
}

impl<'a> Search<'a> {
    fn new(condition: &'a Condition, first: f64, floor: f64) -> Self {
        Self {
            condition,
            bounds: Bounds::starting_at(first, floor),
            trials: Vec::new(),
            end: None,
            shortfall: None,
            stuck: 0,
            too_slow: None,
            again: None,
            is_by_generator: false,
        }
    }

    /// The next rate to try, unless the search has ended.
    fn next(&self) -> Option<f64> {
        match self.end {
            None => self.again.or_else(|| self.bounds.next()),
            Some(_) => None,
        }
    }

    /// The next step: its number, its rate and what is known so far.
    fn step(&self, attempt: &Plan) -> String {
        let number = self.trials.len() + 2;
        let rate = attempt.rate_per_s.map_or_else(String::new, units::rate);
        let time = units::duration(attempt.duration.unwrap_or(TRIAL_TIME));
        let known = self.bounds.known();
        format!("step {number}: {rate} for {time}; {known}")
    }

    /// Adds the trial of a rate, from the results of its run. Returns whether it held. A rate
    /// that failed because the generator was woken late is tried once more: usually another
    /// program had the processor for a moment.
    fn add(&mut self, rate: f64, results: &Results) -> bool {
        let trial = assess(rate, results, self.condition);
        let held = trial.held;
        let is_second = self.again.take().is_some();
        let is_by_generator = is_by_generator(&trial);
        self.trials.push(trial);
        if is_by_generator && !is_second && not_offered(results).is_none() {
            self.again = Some(rate);
            return false;
        }
        if !held {
            self.is_by_generator = is_by_generator;
        }
        self.bounds.update(rate, held);
        self.end = self.hopeless(results).or_else(|| self.ended());
        held
    }

    /// Why there is no next rate, if there is none.
    fn ended(&self) -> Option<String> {
        let end = self.bounds.end()?;
        Some(match self.failed_by_generator() {
            None => end,
            Some(rate) => format!(
                "{end}; the condition held at {}, and only the schedule was missed",
                units::rate(rate)
            ),
        })
    }

    /// The lowest rate that failed, if the condition held there and the generator did not keep
    /// its schedule.
    fn failed_by_generator(&self) -> Option<f64> {
        self.bounds.failed.filter(|_| self.is_by_generator)
    }

    /// The doubt about a rate that this machine bounds and not the server.
    fn limit_of_generator(&self) -> Option<Suspicion> {
        self.bounds.held?;
        let failed = self.failed_by_generator()?;
        Some(Suspicion {
            kind: Doubt::ScheduleMissed,
            seen: format!(
                "at {} the condition held, and this machine did not keep the schedule: the rate \
                 that was found is its limit, the server's may be higher",
                units::rate(failed)
            ),
            advice: String::from(
                "give the generator CPUs of its own and more --threads, or allow more with \
                 --connections",
            ),
        })
    }

    /// Why no rate will hold, if that can be told: trying ever lower ones takes minutes.
    #[expect(clippy::cast_precision_loss, reason = "times are below 2^53 ns")]
    fn hopeless(&mut self, results: &Results) -> Option<String> {
        let trial = self.trials.last()?;
        if self.bounds.held.is_some() || trial.schedule_kept == Some(false) {
            return None;
        }
        if trial.undamaged == Some(false) {
            self.stuck += 1;
            return (self.stuck >= STUCK).then(|| {
                String::from("no rate holds: bytes came back changed at half the rate, too")
            });
        }
        // Where messages queue up, even the fastest is faster at half the rate.
        let fastest = self.condition.fastest_is_too_slow(results);
        let before = std::mem::replace(&mut self.too_slow, fastest);
        if let (Some(before), Some(fastest)) = (before, fastest)
            && fastest as f64 > before as f64 * NEARER
        {
            let fastest = units::time(fastest as f64);
            return Some(format!("no rate holds: the fastest message took {fastest}"));
        }
        let shortfall = self.condition.shortfall(results);
        let nearer = self
            .shortfall
            .zip(shortfall)
            .is_none_or(|(before, now)| now <= before * NEARER);
        self.stuck = if nearer { 0 } else { self.stuck + 1 };
        self.shortfall = shortfall;
        (self.stuck >= STUCK)
            .then(|| String::from("no rate holds: half the rate brought it no nearer, twice"))
    }
}

/// Whether the generator alone made a trial fail.
fn is_by_generator(trial: &Trial) -> bool {
    let others_held = trial.condition_held == Some(true) && trial.undamaged != Some(false);
    others_held && trial.schedule_kept == Some(false)
}

/// The trial of a rate, from the results of its run. Messages that began late do not matter for
/// a condition that only counts them.
fn assess(rate: f64, results: &Results, condition: &Condition) -> Trial {
    let missed = |suspicion: &Suspicion| match suspicion.kind {
        Doubt::ScheduleMissed => condition.is_of_time() || not_offered(results).is_some(),
        Doubt::NotSent | Doubt::DroppedHere => true,
        _ => false,
    };
    let schedule_kept = !results.suspicions.iter().any(missed);
    let condition_held = condition.check(results).held;
    // What came back changed is in no loss, and proves nothing of the rate.
    let undamaged = results.totals.errors.damage() == 0;
    let latency = results.round_trips();
    Trial {
        rate_per_s: rate,
        echoed_per_s: results.rate_per_s,
        p50_ns: latency.percentile(50.0),
        p99_ns: latency.percentile(99.0),
        max_ns: latency.max(),
        condition_held: Some(condition_held),
        schedule_kept: Some(schedule_kept),
        undamaged: Some(undamaged),
        held: schedule_kept && condition_held && undamaged,
    }
}

/// The bounds of the rate that is searched for.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: f64,
    /// No lower rate is tried.
    floor: f64,
    /// The highest rate that held.
    held: Option<f64>,
    /// The lowest rate that failed.
    failed: Option<f64>,
}

impl Bounds {
    const fn starting_at(rate: f64, floor: f64) -> Self {
        Self {
            first: rate.max(floor),
            floor,
            held: None,
            failed: None,
        }
    }

    /// The next rate to try, unless it is found or there is none.
    fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * 2.0),
            (None, Some(failed)) => Some(failed / 2.0).filter(|&rate| rate >= self.floor),
            (Some(held), Some(failed)) if failed <= held * PRECISION => None,
            (Some(held), Some(failed)) => Some(f64::midpoint(held, failed)),
        }
    }

    /// Why there is no next rate, if there is none.
    fn end(&self) -> Option<String> {
        let text = match (self.next(), self.held, self.failed) {
            (Some(_), ..) => return None,
            (None, Some(_), Some(failed)) => format!(
                "the rate is found to within {:.0} %: {} failed",
                (PRECISION - 1.0) * 100.0,
                units::rate(failed)
            ),
            _ => format!(
                "no rate holds: below {} a trial has too few messages to tell",
                units::rate(self.floor)
            ),
        };
        Some(text)
    }

    /// The highest rate known to hold and the lowest known to fail, as a text.
    fn known(&self) -> String {
        let rate = units::rate;
        match (self.held, self.failed) {
            (None, None) => String::from("no rate was tried so far"),
            (Some(held), None) => format!("{} held, no rate failed so far", rate(held)),
            (None, Some(failed)) => format!("no rate held so far, {} failed", rate(failed)),
            (Some(held), Some(failed)) => format!(
                "{} held, {} failed, at most {} to go",
                rate(held),
                rate(failed),
                units::count(self.steps_left(), "step", "steps")
            ),
        }
    }

    /// The most steps that are left between two bounds: each halves their distance, and the
    /// lower one may stay.
    fn steps_left(&self) -> u64 {
        let (Some(held), Some(failed)) = (self.held, self.failed) else {
            return 0;
        };
        let mut distance = failed - held;
        let mut steps = 0;
        while distance > held * (PRECISION - 1.0) {
            distance /= 2.0;
            steps += 1;
        }
        steps
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
    use crate::bench::validity::tests::{healthy, latency};

    /// The number of trials for a server that holds up to `limit`, and the rate found.
    fn search(first: f64, limit: f64) -> (usize, Option<f64>) {
        let mut bounds = Bounds::starting_at(first, LOWEST);
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
    fn each_step_tells_what_is_known_and_how_many_are_left() {
        let mut bounds = Bounds::starting_at(8000.0, LOWEST);
        assert_eq!(bounds.known(), "no rate was tried so far");
        bounds.update(8000.0, true);
        assert_eq!(bounds.known(), "8,000/s held, no rate failed so far");
        bounds.update(16_000.0, false);
        assert_eq!(
            bounds.known(),
            "8,000/s held, 16,000/s failed, at most 5 steps to go"
        );
        // Where the lower bound stays, there are as many.
        let mut steps = 0;
        while let Some(rate) = bounds.next() {
            bounds.update(rate, false);
            steps += 1;
        }
        assert_eq!(steps, 5);
        assert_eq!(bounds.steps_left(), 0);
        let mut none = Bounds::starting_at(8000.0, LOWEST);
        none.update(8000.0, false);
        assert_eq!(none.known(), "no rate held so far, 8,000/s failed");
    }

    #[test]
    fn a_server_that_holds_no_rate_ends_the_search() {
        assert_eq!(search(1000.0, 0.1), (10, None));
        let mut bounds = Bounds::starting_at(1000.0, 30.0);
        while let Some(rate) = bounds.next() {
            assert!(rate >= 30.0, "{rate}");
            assert_eq!(bounds.end(), None);
            bounds.update(rate, false);
        }
        let end = bounds.end().unwrap();
        assert!(end.contains("below 30.00/s a trial has too few"), "{end}");
    }

    #[test]
    fn a_trial_below_the_floor_could_not_have_the_messages_that_it_needs() {
        let plan = |duration| Plan {
            duration,
            ..healthy(Some(1.0)).plan
        };
        let of = |text: &str, duration| floor(&plan(duration), &text.parse().unwrap());
        // 1,000 messages and a fifth more, in twenty times two seconds.
        assert!((of("p99<1ms", None) - 30.0).abs() < 1e-9);
        assert!((of("p99.9<1ms", None) - 300.0).abs() < 1e-9);
        assert!((of("p99<1ms", Some(Duration::from_secs(1))) - 60.0).abs() < 1e-9);
        assert!((of("max<1ms", None) - LOWEST).abs() < 1e-9);
    }

    /// Searches where each trial has these round trips: the number of trials and the end.
    fn searched(condition: &str, trial: impl Fn(f64) -> Results) -> (Vec<Trial>, String) {
        let condition = condition.parse().unwrap();
        let mut search = Search::new(&condition, 16_000.0, 1.0);
        while let Some(rate) = search.next() {
            search.add(rate, &trial(rate));
        }
        (search.trials, search.end.unwrap())
    }

    fn with_times(times: impl IntoIterator<Item = u64>) -> Results {
        let mut results = healthy(Some(1000.0));
        results.response = Some(latency(times));
        results
    }

    #[test]
    fn a_search_ends_once_the_fastest_message_is_too_slow() {
        let slow = |_| with_times((0..10_000).map(|n| 16_000 + n));
        for condition in ["p99<10us", "p50<=10us", "max<16us", "mean<1us", "min<16us"] {
            let (trials, end) = searched(condition, slow);
            assert_eq!(trials.len(), 2, "{condition}");
            assert_eq!(end, "no rate holds: the fastest message took 16.0 us");
            let seen = |trial: &Trial| (trial.condition_held, trial.schedule_kept, trial.held);
            assert_eq!(seen(&trials[0]), (Some(false), Some(true), false));
        }
    }

    #[test]
    fn a_search_ends_once_lower_rates_bring_it_no_nearer() {
        // A hundredth takes 2 ms, whatever the rate.
        let stalls =
            |_| with_times((0..10_000).map(|n| if n % 50 == 0 { 2_000_000 } else { 5_000 }));
        let (trials, end) = searched("p99<1ms", stalls);
        assert_eq!(trials.len(), 3);
        assert!(end.contains("brought it no nearer"), "{end}");
        // Half the rate halves the time: the search goes on.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time"
        )]
        let queues = |rate: f64| with_times([(rate * 1000.0) as u64; 10_000]);
        let (trials, end) = searched("p99<150us", queues);
        assert!(trials.iter().any(|trial| trial.held), "{trials:?}");
        assert!(end.contains("found to within 5 %"), "{end}");
    }

    #[test]
    fn a_rate_at_which_bytes_come_back_changed_does_not_hold() {
        let damaged = |is_damaged: fn(f64) -> bool| {
            move |rate| {
                let mut results = with_times([1_000; 10_000]);
                results.totals.errors.changed = u64::from(is_damaged(rate));
                results
            }
        };
        let (trials, end) = searched("loss<1%", damaged(|_| true));
        let seen = |trial: &Trial| (trial.condition_held, trial.undamaged, trial.held);
        assert_eq!(seen(&trials[0]), (Some(true), Some(false), false));
        assert_eq!(trials.len(), 2);
        assert!(end.contains("bytes came back changed"), "{end}");
        // One rate alone ends nothing.
        let (trials, end) = searched("loss<1%", damaged(|rate| rate > 9_000.0));
        assert!(end.contains("found to within 5 %"), "{end}");
        let held = trials.iter().filter(|trial| trial.held);
        assert!(held.clone().all(|trial| trial.rate_per_s <= 9_000.0));
        assert!(held.count() > 0);
    }

    #[test]
    fn a_missed_schedule_is_distinguished_from_a_failed_condition() {
        let (trials, end) = searched("p99<1ms", |_| begun_late());
        assert!(
            trials.len() > 20,
            "the schedule may be kept at a lower rate, and each is tried twice"
        );
        assert!(end.contains("too few messages"), "{end}");
        assert!(end.contains("only the schedule was missed"), "{end}");
        let first = &trials[0];
        assert_eq!(
            (first.condition_held, first.schedule_kept),
            (Some(true), Some(false))
        );
    }

    /// Round trips of 1 us each, in a trial whose messages began late.
    fn begun_late() -> Results {
        let mut results = with_times([1_000; 10_000]);
        results.suspicions = vec![Suspicion {
            kind: Doubt::ScheduleMissed,
            seen: String::new(),
            advice: String::new(),
        }];
        results
    }

    #[test]
    fn messages_that_began_late_do_not_matter_where_they_are_counted() {
        let condition = "loss<0.1%".parse().unwrap();
        assert!(assess(1000.0, &begun_late(), &condition).held);
        let mut short = begun_late();
        short.totals.unsent = short.totals.sent;
        assert!(
            !assess(1000.0, &short, &condition).held,
            "half was not sent"
        );
        assert!(!assess(1000.0, &begun_late(), &"p99<1ms".parse().unwrap()).held);
    }

    #[test]
    fn a_rate_that_began_late_once_is_tried_again() {
        let condition: Condition = "p99<1ms".parse().unwrap();
        let mut search = Search::new(&condition, 1000.0, 1.0);
        assert!(!search.add(1000.0, &begun_late()));
        assert_eq!(search.next(), Some(1000.0));
        assert!(search.add(1000.0, &with_times([1_000; 10_000])));
        assert_eq!(search.next(), Some(2000.0));
        assert_eq!(search.limit_of_generator(), None);
        while let Some(rate) = search.next() {
            search.add(rate, &begun_late());
        }
        let end = search.end.as_deref().unwrap();
        assert!(end.contains("and only the schedule was missed"), "{end}");
        let doubt = search.limit_of_generator().unwrap();
        assert!(doubt.seen.contains("is its limit"), "{doubt:?}");
        // Bytes that came back changed are no matter of the schedule.
        let mut damaged = begun_late();
        damaged.totals.errors.changed = 1;
        let mut search = Search::new(&condition, 1000.0, 1.0);
        search.add(1000.0, &damaged);
        assert_eq!((search.again, search.failed_by_generator()), (None, None));
    }

    #[test]
    fn datagrams_begin_at_a_rate_that_a_closed_loop_need_not_reach() {
        assert!((first_rate(Load::Datagrams, 0.0) - 1000.0).abs() < 1e-9);
        assert!((first_rate(Load::Datagrams, 8000.0) - 4000.0).abs() < 1e-9);
        assert!((first_rate(Load::Messages, 10.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_search_that_found_no_rate_does_not_meet_its_condition() {
        let condition: Condition = "p99<1ms".parse().unwrap();
        let mut results = with_times([1_000; 10_000]);
        assert!(condition.check(&results).held);
        let seen = condition.check_search(&results);
        assert_eq!((seen.held, &*seen.seen), (false, "no rate was tried"));
        results.search = vec![assess(1000.0, &begun_late(), &condition)];
        results.search_end = Some(String::from("no rate holds"));
        let seen = condition.check_search(&results);
        assert_eq!((seen.held, &*seen.seen), (false, "no rate holds"));
        let held = with_times([1_000; 10_000]);
        results.search.push(assess(500.0, &held, &condition));
        assert!(condition.check_search(&results).held);
    }
}
