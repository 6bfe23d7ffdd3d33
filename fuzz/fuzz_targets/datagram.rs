//! Reads what comes to a probe that has sent datagrams: its own payload, and packets of STAMP.
//! The first two bytes choose the size and how many were sent; the rest is what comes, and at
//! its end a number that says which of the sent ones it is laid over.
#![no_main]

use std::time::Duration;

use echopool::probe::datagram::payload::{Payload, Reading};
use echopool::probe::datagram::reply_log::Counts;
use echopool::probe::datagram::stamp::tracker::StampTracker;
use echopool::probe::datagram::tracker::Tracker;
use echopool::proto::stamp::{Clock, Format, LENGTH};
use libfuzzer_sys::fuzz_target;

const TIMEOUT: u64 = 1000;

fuzz_target!(|input: &[u8]| {
    let [size, sent, come @ ..] = input else {
        return;
    };
    let (size, sent) = (usize::from(*size), u64::from(*sent));
    let payload = Payload::new(7, 0, size);
    let mut want = vec![0; size];
    if let Reading::Whole(number) = payload.read(come, 1..sent + 1, |_| size) {
        // It is said of nothing but that datagram.
        payload.fill(number, &mut want);
        assert!((1..=sent).contains(&number));
        assert_eq!(want, come);
    }
    let mut tracker = Tracker::new((7, 0), size, TIMEOUT);
    let mut block = vec![0; size];
    for at in 0..sent {
        tracker.fill(&mut block);
        tracker.reply_log.sent(at);
    }
    // What was sent last, with the bytes that came in its place from the start on.
    let over = come.len().min(size);
    block[..over].copy_from_slice(&come[..over]);
    for bytes in [come, &block] {
        tracker.received(bytes, sent);
        tracker.quoted(bytes);
    }
    add_up(
        tracker.reply_log.counts(),
        tracker.reply_log.awaited(),
        sent,
    );
    session(come, sent);
});

/// A session of STAMP with as many packets sent.
fn session(come: &[u8], sent: u64) {
    let clock = Clock {
        is_synchronized: true,
        format: if sent % 2 == 0 {
            Format::Ntp
        } else {
            Format::Ptp
        },
        error: Duration::from_nanos(sent),
    };
    let mut tracker = StampTracker::new(LENGTH, TIMEOUT, clock);
    let mut answer = vec![0; LENGTH];
    for at in 0..sent {
        let mut block = [0; LENGTH];
        tracker.fill(&mut block, Duration::from_nanos(at));
        tracker.reply_log.sent(at);
        // The request that an answer repeats, behind what came.
        answer[24..38].copy_from_slice(&block[..14]);
    }
    let over = come.len().min(24);
    answer[..over].copy_from_slice(&come[..over]);
    for bytes in [come, &answer, &answer] {
        tracker.received(bytes, sent, Duration::from_nanos(sent));
    }
    beside(&mut tracker, &mut answer, sent);
    tracker.reply_log.expire(TIMEOUT * 2 + sent);
    let counts = *tracker.reply_log.counts();
    add_up(&counts, tracker.reply_log.awaited(), sent);
    let lost = counts.lost - counts.late;
    if let Some(by_way) = tracker.directions.lost(lost, 0) {
        let ways = by_way.to_server + by_way.to_client + by_way.unknown;
        assert!(ways >= lost, "{by_way:?} of {lost}");
    }
}

/// Packets beside the count: of the second one an answer comes, and comes again.
fn beside(tracker: &mut StampTracker, answer: &mut [u8], sent: u64) {
    for was_sent in [sent % 3 != 0, true] {
        let mut block = [0; LENGTH];
        tracker.fill(&mut block, Duration::from_nanos(sent));
        tracker.uncounted(was_sent);
        answer[24..38].copy_from_slice(&block[..14]);
    }
    let known = |tracker: &StampTracker| {
        let directions = &tracker.directions;
        (directions.restarts(), directions.lost(sent, 0))
    };
    tracker.received(answer, sent, Duration::from_nanos(sent));
    let once = known(tracker);
    tracker.received(answer, sent, Duration::from_nanos(sent));
    assert_eq!(known(tracker), once, "a copy tells nothing");
}

/// Every datagram that was sent has one outcome.
fn add_up(counts: &Counts, awaited: u64, sent: u64) {
    assert_eq!(counts.sent, sent);
    assert!(counts.received + counts.lost + awaited <= sent);
    assert!(counts.received + counts.lost + awaited + counts.changed >= sent);
}
