use std::collections::BTreeMap;

use crossbeam_channel::unbounded;
use proptest::prelude::*;

use super::*;
use crate::bench::recorder::PartsChannel;

const SEED: u64 = 7;
const TIMEOUT: u64 = 1_000_000;

const MUCH: Remembered = Remembered {
    over: 1 << 16,
    awaited: 1 << 16,
};

/// What is due from here on counts.
const MEASURED_FROM: u64 = 3_000_000;

fn recorder() -> Recorder {
    let (parts, _) = unbounded();
    let (_, spares) = unbounded();
    let mut recorder = Recorder::new(0, true, false, PartsChannel { parts, spares });
    recorder.begin(0, MEASURED_FROM);
    recorder
}

fn flow() -> Flow {
    let sizes = Sizes::new(&(8..=1500), SEED, 3);
    Flow::new((SEED, 3), sizes, TIMEOUT, MUCH)
}

/// A step of a flow; an index chooses among the datagrams sent so far.
#[derive(Clone, Debug)]
enum Step {
    /// Sends one that was due so long ago.
    Send(u64),
    NotSent,
    Reply(prop::sample::Index),
    Changed(prop::sample::Index),
    Refused(prop::sample::Index),
    /// An error that quotes nothing.
    Unnamed,
    Foreign,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        8 => (0..300_000_u64).prop_map(Step::Send),
        1 => Just(Step::NotSent),
        8 => index().prop_map(Step::Reply),
        1 => index().prop_map(Step::Changed),
        1 => index().prop_map(Step::Refused),
        1 => Just(Step::Unnamed),
        1 => Just(Step::Foreign),
    ];
    (prop_oneof![1..200_000_u64, Just(TIMEOUT)], step)
}

/// What became of one datagram, as a list of what happened.
#[derive(Clone, Debug)]
struct Told {
    due: u64,
    at: u64,
    bytes: Vec<u8>,
    /// The first thing that decided on it, and when: `None` while it is awaited.
    outcome: Option<(Outcome, u64)>,
    /// Unchanged replies after the first.
    again: u64,
    is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Back,
    Lost,
    Refused,
    Changed,
}

/// The same by the definitions of the counts, one datagram after the other.
#[derive(Default)]
struct Model {
    told: BTreeMap<u64, Told>,
    next: u64,
    not_sent: u64,
    foreign: u64,
    /// Changed echoes of those of the warm-up, and of the measured part.
    changed: (u64, u64),
    /// Errors that name none of several.
    unnamed: u64,
    /// Numbers that came back in time, in that order.
    arrivals: Vec<u64>,
}

impl Model {
    fn expire(&mut self, now: u64) {
        for told in self.told.values_mut() {
            if told.outcome.is_none() && now - told.at >= TIMEOUT {
                told.outcome = Some((Outcome::Lost, now));
            }
        }
    }

    fn reply(&mut self, number: u64, now: u64) {
        let told = self.told.get_mut(&number).unwrap();
        match told.outcome {
            None => {
                told.outcome = Some((Outcome::Back, now));
                self.arrivals.push(number);
            }
            Some((Outcome::Lost | Outcome::Refused, _)) if !told.is_late => told.is_late = true,
            Some(_) => told.again += 1,
        }
    }

    /// Those of the measured part: all that were due in it.
    fn counted(&self) -> impl Iterator<Item = &Told> {
        self.told.values().filter(|told| told.due >= MEASURED_FROM)
    }

    fn number_of(&self, outcomes: &[Option<Outcome>]) -> u64 {
        let is_one = |told: &&Told| outcomes.contains(&told.outcome.map(|(outcome, _)| outcome));
        self.counted().filter(is_one).count() as u64
    }

    fn reordered(&self) -> u64 {
        let is_overtaken = |place: &usize| {
            let number = self.arrivals[*place];
            let before = &self.arrivals[..*place];
            let counts = self.told[&number].due >= MEASURED_FROM;
            counts && before.iter().any(|other| *other > number)
        };
        (0..self.arrivals.len()).filter(is_overtaken).count() as u64
    }
}

