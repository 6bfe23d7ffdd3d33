use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TIMEOUT: u64 = 100;

fn reply_log() -> ReplyLog {
    ReplyLog::new(1, TIMEOUT, Variation::default())
}

/// A step of a flow; `usize` chooses among the datagrams sent so far.
#[derive(Clone, Debug)]
enum Step {
    Send,
    NotSent,
    Reply(prop::sample::Index),
    Changed(prop::sample::Index),
    Refused(prop::sample::Index),
    Foreign,
    Expire,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        8 => Just(Step::Send),
        1 => Just(Step::NotSent),
        8 => index().prop_map(Step::Reply),
        1 => index().prop_map(Step::Changed),
        1 => index().prop_map(Step::Refused),
        1 => Just(Step::Foreign),
        2 => Just(Step::Expire),
    ];
    // Time passes before most steps, sometimes as long as the time-out.
    (prop_oneof![0..30_u64, Just(TIMEOUT)], step)
}

/// All that happened to one datagram, and when.
#[derive(Clone, Debug)]
enum Happened {
    Reply(u64),
    Changed,
    Refused,
    Expired,
}

/// Everything that happened, from which each count is told anew by its definition.
#[derive(Default)]
struct Model {
    sent: BTreeMap<u64, (u64, Vec<Happened>)>,
    not_sent: u64,
    foreign: u64,
    replies: Vec<(u64, u64)>,
}

impl Model {
    /// The first thing that decided on a datagram, and the time it took. A refusal does not,
    /// where a reply comes in time.
    fn round_trip(&self, number: u64) -> Option<u64> {
        let (at, happened) = self.sent.get(&number)?;
        let is_reply = |it: &&Happened| matches!(it, Happened::Reply(_));
        let decides = match happened.first() {
            Some(Happened::Refused) => happened.iter().find(is_reply),
            first => first,
        };
        match decides {
            Some(Happened::Reply(back)) if back - at <= TIMEOUT => Some(back - at),
            _ => None,
        }
    }

    fn received(&self) -> BTreeMap<u64, u64> {
        let numbers = self.sent.keys();
        numbers
            .filter_map(|&number| Some((number, self.round_trip(number)?)))
            .collect()
    }

    /// Numbers in the order of their first reply in time.
    fn arrivals(&self) -> Vec<u64> {
        let received = self.received();
        let mut seen = Vec::new();
        for (number, _) in &self.replies {
            if received.contains_key(number) && !seen.contains(number) {
                seen.push(*number);
            }
        }
        seen
    }

    fn counts(&self, now: u64) -> Counts {
        let received = self.received();
        let mut counts = Counts {
            sent: self.sent.len() as u64,
            received: received.len() as u64,
            not_sent: self.not_sent,
            foreign: self.foreign,
            ..Counts::default()
        };
        for (number, (at, happened)) in &self.sent {
            let is =
                |what: fn(&Happened) -> bool| happened.iter().filter(|it| what(it)).count() as u64;
            let replies = is(|it| matches!(it, Happened::Reply(_)));
            let in_time = received.contains_key(number);
            counts.refused += is(|it| matches!(it, Happened::Refused)) * u64::from(!in_time);
            counts.changed += is(|it| matches!(it, Happened::Changed));
            let first_changed = matches!(happened.first(), Some(Happened::Changed));
            // Lost by its time-out before anything came.
            let is_lost = match happened.first() {
                _ if in_time => false,
                Some(Happened::Changed) => false,
                Some(_) => true,
                None => now - at >= TIMEOUT,
            };
            counts.lost += u64::from(is_lost);
            counts.late += u64::from(is_lost && replies > 0);
            let first_is_no_duplicate = in_time || is_lost && replies > 0;
            assert!(!(first_changed && first_is_no_duplicate));
            counts.duplicates += replies - u64::from(first_is_no_duplicate);
        }
        let arrivals = self.arrivals();
        let is_reordered = |place: usize| arrivals[..place].iter().any(|it| *it > arrivals[place]);
        counts.reordered = (0..arrivals.len())
            .filter(|&place| is_reordered(place))
            .count() as u64;
        counts
    }

    fn jitter(&self) -> Option<f64> {
        let arrivals = self.arrivals();
        let trips: Vec<_> = arrivals
            .iter()
            .filter_map(|&it| self.round_trip(it))
            .collect();
        let differences = trips
            .windows(2)
            .map(|pair| pair[0].abs_diff(pair[1]) as f64);
        let jitter = differences.fold(0.0, |jitter, difference| {
            jitter + (difference - jitter) / 16.0
        });
        (trips.len() > 1).then_some(jitter)
    }

