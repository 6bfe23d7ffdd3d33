use super::super::directions::{LostByWay, Way};
use super::*;
use crate::proto::stamp::Format;

const TIMEOUT: u64 = 1_000_000;

/// When the first packet is sent, as Unix time.
const START: Duration = Duration::from_secs(1_800_000_000);

fn clock(is_synchronized: bool, format: Format) -> Clock {
    Clock {
        is_synchronized,
        format,
        error: Duration::from_micros(30),
    }
}

fn tracker(format: Format) -> StampTracker {
    StampTracker::new(LENGTH, TIMEOUT, clock(true, format))
}

fn unix(ns: u64) -> Duration {
    START + Duration::from_nanos(ns)
}

fn send(tracker: &mut StampTracker, at: u64) -> Vec<u8> {
    let mut packet = vec![0xaa; tracker.size];
    tracker.fill(&mut packet, unix(at));
    tracker.reply_log.sent(at);
    packet
}

/// The answer of a reflector whose clock is `ahead` nanoseconds ahead.
fn answer(packet: &[u8], own: u32, (received, sent): (u64, u64), clock: Clock) -> Vec<u8> {
    let mut answer = packet.to_vec();
    let reflection = Reflection {
        sequence: own,
        sent: Timestamp::from_unix(unix(sent), clock.format),
        estimate: clock.estimate(),
        received: Timestamp::from_unix(unix(received), clock.format),
        request: Request::read(packet).unwrap(),
        ttl: 61,
    };
    reflection.write(&mut answer);
    answer
}

#[test]
fn the_servers_own_time_is_taken_out_and_each_way_has_its_own() {
    for format in [Format::Ntp, Format::Ptp] {
        for theirs in [Format::Ntp, Format::Ptp] {
            let mut tracker = tracker(format);
            let packet = send(&mut tracker, 0);
            let theirs = clock(true, theirs);
            let answer = answer(&packet, 0, (100_000, 350_000), theirs);
            let StampArrival::Reply(1, reply, read) =
                tracker.received(&answer, 500_000, unix(500_000))
            else {
                panic!("no reply");
            };
            let Reply::InTime { round_trip, .. } = reply else {
                panic!("{reply:?}");
            };
            // The format of NTP is cut below a nanosecond.
            assert!(round_trip.abs_diff(250_000) <= 1, "{round_trip}");
            assert!(read.server_ns.unwrap().abs_diff(250_000) <= 1);
            assert!(
                read.to_server_ns.unwrap().abs_diff(100_000) <= 1,
                "{read:?}"
            );
            assert!(
                read.to_client_ns.unwrap().abs_diff(150_000) <= 1,
                "{read:?}"
            );
            assert_eq!((read.server_ttl, read.server_seq), (Some(61), 0));
            assert!(tracker.times.error.abs_diff(60_000) < 1000);
        }
    }
}

#[test]
fn one_way_times_need_both_clocks_but_their_variation_does_not() {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
        let ours = clock(ours, Format::Ntp);
        let mut tracker = StampTracker::new(LENGTH, TIMEOUT, ours);
        for (number, late) in [(0, 0), (1, 5000), (2, 5000)] {
            let at = number * 10_000_000;
            let packet = send(&mut tracker, at);
            // A clock that is an hour ahead.
            let there = at + 3_600_000_000_000 + 100_000 + late;
            let theirs = clock(theirs, Format::Ntp);
            let answer = answer(&packet, number as u32, (there, there), theirs);
            let back = at + 300_000 + late;
            let arrival = tracker.received(&answer, back, unix(back));
            let StampArrival::Reply(_, _, read) = arrival else {
                panic!("{arrival:?}");
            };
            assert_eq!((read.to_server_ns, read.to_client_ns), (None, None));
        }
        let times = &tracker.times;
        assert_eq!(times.to_server.median(), None);
        assert_eq!(times.variation_to_server.count(), 2);
        assert!(times.variation_to_server.max().unwrap().abs_diff(5000) <= 8);
        assert!(times.variation_to_client.max().unwrap() <= 2);
    }
}