/// Makes the steps with a flow and with the model.
fn run(steps: &[(u64, Step)]) -> (Flow, Recorder, Model, u64) {
    let (mut flow, mut recorder, mut model) = (flow(), recorder(), Model::default());
    let (mut now, mut due) = (0, 0);
    let mut block = vec![0; 2000];
    for (passes, step) in steps {
        now += passes;
        flow.expire(now, &mut recorder);
        model.expire(now);
        let numbers: Vec<_> = model.told.keys().copied().collect();
        let choose = |index: &prop::sample::Index| match numbers.is_empty() {
            true => None,
            false => Some(*index.get(&numbers)),
        };
        match step {
            Step::Send(late) => {
                // They are sent in the order in which they are due.
                due = now.saturating_sub(*late).max(due);
                let size = flow.fill(0, &mut block).unwrap();
                flow.sent(Sent { due, at: now }, &mut recorder);
                model.next += 1;
                let told = Told {
                    due,
                    at: now,
                    bytes: block[..size].to_vec(),
                    outcome: None,
                    again: 0,
                    is_late: false,
                };
                model.told.insert(model.next, told);
            }
            Step::NotSent => {
                due = due.max(now);
                flow.not_sent(Sent { due, at: now }, &mut recorder);
                model.next += 1;
                model.not_sent += u64::from(due >= MEASURED_FROM);
            }
            Step::Reply(index) => {
                if let Some(number) = choose(index) {
                    let bytes = model.told[&number].bytes.clone();
                    assert_eq!(flow.received(&bytes, now, &mut recorder), None);
                    model.reply(number, now);
                }
            }
            Step::Changed(index) => {
                if let Some(number) = choose(index) {
                    let told = model.told.get_mut(&number).unwrap();
                    let mut bytes = told.bytes.clone();
                    bytes.push(1);
                    let strange = flow.received(&bytes, now, &mut recorder);
                    assert!(matches!(strange, Some(Strange::Changed(n, _)) if n == number));
                    told.outcome.get_or_insert((Outcome::Changed, now));
                    match told.due >= MEASURED_FROM {
                        true => model.changed.1 += 1,
                        false => model.changed.0 += 1,
                    }
                }
            }
            Step::Refused(index) => {
                if let Some(number) = choose(index) {
                    let told = model.told.get_mut(&number).unwrap();
                    let quoted = told.bytes[..8].to_vec();
                    let is_awaited = told.outcome.is_none();
                    let errors = flow.refused(&quoted, now, &mut recorder);
                    assert_eq!(errors.is_some(), is_awaited);
                    told.outcome.get_or_insert((Outcome::Refused, now));
                }
            }
            Step::Unnamed => {
                let awaited = model
                    .told
                    .values_mut()
                    .filter(|told| told.outcome.is_none());
                let mut awaited: Vec<_> = awaited.collect();
                let errors = flow.refused(&[], now, &mut recorder);
                assert_eq!(errors.is_some(), !awaited.is_empty());
                match &mut *awaited {
                    [] => {}
                    [only] => only.outcome = Some((Outcome::Refused, now)),
                    [oldest, ..] => model.unnamed += u64::from(oldest.due >= MEASURED_FROM),
                }
            }
            Step::Foreign => {
                let strange = flow.received(&[9; 40], now, &mut recorder);
                assert_eq!(strange, Some(Strange::Foreign));
                model.foreign += 1;
            }
        }
    }
    flow.end_run(now, &mut recorder);
    (flow, recorder, model, now)
}

proptest! {
    #[test]
    fn each_count_is_that_of_its_definition(steps in prop::collection::vec(step(), 0..120)) {
        let (flow, mut recorder, model, now) = run(&steps);
        let counts = recorder.measured();
        let lost = [Some(Outcome::Lost), Some(Outcome::Refused)];
        let want = DatagramCounts {
            sent: model.counted().count() as u64,
            lost: model.number_of(&lost),
            changed: model.number_of(&[Some(Outcome::Changed)]),
            refused: model.number_of(&lost[1..]),
            late: model.counted().filter(|told| told.is_late).count() as u64,
            duplicates: model.counted().map(|told| told.again).sum(),
            reordered: model.reordered(),
            not_sent: model.not_sent,
            dropped_here: Some(0),
            wrong_checksums: Some(0),
            unnamed_errors: model.unnamed,
        };
        prop_assert_eq!(counts.datagrams, want);
        let back = model.number_of(&[Some(Outcome::Back)]);
        prop_assert_eq!(flow.counts(), (want, back));
        let totals = &counts.totals;
        prop_assert_eq!((totals.sent, totals.lost, totals.echoed), (want.sent, want.lost, back));
        prop_assert_eq!(totals.in_flight, model.number_of(&[None]));
        let bytes = |told: &Told| told.bytes.len() as u64;
        prop_assert_eq!(totals.sent_bytes, model.counted().map(bytes).sum::<u64>());
        let changed = (counts.warmup_errors.changed, totals.errors.changed);
        prop_assert_eq!(changed, model.changed);
        // What belongs to no datagram is of the part in which it came: here of the warm-up.
        prop_assert_eq!(counts.warmup_errors.foreign, model.foreign);
        // Each has one fate, and a time.
        prop_assert_eq!(want.sent, back + want.lost + totals.in_flight + want.changed);
        prop_assert_eq!(counts.service.count(), back);
        prop_assert_eq!(counts.response.count(), want.sent);
        let longest = model.counted().map(|told| match told.outcome {
            None => now - told.due,
            Some((Outcome::Back, at)) => at - told.due,
            Some((_, at)) => at.max(told.at + TIMEOUT) - told.due,
        }).max();
        let off = |one: u64, other: u64| one.abs_diff(other) * 500 <= other;
        match (counts.response.max(), longest) {
            (Some(one), Some(other)) => prop_assert!(off(one, other), "{} {}", one, other),
            (one, other) => prop_assert_eq!(one, other),
        }
    }
}

