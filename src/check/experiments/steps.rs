//! How many connections are served at once: opened in waves until one is not served, and
//! then again and again one more than that, and one fewer.

use std::cmp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Failed};
use super::setting::{FORGOTTEN, Setting, letters};
use crate::check::context::TICK;
use crate::check::findings::{Denied, Ending, Steps};
use crate::check::parallel::at_once;

/// Connections of the first wave, and of the largest.
const FIRST: usize = 8;
const LARGEST: usize = 32;

/// The server needs a moment to see that connections are gone.
const SETTLED: Duration = Duration::from_millis(300);

/// The pauses before another try where connections that are gone may still count: all of it as
/// long as they may.
const AGAIN: [Duration; 2] = [
    Duration::from_secs(2),
    FORGOTTEN.saturating_sub(Duration::from_secs(2)),
];

/// A limit is believed after these rounds. In each, so many newcomers are all denied beside as
/// many as are served, after so many pauses; then one of these ends, and after one pause a
/// newcomer is served. The numbers differ: a balancer that has a dead server denies every
/// second one, say, or at random, and a limit of those begun in a second has one more after
/// the same time whether one has ended or not.
const ROUNDS: [(usize, u32); 3] = [(2, 2), (3, 3), (1, 1)];

/// A SYN that is lost makes a connection late, and it is opened anew so often. Where more of a
/// wave than one in so many are late, it is no lost packet: a rate, say.
const ANEW: usize = 2;
const LATE_ONE_OF: usize = 8;

/// A path is full that takes nothing for so long, or has taken so many bytes; and so long it is
/// filled at the most, and a few round trips.
const FULL_AFTER: Duration = Duration::from_millis(150);
const FULL: usize = 64 << 20;
const FILLED: Duration = Duration::from_secs(1);

/// The pause between newcomers that see whether one that was reset is forgotten, and what is to be
/// left of the time of all experiments then.
const LOOK: Duration = Duration::from_millis(400);
const RESERVED: Duration = Duration::from_secs(2);

/// What the clauses saw and did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// Those that the clause that counts them had served when another one was not; 0 where it
    /// passed.
    pub(super) served: usize,
    /// One was reset with more on its way than was read.
    pub(super) left_full: bool,
}

/// Why no limit was found.
enum Not {
    /// All were served.
    Limited,
    /// Some were denied, but not by their number.
    Theirs,
    /// Too many were late.
    InTime,
    /// Connections that are gone may still have counted.
    Yet,
}

/// Opens connections until one is not served, `most` at most. `None` where that has
/// another reason than their number. Where the clauses had more than that served it waits until
/// their connections are forgotten.
pub(super) fn steps(setting: &Setting<'_>, most: usize, before: Before) -> Option<Steps> {
    let mut pauses = AGAIN.into_iter();
    loop {
        setting.pause(SETTLED + 2 * setting.round_trip);
        // What still counts then does so for longer than there is time.
        let least = if pauses.len() > 0 { before.served } else { 0 };
        match climb(setting, most, least, before) {
            Ok(found) => return Some(found),
            Err(Not::Limited) => return Some(Steps::Enough),
            Err(Not::Theirs | Not::InTime) => return None,
            Err(Not::Yet) => setting.pause(pauses.next()?),
        }
    }
}

/// Opens connections until one is not served, and sees whether that is for their number.
fn climb(setting: &Setting<'_>, most: usize, least: usize, before: Before) -> Result<Steps, Not> {
    let mut served: Vec<Connection<'_>> = Vec::new();
    let (mut wave, mut singly) = (FIRST, Singly::default());
    // Of those before: what is denied now leaves others.
    let counted_until = Instant::now() + setting.counts_for();
    let mut has_waited = false;
    while served.len() < most {
        let number = wave.min(most - served.len());
        let opened = match Wave::open(setting, number) {
            Err(Not::InTime) if number > 1 && singly.left.is_none() => {
                setting.pause(SETTLED + 2 * setting.round_trip);
                (wave, singly) = (1, Singly::instead_of(number));
                continue;
            }
            opened => opened?,
        };
        singly.note(&opened)?;
        served.extend(opened.served);
        if let Some(denied) = opened.denied {
            // Nothing else is served either: something else is the matter, or those of the
            // clauses count.
            if served.len() < least.max(1) {
                return Err(Not::Yet);
            }
            drop(opened.pending);
            let left = counted_until.saturating_duration_since(Instant::now());
            if left.is_zero() || has_waited {
                let connections = served.len();
                let (by, served) = prove(setting, served, denied)?;
                return Ok(before.limit(connections, by, || leaves_none(setting, served)));
            }
            setting.pause(left);
            has_waited = true;
            wave = if singly.left.is_some() { 1 } else { FIRST };
            continue;
        }
        if singly.left.is_none() {
            wave = (2 * wave).min(LARGEST);
        }
    }
    Err(Not::Limited)
}

/// Connections that are opened one by one, where too many of a wave were late: it may have
/// overflowed the queue of a server that takes no more than its limit.
#[derive(Default)]
struct Singly {
    /// So many more: had all of the wave been served, it was no limit. `None` in waves.
    left: Option<usize>,
    /// Of these, so many may be late.
    late: usize,
}

