//! Streams, whose bytes pass through pipes, and the polling before sleep: what
//! only Linux has.
#![cfg(target_os = "linux")]

mod common;

use std::thread;
use std::time::Duration;

use common::serve::{pipe_ends, processor_times, serve};
use common::{
    connect, connect_narrow, expect, expect_end, fill, full_duplex, reset, round_trip, wait_until,
};

#[test]
fn a_streaming_clients_bytes_wait_in_a_pipe_until_it_takes_them() {
    let (program, address) = serve(&["--workers", "1"]);
    let before = pipe_ends(&program);
    let mut client = connect(address);
    let sent = fill(&mut client, 1);
    wait_until("there is a pipe for the stream", || {
        pipe_ends(&program) > before
    });
    client.shutdown(std::net::Shutdown::Write).unwrap();
    expect(&mut client, 1, 0, sent);
    expect_end(&mut client);
}

#[test]
fn a_stream_that_is_reset_leaves_none_of_its_bytes_to_the_next() {
    let (program, address) = serve(&["--workers", "1"]);
    let before = pipe_ends(&program);
    for key in 0..8 {
        // Blocked, it holds a pipe with its bytes; reset, it must not pass them on.
        let mut blocked = connect_narrow(address);
        fill(&mut blocked, 2 * key);
        wait_until("the blocked stream has its pipe", || {
            pipe_ends(&program) > before
        });
        let next = thread::spawn({
            let stream = connect(address);
            move || full_duplex(stream, 2 * key + 1, 4 << 20)
        });
        reset(blocked);
        next.join().unwrap();
        full_duplex(connect(address), 1000 + key, 1 << 20);
    }
    wait_until("no more than the spare pipe is left", || {
        pipe_ends(&program) <= before + 2
    });
}

#[test]
fn a_worker_polls_before_it_sleeps_only_where_it_is_asked_to() {
    const POLL: Duration = Duration::from_millis(400);
    let used = |arguments: &[&str]| {
        let (program, address) = serve(&[&["--workers", "1"], arguments].concat());
        let mut client = connect(address);
        round_trip(&mut client, b"a message");
        let before = processor_times(&program);
        thread::sleep(2 * POLL);
        let after = processor_times(&program);
        // Others may have had the processor for a part of that time: then it waited for it.
        let used = after.used - before.used;
        (used, used + after.waited - before.waited)
    };
    let ((idle, _), (polling, wanted)) = (used(&[]), used(&["--busy-poll", "400ms"]));
    assert!(idle < POLL / 8, "asleep it used {idle:?}");
    assert!(wanted > POLL / 2, "polling it was awake for {wanted:?}");
    assert!(polling < POLL * 3 / 2, "it went on polling: {polling:?}");
}
