//! Expectations: what is understood, what holds, and what is said of it.

mod common;

use common::results::{MS, US, closed, eventful, latency};
use echopool::bench::expect::Condition;

#[track_caller]
fn assert_check(results: &echopool::bench::results::Results, text: &str, held: bool, seen: &str) {
    let condition: Condition = text.parse().unwrap();
    assert_eq!(condition.to_string(), text);
    let expectation = condition.check(results);
    assert_eq!(expectation.text, text);
    assert_eq!(
        (expectation.held, &*expectation.seen),
        (held, seen),
        "{text}"
    );
}

#[test]
fn every_operator_compares() {
    let mut results = closed("a");
    results.totals.lost = 3;
    for (text, held) in [
        ("lost<3", false),
        ("lost<4", true),
        ("lost<=3", true),
        ("lost<=2", false),
        ("lost>2", true),
        ("lost>3", false),
        ("lost>=3", true),
        ("lost>=4", false),
        ("lost=3", true),
        ("lost==3", true),
        ("lost=2", false),
        ("lost = 3", true),
    ] {
        assert_check(&results, text, held, "3");
    }
}

#[test]
fn everything_measured_can_be_expected() {
    let mut results = eventful("a");
    results.rate_per_s = 52_341.0;
    results.throughput_bytes_per_s = 3_350_000.0;
    for (text, held, seen) in [
        ("errors=0", false, "7"),
        ("lost_bytes<200", true, "192"),
        ("lost-bytes<200", true, "192"),
        ("in_flight<=50", true, "50"),
        ("unsent=2", true, "2"),
        ("sent>10k", true, "10,050"),
        ("echoed=10000", true, "10,000"),
        ("connected=50", true, "50"),
        ("outages=0", false, "2"),
        ("suspicions=0", false, "1"),
        ("rate>50000", true, "52,341/s"),
        ("rate>50k/s", true, "52,341/s"),
        ("rate>0.06M", false, "52,341/s"),
        ("mb/s>=3.35", true, "3.35 MB/s"),
        ("MB/s>100", false, "3.35 MB/s"),
        ("Mbit/s>26.7", true, "26.80 Mbit/s"),
        ("mbit/s>26.9", false, "26.80 Mbit/s"),
    ] {
        assert_check(&results, text, held, seen);
    }
}

#[test]
fn times_are_of_the_service_in_a_closed_loop_and_of_the_response_in_an_open_one() {
    let mut results = closed("a");
    results.service = latency([100 * US; 1_000]);
    for (text, held, seen) in [
        ("p50<1ms", true, "100 us"),
        ("p50<100us", false, "100 us"),
        ("p99 <= 200us", true, "100 us"),
        ("p75<1ms", true, "100 us"),
        ("min>1us", true, "100 us"),
        ("mean<1.5ms", true, "100 us"),
        ("stddev<1ms", true, "0 ns"),
        ("max<50us", false, "100 us"),
    ] {
        assert_check(&results, text, held, seen);
    }
    results.response = Some(latency([2 * MS; 1_000]));
    assert_check(&results, "p50<1ms", false, "2.00 ms");
    assert_check(&results, "max<1ms", false, "2.00 ms");
}

#[test]
fn what_too_few_messages_tell_does_not_hold() {
    let mut results = closed("a");
    results.service = latency([100; 999]);
    let reason = "too few round trips to tell: 999 of the 1,000 that it takes";
    assert_check(&results, "p99<1s", false, reason);
    assert_check(&results, "p99>1ns", false, reason);
    results.service = latency([]);
    assert_check(&results, "p99<1s", false, "no round trip was measured");
    assert_check(&results, "max<1s", false, "no round trip was measured");
}

#[test]
fn what_is_not_a_condition_is_refused_with_what_would_be() {
    for (text, words) in [
        ("", "it has no <"),
        ("p99", "'p99<1ms'"),
        ("p99<1", "'1' is not a time with its unit, such as 1ms"),
        ("p99<", "'' is not a time"),
        ("p99<-1ms", "'-1ms' is not a time"),
        ("p100<1ms", "'p100' is not measured; there are p50"),
        ("p0<1ms", "'p0' is not measured"),
        ("p<1ms", "'p' is not measured"),
        ("pNaN<1ms", "'pNaN' is not measured"),
        ("speed>9", "'speed' is not measured; there are p50"),
        ("<1ms", "'' is not measured"),
        ("errors=none", "'none' is not a whole number"),
        ("errors=0.5", "'0.5' is not a whole number"),
        ("errors=<1", "'<1' is not a whole number"),
        ("errors=", "'' is not a whole number"),
        ("errors=µ", "'µ' is not a whole number"),
        ("rate>1e9", "'1e9' is not messages a second"),
        ("rate>-1", "'-1' is not messages a second"),
        ("mb/s>inf", "'inf' is not a number of megabytes"),
        ("Mbit/s>fast", "'fast' is not a number of megabits"),
        (
            "Mb/s>1",
            "write MB/s for megabytes a second, or Mbit/s for megabits",
        ),
        ("mB/s>1", "'mB/s' is ambiguous"),
        ("p99<1M", "'1M' is not a time"),
        ("p99<1h 2M", "'1h 2M' is not a time"),
    ] {
        let error = text.parse::<Condition>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn what_a_stream_does_not_have_does_not_hold() {
    let results = common::results::streamed();
    let reason = "a stream has no messages";
    for text in [
        "rate<5",
        "rate>=0",
        "p50<1s",
        "max<1s",
        "echoed=0",
        "sent=0",
        "in_flight=0",
        "unsent=0",
        "lost=0",
    ] {
        assert_check(&results, text, false, reason);
    }
    assert_check(&results, "errors=0", true, "0");
    assert_check(&results, "lost_bytes=0", true, "0");
    assert_check(&results, "MB/s>2000", true, "2500.00 MB/s");
}
