//! How many connections can be begun: a burst of them, then one after another at a pace at
//! which some are denied, and then at half the pace that was served.

use std::time::{Duration, Instant};

use super::newcomer::Newcomer;
use super::setting::Setting;
use crate::check::findings::{Paced, Rate};

/// Connections of the burst, at most.
const BURST: usize = 150;

/// The burst is watched for so long, less than a SYN takes to be sent again.
const WATCHED: Duration = Duration::from_millis(700);

/// How often a single one is tried that must be served, and the pause between.
const LONE_TRIES: u32 = 6;
const LONE_PAUSE: Duration = Duration::from_millis(300);

/// The pauses between connections that are begun one after another: the next one where none
/// was denied for the time.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(5),
    Duration::from_micros(1250),
    Duration::from_micros(400),
];
const UNDENIED: Duration = Duration::from_millis(600);

/// How long they are counted once one was denied, and how long at the most where fewer were
/// served than tell a rate.
const COUNTED: Duration = Duration::from_millis(1400);
const COUNTED_MOST: Duration = Duration::from_millis(3500);
const COUNTED_LEAST: usize = 8;

/// The longest time for which connections are begun slowly, and how many at the most.
const SLOW: Duration = Duration::from_secs(3);
const SLOW_MOST: usize = 24;

/// The pause between looks at the sockets.
const LOOK: Duration = Duration::from_millis(1);

/// Begins connections: first alone, then many at once, then one after another, fast and slowly.
pub(super) fn rate(setting: &Setting<'_>, most: usize) -> Option<Rate> {
    let lone = lone(setting)?;
    let burst = burst(setting, most.min(BURST))?;
    let tried = burst.len();
    let served = burst.iter().filter(|one| one.served.is_some()).count();
    drop(burst);
    if served == tried {
        return Some(Rate::unlimited(tried));
    }
    let fast = fast(setting, lone)?;
    let slow = match fast.served < fast.tried {
        true => slow(setting, fast.per_s / 2.0)?,
        false => None,
    };
    Some(Rate {
        tried,
        made: served,
        fast,
        slow,
    })
}

/// How long a single one waits for its first byte. A rate may deny some of those, too.
fn lone(setting: &Setting<'_>) -> Option<Duration> {
    for _ in 0..LONE_TRIES {
        if let Some(wait) = burst(setting, 1)?.first()?.wait() {
            return Some(wait);
        }
        setting.pause(LONE_PAUSE);
    }
    None
}

/// Begins some at once and watches them.
fn burst(setting: &Setting<'_>, number: usize) -> Option<Vec<Newcomer>> {
    let begin = |_| Newcomer::begin(setting.address).ok();
    let mut all: Vec<_> = (0..number).map_while(begin).collect();
    let until = Instant::now() + WATCHED + 2 * setting.round_trip;
    while !setting.is_stopped()
        && Instant::now() < until
        && all.iter().any(|one| !one.is_over && one.served.is_none())
    {
        all.iter_mut().for_each(Newcomer::look);
        std::thread::sleep(LOOK);
    }
    (!setting.is_stopped() && !all.is_empty()).then_some(all)
}

/// Begins one after another, faster as long as none is denied. Counts from the first that is:
/// before, those are served as well that were saved up.
fn fast(setting: &Setting<'_>, lone: Duration) -> Option<Paced> {
    let mut last = None;
    for pause in PAUSES {
        let all = in_turn(setting, pause, usize::MAX, |so_far| match so_far.denied {
            Some(denied) => {
                let is_few = so_far.served < COUNTED_LEAST;
                denied.elapsed() < if is_few { COUNTED_MOST } else { COUNTED }
            }
            None => so_far.began.elapsed() < UNDENIED,
        })?;
        let paced = counted(&all, lone);
        let is_denied = all.iter().any(|one| one.served.is_none());
        last = Some(paced);
        if is_denied {
            break;
        }
    }
    last
}

/// Begins so many a second, which a rate that was twice that serves all. `None` if there is no
/// time for any.
fn slow(setting: &Setting<'_>, per_s: f64) -> Option<Option<(usize, usize)>> {
    let pause = Duration::try_from_secs_f64(1.0 / per_s).unwrap_or(SLOW);
    if pause >= SLOW {
        return Some(None);
    }
    setting.pause(pause);
    let all = in_turn(setting, pause, SLOW_MOST, |so_far| {
        so_far.began.elapsed() < SLOW
    })?;
    let served = all.iter().filter(|one| one.served.is_some()).count();
    Some(Some((all.len(), served)))
}

