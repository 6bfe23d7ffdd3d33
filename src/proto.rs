//! The wire protocols, without any I/O: plain echo, the counted one-shot, and whoami.
//!
//! *Echo* (RFC 862): every byte the client sends is sent back; there is
//! nothing to parse.
//!
//! *Counted*: the client sends a text and a terminating NUL, the server answers
//! `<length in bytes> : <text>` and a NUL, and closes.
//!
//! *Whoami*: the server sends the address that it sees the client under, as a
//! line, and closes. It may send a second line, with what its TCP knows of the connection.

pub mod stamp;

use std::fmt;
use std::net::SocketAddr;

use crate::base::kernel::KernelView;

/// A protocol that the server speaks on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 862: what comes in goes out.
    Echo,
    /// One message, one answer that counts its bytes, end.
    Counted,
    /// The client's address as the server sees it, end.
    Whoami,
}

impl Protocol {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Echo, Self::Counted, Self::Whoami];

    /// The port used where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Echo => 20162,
            Self::Counted => 4000,
            Self::Whoami => 4001,
        }
    }
}

/// The scheme in log lines: `echo`, `counted` or `whoami`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Counted => "counted",
            Self::Whoami => "whoami",
        })
    }
}

/// The longest text of a counted message, in bytes, its NUL not included.
pub const COUNTED_MAX: usize = 1024;

/// Why a text can't be a counted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// The text is longer than [`COUNTED_MAX`].
    #[error("the text is over {COUNTED_MAX} bytes, the most that one counted message carries")]
    TooLong,
    /// The text has a NUL at this offset, which would end the message early.
    #[error("the text has a NUL at offset {0}, where a counted message would end")]
    Nul(usize),
}

/// A counted message while it arrives, in any number of segments.
///
/// It is complete at its first NUL; at [`COUNTED_MAX`] bytes; or when what has
/// arrived so far ends in a newline, so that `nc` and `telnet` get an answer.
/// Bytes that follow are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    text: Vec<u8>,
}

impl Message {
    /// Takes the next segment. Returns the answer once the message is complete.
    pub fn push(&mut self, segment: &[u8]) -> Option<Vec<u8>> {
        let room = COUNTED_MAX - self.text.len();
        let taken = &segment[..segment.len().min(room)];
        if let Some(end) = taken.iter().position(|&byte| byte == 0) {
            self.text.extend_from_slice(&taken[..end]);
            return Some(self.finish());
        }
        self.text.extend_from_slice(taken);
        let complete = self.text.len() == COUNTED_MAX || segment.ends_with(b"\n");
        complete.then(|| self.finish())
    }

    /// The answer to what has arrived so far: the client has half-closed.
    pub fn finish(&mut self) -> Vec<u8> {
        answer(&std::mem::take(&mut self.text))
    }

    /// Whether nothing has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// What a client sends to have `text` counted: the text and its NUL.
///
/// # Errors
/// [`BadText`] when the text does not fit into one message.
pub fn request(text: &[u8]) -> Result<Vec<u8>, BadText> {
    if text.len() > COUNTED_MAX {
        return Err(BadText::TooLong);
    }
    if let Some(offset) = text.iter().position(|&byte| byte == 0) {
        return Err(BadText::Nul(offset));
    }
    Ok([text, &[0]].concat())
}

/// What the server answers to `text`: `<length> : <text>` and a NUL.
///
/// ```
/// assert_eq!(echopool::proto::answer(b"test_string"), b"11 : test_string\0");
/// ```
pub fn answer(text: &[u8]) -> Vec<u8> {
    let mut answer = format!("{} : ", text.len()).into_bytes();
    answer.extend_from_slice(text);
    answer.push(0);
    answer
}

/// What a client at `peer` is told that it is: address, port, and a line's end.
///
/// ```
/// let peer = "[2001:db8::7]:40112".parse().unwrap();
/// assert_eq!(echopool::proto::whoami(peer), b"[2001:db8::7]:40112\n");
/// ```
pub fn whoami(peer: SocketAddr) -> Vec<u8> {
    format!("{peer}\n").into_bytes()
}

/// The same with what the server's TCP knows of the connection: a second line, which is a JSON
/// object with the keys of [`KernelView`].
///
/// ```
/// let peer = "192.0.2.7:40112".parse().unwrap();
/// let view = echopool::base::kernel::KernelView::default();
/// let answer = echopool::proto::whoami_with_tcp(peer, &view);
/// assert!(answer.starts_with(b"192.0.2.7:40112\n{\"smoothed_rtt_ns\":null,"));
/// assert_eq!(echopool::proto::seen(&answer), Some(peer));
/// assert_eq!(echopool::proto::seen_tcp(&answer), Some(view));
/// ```
pub fn whoami_with_tcp(peer: SocketAddr, view: &KernelView) -> Vec<u8> {
    let mut answer = whoami(peer);
    let line = serde_json::to_string(view).unwrap_or_default();
    answer.extend_from_slice(line.as_bytes());
    answer.push(b'\n');
    answer
}

/// The longest second line of such an answer, its end included.
pub const WHOAMI_TCP_MAX: usize = 2048;

/// The address in an answer of this protocol, if it is one.
pub fn seen(answer: &[u8]) -> Option<SocketAddr> {
    let (line, rest) = first_line(answer)?;
    let is_whole = rest.is_empty() || seen_tcp(answer).is_some();
    line.parse().ok().filter(|_| is_whole)
}

/// What the server's TCP knows of the connection, if an answer of this protocol tells it.
pub fn seen_tcp(answer: &[u8]) -> Option<KernelView> {
    let (_, rest) = first_line(answer)?;
    let line = rest.strip_suffix('\n')?;
    serde_json::from_str(line).ok()
}

fn first_line(answer: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(answer).ok()?.split_once('\n')
}
