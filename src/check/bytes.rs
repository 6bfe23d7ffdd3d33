//! Bytes of every value.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;

pub(super) const BYTES: Clause = Clause {
    name: "bytes",
    proves: "every byte value comes back, and behind every other, and so do texts that filters look \
             for: none means anything",
    usually: "something takes the stream for text: it changes ends of lines, telnet's 0xff, \
              XON and XOFF, or stops at a NUL",
    rfc: "RFC 862",
    load: Load::sends(PART as u64),
    run: bytes,
};

/// The size of a message in bytes: it fits the buffers of any path.
const PART: usize = 16 * 1024;

fn bytes(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let pairs = pairs();
    for part in pairs.chunks(PART) {
        connection.send_bytes(part)?;
        connection.receive_bytes(part)?;
    }
    connection.finish()?;
    texts(target)?;
    let length = whole(pairs.len() as u64);
    Ok(format!(
        "all 65,536 pairs of byte values came back, {length} bytes"
    ))
}

/// What filters know a protocol or an attack by: the begin of what a client says, of a file that
/// virus scanners are tested with, and parts of requests that are not meant well.
const TEXTS: [&[u8]; 10] = [
    b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"EHLO example.org\r\n",
    b"\x13BitTorrent protocol",
    b"../../../../etc/passwd",
    b"<script>alert(1)</script>",
    b"' OR '1'='1' UNION SELECT 1 --",
    b"; /bin/sh -c id; cmd.exe /c dir",
    b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE",
];

/// Sends each text in a write of its own, so that it mostly begins a packet, on one connection.
fn texts(target: &Target<'_>) -> Result<(), NotPassed> {
    let connection = target.open()?;
    for text in TEXTS {
        connection.send_bytes(text)?;
    }
    connection.receive_bytes(&TEXTS.concat())?;
    connection.finish()
}

/// Every byte value followed by every byte value.
fn pairs() -> Vec<u8> {
    let values = || 0..=u8::MAX;
    let pairs = values().flat_map(|first| values().map(move |second| [first, second]));
    pairs.flatten().collect()
}