impl Singly {
    const fn instead_of(number: usize) -> Self {
        Self {
            left: Some(number),
            late: number.div_ceil(LATE_ONE_OF),
        }
    }

    /// One was opened; an error where there is no use in another one.
    fn note(&mut self, opened: &Wave<'_>) -> Result<(), Not> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        self.late = self.late.checked_sub(opened.late).ok_or(Not::Theirs)?;
        if opened.denied.is_none() {
            *left = left.checked_sub(1).ok_or(Not::Theirs)?;
        }
        Ok(())
    }
}

/// What became of connections that were opened at once.
struct Wave<'a> {
    served: Vec<Connection<'a>>,
    /// Made, and not served.
    pending: Vec<Connection<'a>>,
    /// How one of those ended that were not served, if any.
    denied: Option<Failed>,
    /// So many were made late, and others tried in their place.
    late: usize,
}

impl<'a> Wave<'a> {
    /// Opens some at once, each in a thread.
    fn open(setting: &'a Setting<'_>, number: usize) -> Result<Self, Not> {
        let late = AtomicUsize::new(0);
        let open = || match open_in_time(setting, &late) {
            Ok(connection) => match setting.is_served(&connection) {
                None => Ok(connection),
                Some(end) => Err((Some(connection), Failed::Ended(end))),
            },
            Err(failed) => Err((None, failed)),
        };
        let opened = at_once(number, open);
        let mut wave = Self {
            served: Vec::new(),
            pending: Vec::new(),
            denied: None,
            late: late.into_inner(),
        };
        if wave.late > number.div_ceil(LATE_ONE_OF) {
            return Err(Not::InTime);
        }
        for one in opened.into_iter().flatten() {
            match one {
                // No limit of those that are open.
                Ok(connection) if setting.is_late(connection.connect_time) => {
                    return Err(Not::InTime);
                }
                Ok(connection) => wave.served.push(connection),
                Err((_, Failed::Here)) => return Err(Not::Theirs),
                Err((made, failed)) => {
                    // One that was made tells more.
                    wave.denied = match made {
                        Some(_) => Some(failed),
                        None => wave.denied.or(Some(failed)),
                    };
                    wave.pending.extend(made);
                }
            }
        }
        match setting.is_stopped() {
            true => Err(Not::Theirs),
            false => Ok(wave),
        }
    }
}

/// Opens one, and another one in its place if it was late; counts those that were.
fn open_in_time<'a>(
    setting: &'a Setting<'_>,
    late: &AtomicUsize,
) -> Result<Connection<'a>, Failed> {
    for _ in 0..ANEW {
        let connection = setting.open()?;
        if !setting.is_late(connection.connect_time) {
            return Ok(connection);
        }
        late.fetch_add(1, Ordering::SeqCst);
    }
    setting.open()
}

/// Whether it is their number that denies the next one; what becomes of that, and those that are
/// served.
fn prove<'a>(
    setting: &'a Setting<'_>,
    mut served: Vec<Connection<'a>>,
    first: Failed,
) -> Result<(Denied, Vec<Connection<'a>>), Not> {
    let mut waited = Vec::new();
    for (newcomers, pauses) in ROUNDS {
        let pause = SETTLED + 2 * setting.round_trip;
        setting.pause(pauses * pause);
        let beyond = Wave::open(setting, newcomers)?;
        if !beyond.served.is_empty() {
            // One more than before: those that are gone counted, or it was no limit.
            return Err(Not::Yet);
        }
        served.pop();
        // One that has waited is served without another try; any other would count.
        let is_waiting = beyond.denied == Some(Failed::Ended(Ending::Silence));
        let mut pending = beyond.pending;
        pending.retain(|_| is_waiting);
        let is_made = !pending.is_empty();
        let took_over = first_served(setting, pending);
        // Where the queue is full of others none is made, and none can show that it waits.
        waited.extend(is_made.then_some(took_over.is_some()));
        let next = match took_over {
            Some(next) => next,
            None => {
                setting.pause(pause);
                let next = open_in_time(setting, &AtomicUsize::new(0));
                let next = next.map_err(|_| Not::Yet)?;
                match setting.is_served(&next) {
                    None => next,
                    Some(_) => return Err(Not::Yet),
                }
            }
        };
        if setting.is_late(next.connect_time) || setting.is_stopped() {
            return Err(Not::Theirs);
        }
        served.push(next);
    }
    Ok((denied_by(first, &waited)?, served))
}

/// What becomes of those beyond a limit, of which the first one ended so; of those that were made
/// and got no answer, whether one was served when another one ended.
fn denied_by(first: Failed, waited: &[bool]) -> Result<Denied, Not> {
    match (waited.contains(&true), waited.contains(&false)) {
        (true, false) => Ok(Denied::Waits),
        // A busy server came too late to one that waited.
        (true, true) => Err(Not::Yet),
        (false, _) => first.denied().ok_or(Not::Theirs),
    }
}

