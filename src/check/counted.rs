//! Clauses of the counted protocol: a text is answered with its length, itself, and the end.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::target::Target;
use crate::base::units::whole;
use crate::proto::{self, COUNTED_MAX};

/// Where the protocol is specified.
const PROTOCOL: &str = "README, Protocols";

/// The usual cause where the protocol itself is violated.
const OTHER_PROTOCOL: &str = "something else listens there, or another version of the protocol";

pub(super) const ANSWER: Clause = Clause {
    name: "answer",
    proves: "a text is answered with its length and itself, and then the end",
    usually: OTHER_PROTOCOL,
    rfc: PROTOCOL,
    load: Load::waits(1),
    run: |target| answer(target, b"test_string"),
};

pub(super) const EMPTY: Clause = Clause {
    name: "empty",
    proves: "an empty text is answered like any other",
    usually: "the server waits for a first byte, or takes an empty text for an error",
    rfc: PROTOCOL,
    load: Load::waits(1),
    run: |target| answer(target, b""),
};

pub(super) const BYTES: Clause = Clause {
    name: "bytes",
    proves: "every byte value but NUL is carried",
    usually: "something takes the text for lines or for UTF-8",
    rfc: PROTOCOL,
    load: Load::waits(1),
    run: bytes,
};

pub(super) const SEGMENTS: Clause = Clause {
    name: "segments",
    proves: "a text that comes in 1-byte segments is one message",
    usually: "the server takes its first read for the whole message",
    rfc: "RFC 9293 section 3.7",
    load: Load::waits(1),
    run: segments,
};

pub(super) const LONGEST: Clause = Clause {
    name: "longest",
    proves: "a text of 1,024 bytes is answered without its NUL, and one of 1,023 with it",
    usually: "the server's buffer is shorter than the protocol allows",
    rfc: PROTOCOL,
    load: Load::waits(1),
    run: longest,
};

pub(super) const NEWLINE: Clause = Clause {
    name: "newline",
    proves: "a line that a person types into nc is answered without a NUL",
    usually: OTHER_PROTOCOL,
    rfc: PROTOCOL,
    load: Load::waits(1),
    run: newline,
};

pub(super) const HALF_CLOSE: Clause = Clause {
    name: "half-close",
    proves: "a text without a NUL is complete at our half-close",
    usually: "a proxy does not pass the half-close on, or the server takes it for the client's \
              leaving",
    rfc: "RFC 9293 section 3.6.1",
    load: Load::waits(1),
    run: half_close,
};

pub(super) const HALF_CLOSE_EMPTY: Clause = Clause {
    name: "half-close-empty",
    proves: "a half-close with nothing sent is answered as an empty text",
    usually: "a proxy calls the server only when the first byte comes",
    rfc: "RFC 9293 section 3.6.1",
    load: Load::waits(1),
    run: half_close_empty,
};

pub(super) const TRAILING: Clause = Clause {
    name: "trailing",
    proves: "what follows the NUL is ignored, and does not destroy the answer on its way",
    usually: "the server closes with input unread, and the reset overtakes the answer",
    rfc: "RFC 9293 section 3.6.1, RFC 1122 section 4.2.2.13",
    load: Load::sends(TRAILING_BYTES as u64),
    run: trailing,
};

/// Bytes sent after a complete message, and how often: their arrival races with the
/// answer.
const TRAILING_BYTES: usize = 64 * 1024;
const TRAILING_TRIES: u32 = 10;

/// Sends exactly these bytes, then half-closes if `half_close` is set; expects the answer
/// to `text`.
fn exchange(
    target: &Target<'_>,
    bytes: &[u8],
    half_close: bool,
    text: &[u8],
) -> Result<(), NotPassed> {
    let connection = target.open()?;
    connection.send_bytes(bytes)?;
    if half_close {
        connection.half_close()?;
    }
    connection.receive_bytes(&proto::answer(text))?;
    connection.expect_end()?;
    connection.finish()
}

/// Exchanges a text, sent with its NUL, and its answer.
fn exchange_text(target: &Target<'_>, text: &[u8]) -> Result<(), NotPassed> {
    exchange(target, &[text, b"\0"].concat(), false, text)
}

fn answer(target: &Target<'_>, text: &[u8]) -> Result<String, NotPassed> {
    exchange_text(target, text)?;
    let answer = proto::answer(text);
    let shown = String::from_utf8_lossy(&answer[..answer.len() - 1]);
    Ok(format!("{shown:?} came, and the end"))
}

fn bytes(target: &Target<'_>) -> Result<String, NotPassed> {
    // A newline ends a message only at the end of a segment.
    let text: Vec<u8> = (1..=u8::MAX).collect();
    exchange_text(target, &text)?;
    Ok(format!("all {} other values came back", text.len()))
}

fn segments(target: &Target<'_>) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let text = b"in many segments";
    for byte in [text, &b"\0"[..]].concat() {
        connection.send_bytes(&[byte])?;
    }
    connection.receive_bytes(&proto::answer(text))?;
    connection.expect_end()?;
    connection.finish()?;
    let writes = text.len() + 1;
    Ok(format!("{writes} writes of 1 byte were one message"))
}

fn longest(target: &Target<'_>) -> Result<String, NotPassed> {
    let text = [b'x'; COUNTED_MAX];
    exchange(target, &text, false, &text)?;
    let shorter = &text[1..];
    exchange_text(target, shorter)?;
    let [longest, shorter] = [text.len(), shorter.len()].map(|length| whole(length as u64));
    Ok(format!(
        "{longest} bytes without a NUL and {shorter} with one were answered"
    ))
}

fn newline(target: &Target<'_>) -> Result<String, NotPassed> {
    exchange(target, b"hello\n", false, b"hello\n")?;
    Ok(String::from(
        "a line of 6 bytes, its end counted, was answered",
    ))
}

fn half_close(target: &Target<'_>) -> Result<String, NotPassed> {
    exchange(target, b"no NUL", true, b"no NUL")?;
    Ok(String::from("6 bytes and a half-close were answered"))
}

fn half_close_empty(target: &Target<'_>) -> Result<String, NotPassed> {
    exchange(target, b"", true, b"")?;
    Ok(String::from("the half-close was answered"))
}

fn trailing(target: &Target<'_>) -> Result<String, NotPassed> {
    let mut bytes = b"answer me\0".to_vec();
    bytes.resize(bytes.len() + TRAILING_BYTES, b'x');
    for _ in 0..TRAILING_TRIES {
        exchange(target, &bytes, false, b"answer me")?;
    }
    let trailing = whole(TRAILING_BYTES as u64);
    Ok(format!(
        "{TRAILING_TRIES} answers came whole, with {trailing} bytes behind each text"
    ))
}