#[test]
fn times_of_a_server_that_can_not_be_right_change_no_round_trip() {
    for (received, sent) in [(200_000, 100_000), (0, 2_000_000)] {
        let mut tracker = tracker(Format::Ntp);
        let packet = send(&mut tracker, 0);
        let answer = answer(&packet, 0, (received, sent), clock(true, Format::Ntp));
        let arrival = tracker.received(&answer, 400_000, unix(400_000));
        let StampArrival::Reply(_, Reply::InTime { round_trip, .. }, read) = arrival else {
            panic!("{arrival:?}");
        };
        assert_eq!((round_trip, read.server_ns), (400_000, None));
    }
}

#[test]
fn what_is_no_answer_of_this_session_is_foreign_and_what_was_one_is_changed() {
    let mut tracker = tracker(Format::Ntp);
    let packet = send(&mut tracker, 0);
    let good = answer(&packet, 0, (1, 2), clock(true, Format::Ntp));
    let received = |tracker: &mut StampTracker, bytes: &[u8]| tracker.received(bytes, 9, unix(9));
    for offset in [24, 27, 28, 35] {
        let mut bytes = good.clone();
        bytes[offset] ^= 1;
        assert_eq!(received(&mut tracker, &bytes), StampArrival::Foreign);
    }
    for length in [0, 1, 12, 35] {
        assert_eq!(
            received(&mut tracker, &good[..length]),
            StampArrival::Foreign
        );
    }
    let cut = received(&mut tracker, &good[..37]);
    assert_eq!(
        cut,
        StampArrival::Changed(1, String::from("cut to 37 bytes of 44"))
    );
    let StampArrival::Changed(1, echo) = received(&mut tracker, &packet) else {
        panic!("an echo is no answer");
    };
    assert!(echo.contains("no reflector"), "{echo}");
    assert_eq!(tracker.reply_log.counts().foreign, 8);
}

#[test]
fn an_answer_as_long_as_twamps_will_do() {
    let mut tracker = StampTracker::new(100, TIMEOUT, clock(false, Format::Ntp));
    let packet = send(&mut tracker, 0);
    assert_eq!(packet[44..50], [0x80, 1, 0, 52, 0, 0]);
    let bytes = answer(&packet, 1, (1, 2), clock(false, Format::Ntp));
    for (length, ttl) in [(41, Some(61)), (38, None)] {
        let StampArrival::Reply(1, _, read) = tracker.received(&bytes[..length], 9, unix(9)) else {
            panic!("{length}");
        };
        assert_eq!(read.server_ttl, ttl);
    }
}

#[test]
fn a_replayed_answer_is_a_duplicate_and_changes_no_direction() {
    let mut tracker = tracker(Format::Ntp);
    let packets: Vec<_> = (0..4)
        .map(|number| send(&mut tracker, number * 10))
        .collect();
    let theirs = clock(true, Format::Ntp);
    // The second was lost on its way there, the answer to the third on its way back.
    for (place, own) in [(0, 0), (0, 0), (3, 2), (3, 2), (0, 0)] {
        let bytes = answer(&packets[place], own, (50, 51), theirs);
        tracker.received(&bytes, 100, unix(100));
    }
    tracker.reply_log.expire(TIMEOUT * 2);
    let counts = *tracker.reply_log.counts();
    assert_eq!((counts.received, counts.duplicates, counts.lost), (2, 3, 2));
    let lost = tracker.directions.lost(counts.lost, 0);
    let want = LostByWay {
        to_server: 1,
        to_client: 1,
        unknown: 0,
    };
    assert_eq!(lost, Some(want));
    assert_eq!(
        tracker.directions.way_of(2),
        None,
        "of both the one or the other"
    );
}

#[test]
fn a_further_packet_tells_of_the_last_ones() {
    let mut tracker = tracker(Format::Ntp);
    let packets: Vec<_> = (0..3)
        .map(|number| send(&mut tracker, number * 10))
        .collect();
    let theirs = clock(true, Format::Ntp);
    assert!(!tracker.has_lost_the_last());
    tracker.received(&answer(&packets[0], 0, (5, 6), theirs), 9, unix(9));
    tracker.reply_log.expire(TIMEOUT * 2);
    assert!(tracker.has_lost_the_last());
    let mut packet = vec![0; LENGTH];
    tracker.fill(&mut packet, unix(TIMEOUT * 2));
    tracker.uncounted(true);
    assert_eq!(packet[3], 4);
    let bytes = answer(&packet, 1, (7, 8), theirs);
    // The second time it is a copy.
    for _ in 0..2 {
        assert_eq!(
            tracker.received(&bytes, 9, unix(9)),
            StampArrival::Uncounted
        );
    }
    assert!(!tracker.has_lost_the_last());
    assert_eq!(tracker.directions.restarts(), 0);
    assert_eq!(tracker.directions.way_of(3), Some(Way::ToServer));
    assert_eq!(tracker.reply_log.counts().sent, 3);
}