/// What became of one that was begun in its turn.
#[derive(Clone, Copy)]
struct Turn {
    begun: Instant,
    wait: Option<Duration>,
    served: Option<Instant>,
}

/// What is known while they are begun.
#[derive(Clone, Copy)]
struct SoFar {
    /// When the first was begun.
    began: Instant,
    /// When the first was begun that was denied, and how many were served since.
    denied: Option<Instant>,
    served: usize,
}

impl SoFar {
    fn saw(&mut self, one: &Newcomer) {
        match one.served {
            Some(_) => self.served += usize::from(self.denied.is_some()),
            None => {
                let first = self.denied.map_or(one.begun, |first| first.min(one.begun));
                self.denied = Some(first);
            }
        }
    }
}

/// Begins one after another with that pause as long as `goes_on` says; `most` at most.
fn in_turn(
    setting: &Setting<'_>,
    pause: Duration,
    most: usize,
    goes_on: impl Fn(SoFar) -> bool,
) -> Option<Vec<Turn>> {
    let patience = Duration::from_millis(100) + 2 * setting.round_trip;
    let mut so_far = SoFar {
        began: Instant::now(),
        denied: None,
        served: 0,
    };
    let (mut next, mut number) = (so_far.began, 0);
    let (mut open, mut all): (Vec<Newcomer>, Vec<Turn>) = (Vec::new(), Vec::new());
    loop {
        if setting.is_stopped() {
            return None;
        }
        let goes_on = number < most && goes_on(so_far);
        while goes_on && next <= Instant::now() && number < most {
            open.extend(Newcomer::begin(setting.address));
            // What a busy machine is behind is not made up for: that would be a burst.
            next = (next + pause).max(Instant::now() - pause);
            number += 1;
        }
        open.iter_mut().for_each(Newcomer::look);
        // One that was served is closed at once, and one that was not is given up.
        open.retain(|one| {
            let is_done = one.is_done(patience, patience + WATCHED);
            if is_done {
                so_far.saw(one);
                all.push(Turn {
                    begun: one.begun,
                    wait: one.wait(),
                    served: one.served,
                });
            }
            !is_done
        });
        if !goes_on && open.is_empty() {
            return Some(all);
        }
        std::thread::sleep(LOOK.min(pause));
    }
}

/// Counts those that were begun after the first that was denied, or all where none was.
fn counted(all: &[Turn], lone: Duration) -> Paced {
    let denied = all.iter().filter(|one| one.served.is_none());
    let first_denied = denied.map(|one| one.begun).min();
    let is_counted = |one: &&Turn| first_denied.is_none_or(|first| one.begun > first);
    let counted: Vec<_> = all.iter().filter(is_counted).collect();
    let begun = counted.iter().map(|one| one.begun);
    let first = first_denied.or_else(|| begun.clone().min());
    let time = first.zip(begun.max()).map(|(first, last)| last - first);
    let served = counted.iter().filter(|one| one.served.is_some()).count();
    let mut waits: Vec<_> = counted.iter().filter_map(|one| one.wait).collect();
    waits.sort();
    let wait = waits.get(waits.len() / 2).copied().unwrap_or_default();
    Paced {
        tried: counted.len(),
        served,
        per_s: served as f64 / time.unwrap_or_default().as_secs_f64().max(1e-3),
        wait: wait.saturating_sub(lone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_up_is_not_counted() {
        let began = Instant::now();
        let turn = |at: u64, wait: Option<u64>| {
            let begun = began + Duration::from_millis(at);
            let wait = wait.map(Duration::from_millis);
            Turn {
                begun,
                wait,
                served: wait.map(|wait| begun + wait),
            }
        };
        // Ten that were saved up, and then one of ten: 20 a second.
        let saved = (0..10).map(|at| turn(at * 5, Some(1)));
        let rest = (10..210).map(|at| turn(at * 5, (at % 10 == 0).then_some(3)));
        let all: Vec<_> = saved.chain(rest.skip(1)).collect();
        let paced = counted(&all, Duration::from_millis(1));
        assert!((19.0..=21.0).contains(&paced.per_s), "{paced:?}");
        assert_eq!(paced.wait, Duration::from_millis(2));
        assert!(paced.served < paced.tried);
        let none = counted(&all[..10], Duration::ZERO);
        assert_eq!((none.tried, none.served), (10, 10));
        assert!((190.0..=230.0).contains(&none.per_s), "{none:?}");
    }
}
