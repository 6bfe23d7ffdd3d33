//! Parses the histogram of a result file. The target adds the base64 encoding and, if
//! asked for, the compression: a fuzzer would hardly ever get through both.
//!
//! The low bit of the first byte says whether the remaining bytes are to be compressed
//! first.
#![no_main]

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use echopool::probe::latency::Latency;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;

/// The first bytes of a compressed histogram, before the length of the compressed data.
const COMPRESSED: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();

fuzz_target!(|input: &[u8]| {
    let Some((&kind, bytes)) = input.split_first() else {
        return;
    };
    let encoded = if kind & 1 == 0 {
        bytes.to_vec()
    } else {
        compressed(bytes)
    };
    let json = serde_json::json!({ "histogram_v2": BASE64.encode(encoded) });
    let Ok(latency) = serde_json::from_value::<Latency>(json) else {
        return;
    };
    let (min, max) = (latency.min(), latency.max());
    assert!(min <= max);
    assert!(latency.percentiles().all(|(_, ns)| Some(ns) <= max));
    let mut twice = latency.clone();
    twice.add(&latency);
    assert_eq!((twice.min(), twice.max()), (min, max));
    let written = serde_json::to_value(&latency).unwrap();
    assert_eq!(serde_json::from_value::<Latency>(written).unwrap(), latency);
});

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    let packed = packed.finish().unwrap();
    let length = u32::try_from(packed.len()).unwrap().to_be_bytes();
    [&COMPRESSED[..], &length, &packed].concat()
}