    fn pairs(&self) -> Vec<u64> {
        let received = self.received();
        let next =
            |(number, trip): (&u64, &u64)| Some(received.get(&(number + 1))?.abs_diff(*trip));
        let mut pairs: Vec<_> = received.iter().filter_map(next).collect();
        pairs.sort_unstable();
        pairs
    }
}

fn run(steps: &[(u64, Step)]) -> (ReplyLog, Model, u64) {
    let (mut reply_log, mut model, mut now) = (reply_log(), Model::default(), 0);
    for (passes, step) in steps {
        now += passes;
        // As in the probes: what is overdue is known before anything else happens.
        for number in reply_log.expire(now) {
            let (at, happened) = &model.sent[&number];
            assert!(now - at >= TIMEOUT && happened.is_empty());
        }
        let numbers: Vec<_> = model.sent.keys().copied().collect();
        let choose = |index: &prop::sample::Index| match numbers.is_empty() {
            true => None,
            false => Some(*index.get(&numbers)),
        };
        match step {
            Step::Send => {
                let number = reply_log.sent(now);
                model.sent.insert(number, (now, Vec::new()));
            }
            Step::NotSent => {
                reply_log.not_sent(now);
                model.not_sent += 1;
            }
            Step::Foreign => {
                reply_log.foreign();
                model.foreign += 1;
            }
            Step::Expire => {}
            Step::Reply(index) => {
                if let Some(number) = choose(index) {
                    // A datagram whose time-out is over at this very time is lost.
                    reply_log.received(number, now);
                    let (sent_at, happened) = &model.sent[&number];
                    let is_refused = matches!(happened.first(), Some(Happened::Refused));
                    let is_expired = now - sent_at >= TIMEOUT && !is_refused;
                    let at = now + u64::from(is_expired);
                    model
                        .sent
                        .get_mut(&number)
                        .unwrap()
                        .1
                        .push(Happened::Reply(at));
                    model.replies.push((number, now));
                }
            }
            Step::Changed(index) | Step::Refused(index) => {
                let Some(number) = choose(index) else {
                    continue;
                };
                let (at, happened) = model.sent.get_mut(&number).unwrap();
                let is_overdue = now - *at >= TIMEOUT;
                let is_open = happened.is_empty() && !is_overdue;
                if matches!(step, Step::Changed(_)) {
                    reply_log.changed(number);
                    // A lost one stays lost.
                    if happened.is_empty() && is_overdue {
                        happened.push(Happened::Expired);
                    }
                    happened.push(Happened::Changed);
                } else {
                    assert_eq!(reply_log.refused(number), is_open);
                    if is_open {
                        happened.push(Happened::Refused);
                    }
                }
            }
        }
    }
    reply_log.expire(now);
    (reply_log, model, now)
}

proptest! {
    #[test]
    fn every_count_is_that_of_its_definition(steps in prop::collection::vec(step(), 0..80)) {
        let (reply_log, model, now) = run(&steps);
        prop_assert_eq!(*reply_log.counts(), model.counts(now));
        let jitter = (reply_log.variation().jitter(), model.jitter());
        match jitter {
            (Some(one), Some(other)) => prop_assert!((one - other).abs() < 1e-6),
            (one, other) => prop_assert_eq!(one, other),
        }
        let differences = &reply_log.variation().differences;
        let pairs = model.pairs();
        prop_assert_eq!(differences.count(), pairs.len() as u64);
        prop_assert_eq!(differences.max(), pairs.last().copied());
        prop_assert_eq!(differences.min(), pairs.first().copied());
    }

    #[test]
    fn each_datagram_has_one_fate(steps in prop::collection::vec(step(), 0..80)) {
        let (reply_log, _, _) = run(&steps);
        let counts = reply_log.counts();
        let is_changed = |it: &&Sent| it.outcome == Outcome::Changed;
        let changed = reply_log.sent.iter().filter(is_changed).count() as u64;
        prop_assert_eq!(counts.sent, counts.received + counts.lost + changed + reply_log.awaited());
        prop_assert!(counts.late <= counts.lost && counts.reordered <= counts.received);
    }
}

