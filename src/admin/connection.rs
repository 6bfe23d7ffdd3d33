//! One HTTP connection: it asks, is answered, and leaves.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::http::{self, Code, HEAD_LIMIT, Head, Request};

/// How long a connection may last.
const TIME: Duration = Duration::from_secs(5);

/// What a client that has its answer may still send, in bytes, before it is closed
/// on. To close earlier would reset the connection and the answer with it.
const LINGER_LIMIT: usize = 1024 * 1024;

/// How far it has come.
enum State {
    /// What has arrived of the request.
    Asking(Vec<u8>),
    /// The answer, and how much of it is sent.
    Answering(Vec<u8>, usize),
    /// All is sent and our side shut; so much came since and was dropped.
    Leaving(usize),
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is looked at again at its next event.
    Wait,
    /// Both sides are done with it.
    Close,
}

/// A connection of a client that talks HTTP.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// When it is closed, whatever it does.
    pub(super) until: Instant,
    state: State,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self {
            stream,
            until: now + TIME,
            state: State::Asking(Vec::new()),
        }
    }

    /// Which one goes first where there are too many: those that have their answer,
    /// then the oldest.
    pub(super) const fn precedence(&self) -> (bool, Instant) {
        (!matches!(self.state, State::Leaving(_)), self.until)
    }

    /// Goes on as far as the socket allows. The poller tells of edges only, so that
    /// is until it would block.
    pub(super) fn advance(&mut self, answer: impl Fn(&Request) -> Vec<u8>) -> Next {
        match self.try_advance(answer) {
            Ok(next) => next,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Wait,
            // It is gone; there is nobody to tell.
            Err(_) => Next::Close,
        }
    }

    fn try_advance(&mut self, answer: impl Fn(&Request) -> Vec<u8>) -> io::Result<Next> {
        let mut block = [0; HEAD_LIMIT];
        loop {
            match &mut self.state {
                State::Asking(head) => {
                    let room = HEAD_LIMIT - head.len();
                    let count = uninterrupted(|| self.stream.read(&mut block[..room]))?;
                    head.extend_from_slice(&block[..count]);
                    let answer = match http::read(head) {
                        Head::Complete(request) => answer(&request),
                        Head::Refused(code) => http::refusal(code, false),
                        Head::Incomplete if count > 0 => continue,
                        // It came and went: a port that is only looked at.
                        Head::Incomplete if head.is_empty() => return Ok(Next::Close),
                        Head::Incomplete => http::refusal(Code::BadRequest, false),
                    };
                    self.state = State::Answering(answer, 0);
                }
                State::Answering(answer, sent) if *sent == answer.len() => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.state = State::Leaving(0);
                }
                State::Answering(answer, sent) => {
                    *sent += uninterrupted(|| self.stream.write(&answer[*sent..]))?;
                }
                State::Leaving(dropped) => {
                    match uninterrupted(|| self.stream.read(&mut block))? {
                        0 => return Ok(Next::Close),
                        count => *dropped += count,
                    }
                    if *dropped > LINGER_LIMIT {
                        return Ok(Next::Close);
                    }
                }
            }
        }
    }
}

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
