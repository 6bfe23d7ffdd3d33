//! Reads packets of STAMP, and answers them in place.
#![no_main]

use std::time::Duration;

use echopool::proto::stamp::{Clock, LENGTH, Reflection, Request, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(request) = Request::read(input) else {
        assert!(Reflection::read(input).is_none());
        return;
    };
    let reflection = Reflection {
        sequence: request.sequence.wrapping_add(1),
        sent: request.sent,
        estimate: Clock::from_estimate(request.estimate).estimate(),
        received: Timestamp::from_unix(Duration::from_nanos(request.sent.0)),
        request,
        ttl: input[0],
    };
    let mut answer = input.to_vec();
    reflection.write(&mut answer);
    assert_eq!(Reflection::read(&answer), Some(reflection));
    let head = LENGTH.min(input.len());
    assert_eq!(answer[head..], input[head..]);
    assert_eq!(answer.len(), input.len());
});
