//! Parses a PROXY header in segments. The first byte is the segments' length less one;
//! the remaining bytes are what a load balancer sends.
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
    let payload = parser.into_payload();
    assert!(stream[..arrived].ends_with(&payload));
    if let Some(Header::Client(_) | Header::Unnamed) = header {
        // The bytes after a header do not change it, and no prefix of a header is one.
        let head = &stream[..arrived - payload.len()];
        assert_eq!(read(head), header);
        assert_eq!(read(&head[..head.len() - 1]), None);
    }
});

fn read(bytes: &[u8]) -> Option<Header> {
    let mut parser = HeaderParser::default();
    parser.push(bytes);
    parser.header()
}