impl Before {
    /// A limit that so many reached now. Connections that were reset may still count: not where
    /// as many were served before, or where `leaves_none` tells that one that is reset makes room.
    /// Where more were served before, some surely do.
    fn limit(self, now: usize, by: Denied, leaves_none: impl FnOnce() -> bool) -> Steps {
        let is_proved = match self.served.cmp(&now) {
            cmp::Ordering::Equal => true,
            cmp::Ordering::Less => !self.left_full || leaves_none(),
            cmp::Ordering::Greater => false,
        };
        Steps::UpTo {
            connections: match is_proved {
                true => now,
                false => now.max(self.served),
            },
            by,
            is_proved,
        }
    }
}

/// Whether one of those that fill a limit makes room for another one once it is reset with its
/// path full. A proxy may keep it: it waits until the server takes what is on its way, and
/// the server until the client takes its answers.
fn leaves_none<'a>(setting: &'a Setting<'_>, mut served: Vec<Connection<'a>>) -> bool {
    let Some(last) = served.pop() else {
        return false;
    };
    fill(setting, &last);
    drop(last);
    let until = Instant::now() + FORGOTTEN.min(setting.left().saturating_sub(RESERVED));
    loop {
        setting.pause(LOOK + 2 * setting.round_trip);
        let next = setting.open();
        if next.is_ok_and(|next| setting.is_served(&next).is_none()) {
            return true;
        }
        if Instant::now() >= until || setting.is_stopped() {
            return false;
        }
    }
}

/// Sends without receiving until no more is taken.
fn fill(setting: &Setting<'_>, connection: &Connection<'_>) {
    let block = letters(64 * 1024);
    let until = Instant::now() + FILLED + 4 * setting.round_trip;
    let full_after = FULL_AFTER + 2 * setting.round_trip;
    let (mut sent, mut moved) = (0, Instant::now());
    while sent < FULL && moved.elapsed() < full_after && Instant::now() < until {
        match connection.send_some(&block) {
            Ok(0) => thread::sleep(TICK / 10),
            Ok(some) => (sent, moved) = (sent + some, Instant::now()),
            Err(_) => return,
        }
    }
}

/// The first of them on which something comes; the others are reset.
fn first_served<'a>(
    setting: &Setting<'_>,
    mut pending: Vec<Connection<'a>>,
) -> Option<Connection<'a>> {
    let until = Instant::now() + setting.patience();
    while !pending.is_empty() && Instant::now() < until && !setting.is_stopped() {
        let is_served = |one: &Connection<'_>| matches!(one.receive_some(&mut [0; 64]), Ok(1..));
        if let Some(at) = pending.iter().position(is_served) {
            return Some(pending.swap_remove(at));
        }
        thread::sleep(TICK / 10);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_by_one_no_more_are_opened_than_in_a_wave_nor_more_are_late() {
        let opened = |late, denied| Wave {
            served: Vec::new(),
            pending: Vec::new(),
            denied,
            late,
        };
        let mut in_waves = Singly::default();
        assert!(in_waves.note(&opened(9, None)).is_ok());
        let mut singly = Singly::instead_of(16);
        assert!(singly.note(&opened(2, None)).is_ok());
        assert!(singly.note(&opened(1, None)).is_err(), "a third is late");
        let mut singly = Singly::instead_of(2);
        assert!(singly.note(&opened(0, None)).is_ok());
        assert!(singly.note(&opened(0, None)).is_ok());
        let denied = Some(Failed::Refused);
        assert!(singly.note(&opened(0, denied)).is_ok(), "it is a limit");
        assert!(singly.note(&opened(0, None)).is_err(), "all are served");
    }

    #[test]
    fn they_wait_where_each_that_was_made_is_served_later() {
        let of = |first, waited: &[bool]| denied_by(first, waited).ok();
        let silent = Failed::Ended(Ending::Silence);
        assert_eq!(of(silent, &[true, true]), Some(Denied::Waits));
        assert_eq!(of(Failed::Unanswered, &[true]), Some(Denied::Waits));
        assert_eq!(of(silent, &[true, false]), None);
        assert_eq!(of(silent, &[false]), silent.denied());
        assert_eq!(of(Failed::Unanswered, &[]), Failed::Unanswered.denied());
    }

    #[test]
    fn what_was_reset_with_its_path_full_may_still_count() {
        let of = |served, left_full, leaves_none: Option<bool>| {
            let before = Before { served, left_full };
            let tried = || leaves_none.expect("it is not tried");
            match before.limit(4, Denied::Waits, tried) {
                Steps::UpTo {
                    connections,
                    is_proved,
                    ..
                } => (connections, is_proved),
                Steps::Enough => unreachable!("it is a limit"),
            }
        };
        assert_eq!(of(0, false, None), (4, true));
        // As many as the clause had.
        assert_eq!(of(4, true, None), (4, true));
        assert_eq!(of(3, true, Some(true)), (4, true));
        assert_eq!(of(0, true, Some(true)), (4, true));
        assert_eq!(of(3, true, Some(false)), (4, false));
        // More than now: something counts that is gone.
        assert_eq!(of(6, true, None), (6, false));
        assert_eq!(of(6, false, None), (6, false));
        assert_eq!(of(0, true, Some(false)), (4, false));
    }
}
