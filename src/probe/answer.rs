//! The answer of a protocol that has one a connection: read to the peer's end, under one
//! deadline for the whole.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::error::Error;
use super::exchange::{CLOSE_TIME, extra_byte, first_difference, is_timeout, missing, peer_name};
use super::service::looks_like;
use crate::base::error::cause;
use crate::base::kernel::KernelView;

/// The most bytes of an answer that are shown.
const SHOWN: usize = 128;

/// A connection whose answer is awaited.
pub(crate) struct Asked {
    stream: TcpStream,
    address: String,
    timeout: Duration,
    deadline: Instant,
    received: Vec<u8>,
}

/// How a read ended.
enum Step {
    Bytes,
    End,
    Expired,
}

impl Asked {
    /// The whole answer must come within `timeout` from now.
    pub(crate) fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self {
            address: peer_name(&stream),
            stream,
            timeout,
            deadline: Instant::now() + timeout,
            received: Vec::new(),
        }
    }

    /// Sends `request` and expects exactly `answer`.
    ///
    /// # Errors
    /// [`Error::Send`]; [`Error::Echo`] with the first wrong, missing or extra byte and what
    /// the answer looks like.
    pub(crate) fn exchange(mut self, request: &[u8], answer: &[u8]) -> Result<Vec<u8>, Error> {
        let sent = self.stream.set_write_timeout(Some(self.timeout));
        let sent = sent.and_then(|()| self.stream.write_all(request));
        sent.map_err(|source| Error::Send {
            address: self.address.clone(),
            source,
        })?;
        loop {
            let is_whole = self.received.len() == answer.len();
            let until = match is_whole {
                // Extra bytes would come in this time.
                true => self.deadline.min(Instant::now() + CLOSE_TIME),
                false => self.deadline,
            };
            match self.read(until) {
                Ok(Step::Bytes) => self.compare(request, answer)?,
                _ if is_whole => return Ok(self.received),
                Ok(Step::End) => return Err(self.cut("the connection was closed", answer)),
                Ok(Step::Expired) => return Err(self.cut(&self.no_answer(), answer)),
                Err(error) => return Err(self.cut(&cause(&error), answer)),
            }
        }
    }

    /// Receives up to `most` bytes, to the peer's end. If nothing comes for `patience`, our
    /// side is closed: a server that waits for us, as an echo server does, then ends.
    ///
    /// # Errors
    /// [`Error::Receive`] when no whole answer came.
    pub(crate) fn receive(&mut self, most: usize, patience: Duration) -> Result<&[u8], Error> {
        let half_close_at = Instant::now() + patience;
        let mut is_open = true;
        while self.received.len() < most {
            let waits = is_open && self.received.is_empty();
            let until = match waits {
                true => self.deadline.min(half_close_at),
                false => self.deadline,
            };
            match self.read(until) {
                Ok(Step::Bytes) => {}
                Ok(Step::End) => break,
                Ok(Step::Expired) if waits && until < self.deadline => {
                    is_open = false;
                    // If it fails, the connection has ended, as the next read tells.
                    let _ = self.stream.shutdown(Shutdown::Write);
                }
                Ok(Step::Expired) => {
                    let mut text = self.no_answer();
                    if !self.received.is_empty() {
                        text = format!("{text}, only {}", shown(&self.received));
                    }
                    return Err(self.receive_error(io::Error::other(text)));
                }
                Err(error) => return Err(self.receive_error(error)),
            }
        }
        Ok(&self.received)
    }

    /// The error for an answer that is not `expected`, which reads on from "expected".
    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        let fault = match self.received.is_empty() {
            true => format!(
                "expected {expected}, received nothing: an echo server ends so at our half-close"
            ),
            false => {
                let received = &self.received;
                let guess = guess(b"", received);
                format!("expected {expected}, received {}{guess}", shown(received))
            }
        };
        self.bad(fault)
    }

    /// What the system knows of the connection, where it tells.
    pub(crate) fn kernel_view(&self) -> Option<KernelView> {
        KernelView::read(&self.stream)
    }

    fn read(&mut self, until: Instant) -> io::Result<Step> {
        let mut block = [0; 1024];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Step::Expired);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut block) {
                Ok(0) => return Ok(Step::End),
                Ok(length) => {
                    self.received.extend_from_slice(&block[..length]);
                    return Ok(Step::Bytes);
                }
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn compare(&self, request: &[u8], answer: &[u8]) -> Result<(), Error> {
        let received = &self.received;
        let fault = match first_difference(answer, received, 0) {
            Some(fault) => {
                let guess = guess(request, received);
                let [answer, received] = [answer, received].map(shown);
                format!("{fault}; expected {answer}, received {received}{guess}")
            }
            None if received.len() > answer.len() => {
                extra_byte(received[answer.len()], answer.len() as u64)
            }
            None => return Ok(()),
        };
        Err(self.bad(fault))
    }

    /// The error for an answer that ended early.
    fn cut(&self, why: &str, answer: &[u8]) -> Error {
        let received = self.received.len();
        let outstanding = answer.len() - received;
        self.bad(missing(why, received as u64, outstanding as u64))
    }

    fn no_answer(&self) -> String {
        let time = humantime::format_duration(self.timeout);
        format!("no whole answer within {time}")
    }

    fn bad(&self, fault: String) -> Error {
        Error::Echo {
            address: self.address.clone(),
            fault,
        }
    }

    fn receive_error(&self, source: io::Error) -> Error {
        Error::Receive {
            address: self.address.clone(),
            source,
        }
    }
}

/// Bytes in quotes and in one line, without the NUL of a counted answer, cut if they are many.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    format!("\"{}\"", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// The service that the answer looks like, as a text to append to a message; empty if none.
fn guess(sent: &[u8], received: &[u8]) -> String {
    looks_like(sent, received).map_or_else(String::new, |name| format!(": it looks like {name}"))
}
