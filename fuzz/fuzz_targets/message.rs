//! Parses a counted message in segments. The first byte is the segments' length less
//! one; the remaining bytes are what the client sends.
#![no_main]

use echopool::proto::{COUNTED_MAX, Message, answer, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&length, stream)) = input.split_first() else {
        return;
    };
    let mut message = Message::default();
    let mut arrived = 0;
    for segment in stream.chunks(usize::from(length) + 1) {
        arrived += segment.len();
        let want = complete(&stream[..arrived]);
        assert_eq!(message.push(segment), want);
        if want.is_some() {
            return;
        }
    }
    assert_eq!(message.is_empty(), stream.is_empty());
    assert_eq!(message.finish(), answer(stream));
    let request = request(stream).expect("it has no NUL and is short enough");
    assert_eq!(Message::default().push(&request), Some(answer(stream)));
});

/// The answer to the bytes that have arrived, if they complete a message.
fn complete(arrived: &[u8]) -> Option<Vec<u8>> {
    let most = &arrived[..arrived.len().min(COUNTED_MAX)];
    let text = most.split(|&byte| byte == 0).next().unwrap_or_default();
    let ends = text.len() < most.len() || most.len() == COUNTED_MAX || arrived.ends_with(b"\n");
    ends.then(|| answer(text))
}
