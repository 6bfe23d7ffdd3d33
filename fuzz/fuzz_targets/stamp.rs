//! Reads packets of STAMP, and answers them in place.
#![no_main]

use std::time::Duration;

use echopool::proto::stamp::{Clock, LEAST_ANSWER, LENGTH, Reflection, Request, Timestamp, quoted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(request) = Request::read(input) else {
        assert!(input.len() >= LEAST_ANSWER || Reflection::read(input).is_none());
        return;
    };
    let clock = Clock::from_estimate(request.estimate);
    let reflection = Reflection {
        sequence: request.sequence.wrapping_add(1),
        sent: request.sent,
        estimate: clock.estimate(),
        received: Timestamp::from_unix(Duration::from_nanos(request.sent.0), clock.format),
        request,
        ttl: input[0],
    };
    let mut answer = input.to_vec();
    reflection.write(&mut answer);
    assert_eq!(Reflection::read(&answer), Some(reflection));
    assert_eq!(quoted(&answer), Some((request.sequence, request.sent)));
    let _ = reflection.received.since_ns(request.sent, clock.format);
    let _ = request
        .sent
        .since_unix_ns(Duration::from_nanos(request.sent.0), clock.format);
    let head = LENGTH.min(input.len());
    assert_eq!(answer[head..], input[head..]);
    assert_eq!(answer.len(), input.len());
});
