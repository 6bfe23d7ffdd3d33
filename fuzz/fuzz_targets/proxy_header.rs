//! A PROXY header in segments: the first byte says how long they are, the rest is
//! what a load balancer sends.
#![no_main]

use echopool::worker::proxy_header::{Header, HeaderParser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&length, stream)) = input.split_first() else {
        return;
    };
    let mut parser = HeaderParser::default();
    let mut arrived = 0;
    for segment in stream.chunks(usize::from(length) + 1) {
        parser.push(segment);
        arrived += segment.len();
        if parser.header().is_some() {
            break;
        }
    }
    let header = parser.header();
    let rest = parser.into_rest();
    assert!(stream[..arrived].ends_with(&rest));
    if let Some(Header::Client(_) | Header::Unnamed) = header {
        // What comes behind a header never changes it, and no part of it is one.
        let head = &stream[..arrived - rest.len()];
        assert_eq!(read(head), header);
        assert_eq!(read(&head[..head.len() - 1]), None);
    }
});

fn read(bytes: &[u8]) -> Option<Header> {
    let mut parser = HeaderParser::default();
    parser.push(bytes);
    parser.header()
}
