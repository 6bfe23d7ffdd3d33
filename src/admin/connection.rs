//! One HTTP connection: one request, one answer, and a close that loses nothing of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::http::{self, Code, HEAD_LIMIT, Head, Request};

/// How long a connection may last.
const TIME: Duration = Duration::from_secs(5);

/// How many bytes a client may still send after its answer before the connection is
/// closed. Closing it with unread input would reset it, and lose the answer.
const LINGER_LIMIT: usize = 1024 * 1024;

/// The state of a connection.
enum State {
    /// The bytes of the request that have arrived.
    Reading(Vec<u8>),
    /// The answer, and how much of it is sent.
    Writing(Vec<u8>, usize),
    /// The answer is sent and our side half-closed; this many bytes came since and were
    /// dropped.
    Lingering(usize),
}

/// What the caller is to do next with the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Advance it again at its next event.
    Wait,
    /// Close it: both sides are done.
    Close,
}

/// A connection of a client that talks HTTP.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// When it is closed, unless something moves just then.
    pub(super) until: Instant,
    state: State,
    /// Bytes read and written in all.
    moved: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self {
            stream,
            until: now + TIME,
            state: State::Reading(Vec::new()),
            moved: 0,
        }
    }

    /// Where there are too many connections, the least of these is closed first: one
    /// whose answer is sent, then the oldest.
    pub(super) const fn precedence(&self) -> (bool, Instant) {
        (!matches!(self.state, State::Lingering(_)), self.until)
    }

    /// What becomes of it where its time is over at `now`. What can be read or written only
    /// then is late because this process was, for example while it was suspended: the
    /// client gets as much time again.
    pub(super) fn expire(&mut self, now: Instant, answer: impl Fn(&Request) -> Vec<u8>) -> Next {
        let before = self.moved;
        let next = self.advance(answer);
        if self.moved == before {
            return Next::Close;
        }
        self.until = now + TIME;
        next
    }

    /// Reads and writes until the socket would block, since the poller reports edges
    /// only.
    pub(super) fn advance(&mut self, answer: impl Fn(&Request) -> Vec<u8>) -> Next {
        match self.try_advance(answer) {
            Ok(next) => next,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Wait,
            // The client is gone, so no answer would reach it.
            Err(_) => Next::Close,
        }
    }

    fn try_advance(&mut self, answer: impl Fn(&Request) -> Vec<u8>) -> io::Result<Next> {
        let mut block = [0; HEAD_LIMIT];
        loop {
            match &mut self.state {
                State::Reading(head) => {
                    let room = HEAD_LIMIT - head.len();
                    let count = uninterrupted(|| self.stream.read(&mut block[..room]))?;
                    self.moved += count;
                    head.extend_from_slice(&block[..count]);
                    let answer = match http::read(head) {
                        Head::Complete(request) => answer(&request),
                        Head::Refused(code) => http::refusal(code, false),
                        Head::Incomplete if count > 0 => continue,
                        // A client that only tests whether the port is open.
                        Head::Incomplete if head.is_empty() => return Ok(Next::Close),
                        Head::Incomplete => http::refusal(Code::BadRequest, false),
                    };
                    self.state = State::Writing(answer, 0);
                }
                State::Writing(answer, sent) if *sent == answer.len() => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.state = State::Lingering(0);
                }
                State::Writing(answer, sent) => {
                    let count = uninterrupted(|| self.stream.write(&answer[*sent..]))?;
                    *sent += count;
                    self.moved += count;
                }
                State::Lingering(dropped) => {
                    match uninterrupted(|| self.stream.read(&mut block))? {
                        0 => return Ok(Next::Close),
                        count => *dropped += count,
                    }
                    // What a client sends after its answer saves nothing, so it is not
                    // counted as moved.
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

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_answer_larger_than_the_send_buffer_is_sent_whole() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        SockRef::from(&stream).set_send_buffer_size(8_192).unwrap();
        let mut connection = Connection::new(TcpStream::from_std(stream), Instant::now());
        let whole: Vec<u8> = (0..=255).cycle().take(10_000_000).collect();
        let answer = |_: &Request| whole.clone();
        assert_eq!(connection.advance(answer), Next::Wait);
        assert!(matches!(connection.state, State::Writing(_, sent) if sent < whole.len()));
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            read
        });
        while connection.advance(answer) == Next::Wait {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(reader.join().unwrap() == whole);
    }
}