#[test]
fn reordering_is_that_of_rfc_4737() {
    // The example of RFC 4737, section 4.1's definition: 1 2 3 7 8 9 10 4 5 6 11.
    let mut reply_log = reply_log();
    for _ in 0..11 {
        reply_log.sent(0);
    }
    for number in [1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11] {
        reply_log.received(number, 1);
    }
    assert_eq!(reply_log.counts().reordered, 3);
    // A lost one makes no other reordered.
    let mut reply_log = self::reply_log();
    for _ in 0..4 {
        reply_log.sent(0);
    }
    for number in [1, 3, 4] {
        reply_log.received(number, 1);
    }
    assert_eq!(reply_log.counts().reordered, 0);
}

#[test]
fn a_late_reply_is_not_reordered_and_its_copy_is_a_duplicate() {
    let mut reply_log = reply_log();
    reply_log.sent(0);
    reply_log.sent(90);
    assert_eq!(reply_log.expire(100), [1]);
    reply_log.received(2, 110);
    reply_log.received(1, 120);
    reply_log.received(1, 121);
    let counts = *reply_log.counts();
    assert_eq!((counts.lost, counts.late, counts.reordered), (1, 1, 0));
    assert_eq!((counts.received, counts.duplicates), (1, 1));
}

#[test]
fn the_oldest_awaited_sets_the_deadline() {
    let mut reply_log = reply_log();
    assert_eq!(reply_log.deadline(), None);
    for at in [0, 10, 20] {
        reply_log.sent(at);
    }
    reply_log.received(2, 30);
    assert_eq!(reply_log.deadline(), Some(100));
    reply_log.received(1, 30);
    assert_eq!(reply_log.deadline(), Some(120));
    assert_eq!(reply_log.awaited(), 1);
    assert!(reply_log.expire(119).is_empty());
    assert_eq!(reply_log.expire(120), [3]);
    assert_eq!(reply_log.deadline(), None);
}

#[test]
fn what_is_long_over_is_forgotten_and_what_is_awaited_is_not() {
    let mut reply_log = ReplyLog::new(1, u64::MAX, Variation::default());
    reply_log.sent(0);
    for at in 0..2 * REMEMBERED as u64 {
        let number = reply_log.sent(at);
        reply_log.received(number, at);
    }
    // The first is awaited, so all since are remembered.
    assert_eq!(reply_log.sent.len(), 2 * REMEMBERED + 1);
    reply_log.received(1, 5);
    reply_log.not_sent(0);
    assert_eq!(reply_log.sent.len(), REMEMBERED);
    assert_eq!(reply_log.received(1, 6), Reply::Unknown);
    let last = reply_log.next() - 1;
    assert_eq!(
        reply_log.received(last, 6),
        Reply::Unknown,
        "it was not sent"
    );
    assert_eq!(reply_log.counts().foreign, 2);
}

#[test]
fn a_reply_in_time_proves_a_refusal_wrong() {
    let mut reply_log = reply_log();
    reply_log.sent(0);
    reply_log.sent(0);
    assert!(reply_log.refused(1) && reply_log.refused(2));
    let in_time = Reply::InTime {
        round_trip: 40,
        is_reordered: false,
    };
    assert_eq!(reply_log.received(1, 40), in_time);
    assert_eq!(
        (reply_log.counts().lost, reply_log.counts().refused),
        (1, 1)
    );
    assert_eq!(reply_log.counts().received, 1);
    // After the time-out it is late as any other.
    let late = Reply::Late {
        round_trip: 101,
        is_newly_lost: false,
    };
    assert_eq!(reply_log.received(2, 101), late);
    let counts = reply_log.counts();
    assert_eq!((counts.lost, counts.refused, counts.late), (1, 1, 1));
}

#[test]
fn an_error_without_a_number_is_of_the_one_that_is_awaited_or_of_none() {
    let mut reply_log = reply_log();
    assert!(!reply_log.unnamed_error(), "none is awaited");
    for _ in 0..3 {
        reply_log.sent(0);
    }
    assert_eq!(reply_log.sole_awaited(), None);
    assert!(reply_log.unnamed_error());
    assert_eq!(reply_log.awaited(), 3);
    reply_log.received(1, 1);
    reply_log.received(3, 1);
    assert_eq!(reply_log.sole_awaited(), Some(2));
    assert!(reply_log.refused(2));
    assert_eq!(reply_log.sole_awaited(), None);
    assert_eq!(reply_log.counts().unnamed_errors, 1);
}

#[test]
fn all_from_the_oldest_awaited_on_are_remembered() {
    let mut reply_log = reply_log();
    for _ in 0..5 {
        reply_log.sent(0);
    }
    for (number, span) in [(3, 5), (1, 4), (2, 2), (5, 2), (4, 0)] {
        reply_log.received(number, 1);
        assert_eq!(reply_log.span(), span, "{number}");
    }
}