#[test]
fn one_that_was_not_sent_beside_the_count_is_no_loss() {
    let mut tracker = tracker(Format::Ntp);
    let theirs = clock(true, Format::Ntp);
    let packets = [send(&mut tracker, 0), send(&mut tracker, 10)];
    tracker.received(&answer(&packets[0], 0, (5, 6), theirs), 9, unix(9));
    tracker.reply_log.expire(TIMEOUT * 2);
    let mut packet = vec![0; LENGTH];
    for was_sent in [false, true] {
        tracker.fill(&mut packet, unix(TIMEOUT * 2));
        tracker.uncounted(was_sent);
    }
    tracker.received(&answer(&packet, 1, (7, 8), theirs), 9, unix(9));
    let want = LostByWay {
        to_server: 1,
        ..LostByWay::default()
    };
    assert_eq!(tracker.directions.lost(1, 0), Some(want));
}

#[test]
fn packets_that_are_never_sent_cost_no_memory() {
    let mut tracker = tracker(Format::Ntp).remembering(100);
    let mut packet = vec![0; LENGTH];
    for at in 0..10_000 {
        tracker.fill(&mut packet, unix(at));
        tracker.not_sent(at);
    }
    let remembered = tracker.directions.remembered();
    assert!(remembered <= 102, "{remembered}");
}

#[test]
fn a_cut_answer_moves_no_loss_to_the_other_direction() {
    let mut tracker = tracker(Format::Ntp);
    let theirs = clock(true, Format::Ntp);
    let packets: Vec<_> = (0..4)
        .map(|number| send(&mut tracker, number * 10))
        .collect();
    // The third is lost on its way there.
    for (place, own, length) in [(0, 0, LENGTH), (1, 1, 37), (3, 2, LENGTH)] {
        let bytes = answer(&packets[place], own, (50, 51), theirs);
        tracker.received(&bytes[..length], 100, unix(100));
    }
    tracker.reply_log.expire(TIMEOUT * 2);
    let counts = *tracker.reply_log.counts();
    assert_eq!((counts.received, counts.changed, counts.lost), (2, 1, 1));
    let want = LostByWay {
        to_server: 1,
        ..LostByWay::default()
    };
    assert_eq!(tracker.directions.lost(counts.lost, 0), Some(want));
}

#[test]
fn an_echo_beside_a_reflector_is_no_loss_in_a_direction() {
    let mut tracker = tracker(Format::Ntp);
    let theirs = clock(true, Format::Ntp);
    let packets: Vec<_> = (0..4)
        .map(|number| send(&mut tracker, number * 10))
        .collect();
    tracker.received(&answer(&packets[0], 0, (50, 51), theirs), 100, unix(100));
    // An echo answers the second, in its place or late; the third is lost on its way back.
    tracker.received(&packets[1], 100, unix(100));
    tracker.received(&answer(&packets[3], 2, (50, 51), theirs), 100, unix(100));
    tracker.reply_log.expire(TIMEOUT * 2);
    let want = LostByWay {
        to_client: 1,
        ..LostByWay::default()
    };
    assert_eq!(tracker.directions.lost(1, 0), Some(want));
}

#[test]
fn an_error_that_quotes_a_packet_names_it() {
    let mut tracker = tracker(Format::Ptp);
    let packet = send(&mut tracker, 0);
    assert_eq!(tracker.quoted(&packet[..12]), Some(1));
    assert_eq!(tracker.quoted(&packet[..11]), None);
    assert_eq!(tracker.quoted(&[0; 44]), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(0_u8.., 0..120), at: u64) {
        let mut tracker = tracker(Format::Ntp);
        send(&mut tracker, 0);
        tracker.received(&bytes, at, Duration::from_nanos(at));
        tracker.quoted(&bytes);
    }
}