#[test]
fn a_flow_has_room_for_as_many_as_it_is_to_remember() {
    let mut recorder = recorder();
    let sizes = Sizes::new(&(8..=1500), SEED, 3);
    let few = Remembered { awaited: 3, ..MUCH };
    let mut flow = Flow::new((SEED, 3), sizes, TIMEOUT, few);
    let mut block = vec![0; 2000];
    let mut sent = Vec::new();
    for at in 0..3 {
        assert!(flow.has_room(0) && !flow.has_room(3 - at));
        let size = flow.fill(0, &mut block).unwrap();
        sent.push(block[..size].to_vec());
        flow.sent(Sent { due: at, at }, &mut recorder);
    }
    assert!(!flow.has_room(0));
    // The last is remembered as long as an older one is awaited.
    flow.received(&sent[2], 5, &mut recorder);
    assert!(!flow.has_room(0));
    flow.received(&sent[0], 6, &mut recorder);
    assert!(flow.has_room(0));
}

#[test]
fn a_short_one_that_is_awaited_is_told_from_all_behind_it() {
    let mut recorder = recorder();
    let mut flow = Flow::new((SEED, 3), Sizes::new(&(1..=1), SEED, 3), TIMEOUT, MUCH);
    let mut bytes = [0];
    for at in 0..256 {
        assert!(flow.has_room(0));
        flow.fill(0, &mut bytes).unwrap();
        flow.sent(Sent { due: at, at }, &mut recorder);
        // The first is on its way for longer than all others.
        if at > 0 {
            flow.received(&bytes, at, &mut recorder);
        }
    }
    assert_eq!(flow.awaited(), 1);
    assert!(!flow.has_room(0), "the next one would look like the first");
}

#[test]
fn a_forgotten_one_is_late_and_no_strangers() {
    let (mut flow, mut recorder) = (flow(), recorder());
    flow.reply_log = ReplyLog::new(1, TIMEOUT, ()).remembering(2);
    let mut block = vec![0; 2000];
    let size = flow.fill(0, &mut block).unwrap();
    let first = block[..size].to_vec();
    for step in 0..5 {
        let at = MEASURED_FROM + step * TIMEOUT;
        flow.expire(at, &mut recorder);
        flow.sent(Sent { due: at, at }, &mut recorder);
    }
    let now = MEASURED_FROM + 5 * TIMEOUT;
    assert_eq!(flow.received(&first, now, &mut recorder), None);
    let counts = recorder.measured();
    assert_eq!(
        (counts.datagrams.late, counts.totals.errors.foreign),
        (1, 0)
    );
}

#[test]
fn drops_count_once_load_is_measured_and_what_is_unknown_stays_so() {
    let (mut flow, mut recorder) = (flow(), recorder());
    flow.dropped((Some(5), Some(4)), false, 10, &mut recorder);
    flow.dropped((Some(3), Some(1)), true, MEASURED_FROM, &mut recorder);
    assert_eq!(flow.counts().0.dropped_here, Some(3));
    let counts = recorder.measured().datagrams;
    assert_eq!(
        (counts.dropped_here, counts.wrong_checksums),
        (Some(3), Some(1))
    );
    flow.dropped((None, None), true, MEASURED_FROM, &mut recorder);
    assert_eq!(recorder.measured().datagrams.dropped_here, None);
}

#[test]
fn those_ahead_are_written_as_when_their_turn_comes_if_they_fit() {
    let (mut flow, mut recorder) = (flow(), recorder());
    let ahead: Vec<Vec<u8>> = (0..3).map(|ahead| written(&flow, ahead)).collect();
    for bytes in &ahead {
        assert_eq!(&written(&flow, 0), bytes);
        let short = &mut vec![0; bytes.len() - 1];
        assert_eq!(flow.fill(0, short), None);
        flow.sent(Sent { due: 0, at: 0 }, &mut recorder);
    }
}

fn written(flow: &Flow, ahead: u64) -> Vec<u8> {
    let mut block = vec![0; 2000];
    let size = flow.fill(ahead, &mut block).unwrap();
    block.truncate(size);
    block
}
