//! Sends a stream of any length and compares what comes back, byte for byte.
//!
//! A second thread sends while the caller's thread receives, so neither
//! direction waits for the other. What has been sent and is not back yet lies
//! in a bounded window between them: the sender waits when it is full, so memory
//! does not grow, however much goes through.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::error::Error;
use crate::base::error::{self, cause};

/// How much is read and sent at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// How many pieces may be under way: 16 MiB, beyond what socket buffers hold.
const WINDOW: usize = 256;

/// How long to wait for the peer's end once everything is back: bytes beyond
/// the echo would come now, but a peer that never closes shall not hold us up.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What is sent in one go, and what must come back for it.
pub(crate) struct Piece {
    pub(crate) send: Arc<[u8]>,
    pub(crate) expect: Arc<[u8]>,
}

impl Piece {
    fn echo(bytes: &[u8]) -> Self {
        let send: Arc<[u8]> = bytes.into();
        let expect = Arc::clone(&send);
        Self { send, expect }
    }
}

/// Cuts a source into pieces that are expected back as they are.
pub(crate) fn echo_pieces(mut source: impl Read) -> impl Iterator<Item = io::Result<Piece>> {
    let mut chunk = vec![0; CHUNK];
    std::iter::from_fn(move || {
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => return Some(Ok(Piece::echo(&chunk[..n]))),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

/// What the sender tells the receiver.
#[derive(Default)]
struct Progress {
    /// Bytes the socket has taken.
    sent: AtomicU64,
    /// Bytes that are to come back for what was begun to be sent.
    promised: AtomicU64,
    /// Every piece has been sent.
    complete: AtomicBool,
    /// Our own input failed; the connection ends because of that.
    failed: AtomicBool,
}

/// Sends every piece, half-closes, and writes what comes back to `sink`.
/// `timeout` is how long nothing may move in either direction while bytes are
/// owed to us. Returns the number of bytes that came back.
///
/// # Errors
/// [`Error::Echo`] for a wrong, missing or extra byte, with its offset;
/// [`Error::Input`] and [`error::Error::Output`] for the two ends on our side;
/// [`Error::Send`] when nothing could be sent.
pub(crate) fn exchange<P>(
    stream: TcpStream,
    pieces: P,
    sink: &mut dyn Write,
    timeout: Duration,
) -> Result<u64, Error>
where
    P: Iterator<Item = io::Result<Piece>> + Send + 'static,
{
    let address = peer_name(&stream);
    let tick = (timeout / 10).clamp(Duration::from_millis(1), Duration::from_millis(100));
    let local = |source| Error::Receive {
        address: address.clone(),
        source,
    };
    stream.set_read_timeout(Some(tick)).map_err(local)?;
    let sending = stream.try_clone().map_err(local)?;
    let progress = Arc::new(Progress::default());
    let (window, expected) = bounded(WINDOW);
    let sender = std::thread::spawn({
        let progress = Arc::clone(&progress);
        move || send(&sending, pieces, &window, &progress)
    });
    let mut returning = Returning {
        stream,
        progress,
        expected,
        current: (Arc::default(), 0),
        received: 0,
        timeout,
    };
    match returning.receive(sink) {
        Ok(()) => Ok(returning.received),
        Err(Ended::Output(error)) => Err(error::Error::Output(error).into()),
        Err(Ended::Fault(fault)) => Err(returning.explain(fault, sender, address)),
    }
}

/// The peer as it is named in messages.
pub(crate) fn peer_name(stream: &TcpStream) -> String {
    stream
        .peer_addr()
        .map_or_else(|_| String::from("the server"), |peer| peer.to_string())
}

/// Why the sender stopped early.
enum SendEnd {
    Input(io::Error),
    Socket(io::Error),
}

fn send(
    mut stream: &TcpStream,
    pieces: impl Iterator<Item = io::Result<Piece>>,
    window: &Sender<Arc<[u8]>>,
    progress: &Progress,
) -> Result<(), SendEnd> {
    for piece in pieces {
        let piece = piece.map_err(|error| {
            progress.failed.store(true, Ordering::SeqCst);
            // The receiver must not wait for what will never be sent.
            let _ = stream.shutdown(Shutdown::Both);
            SendEnd::Input(error)
        })?;
        // Promised before it is sent: no honest echo is ever unexpected.
        progress
            .promised
            .fetch_add(piece.expect.len() as u64, Ordering::SeqCst);
        if window.send(piece.expect).is_err() {
            return Ok(());
        }
        let mut rest = &piece.send[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => {
                    progress.sent.fetch_add(n as u64, Ordering::SeqCst);
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SendEnd::Socket(error)),
            }
        }
    }
    progress.complete.store(true, Ordering::SeqCst);
    stream.shutdown(Shutdown::Write).map_err(SendEnd::Socket)
}

/// Why the receiver stopped early.
enum Ended {
    Output(io::Error),
    Fault(String),
}

/// The receiving side: what is expected, and how far it has come.
struct Returning {
    stream: TcpStream,
    progress: Arc<Progress>,
    expected: Receiver<Arc<[u8]>>,
    /// The piece that is coming back, and how much of it has.
    current: (Arc<[u8]>, usize),
    received: u64,
    timeout: Duration,
}

impl Returning {
    fn receive(&mut self, sink: &mut dyn Write) -> Result<(), Ended> {
        let mut block = vec![0; CHUNK];
        let mut moved_at = Instant::now();
        let mut sent_before = 0;
        loop {
            match self.stream.read(&mut block) {
                Ok(0) if self.ends_whole() => return Ok(()),
                Ok(0) => return Err(self.missing("the connection was closed")),
                Ok(n) => {
                    // Also what is wrong is shown: it is what came back.
                    sink.write_all(&block[..n]).map_err(Ended::Output)?;
                    sink.flush().map_err(Ended::Output)?;
                    self.compare(&block[..n])?;
                    moved_at = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    let sent = self.progress.sent.load(Ordering::SeqCst);
                    let still = moved_at.elapsed();
                    if self.is_whole() {
                        if still >= CLOSE_TIME.min(self.timeout) {
                            return Ok(());
                        }
                    } else if sent != sent_before || self.owed() == 0 {
                        sent_before = sent;
                        moved_at = Instant::now();
                    } else if still >= self.timeout {
                        return Err(self.missing(&nothing_moved(self.timeout)));
                    }
                }
                Err(_) if self.ends_whole() => return Ok(()),
                Err(error) => return Err(self.missing(&cause(&error))),
            }
        }
    }

    /// What went wrong on our side explains what is missing.
    fn explain(
        &self,
        fault: String,
        sender: JoinHandle<Result<(), SendEnd>>,
        address: String,
    ) -> Error {
        let has_ended = self.progress.failed.load(Ordering::SeqCst) || sender.is_finished();
        let ended = has_ended.then(|| sender.join().ok()).flatten();
        match ended {
            Some(Err(SendEnd::Input(error))) => Error::Input(error),
            Some(Err(SendEnd::Socket(source))) if self.received == 0 => {
                Error::Send { address, source }
            }
            _ => Error::Echo { address, fault },
        }
    }

    fn owed(&self) -> u64 {
        let promised = self.progress.promised.load(Ordering::SeqCst);
        promised.saturating_sub(self.received)
    }

    fn is_whole(&self) -> bool {
        self.progress.complete.load(Ordering::SeqCst) && self.owed() == 0
    }

    /// Whether the peer, which has ended, has sent all back. It may be faster
    /// than our sender, which has yet to see that its input is at its end.
    fn ends_whole(&self) -> bool {
        if self.owed() > 0 {
            return false;
        }
        // The sender lets go of its side of the channel when it is done.
        match self.expected.recv_timeout(CLOSE_TIME) {
            Err(RecvTimeoutError::Disconnected) => self.is_whole(),
            Ok(_) | Err(RecvTimeoutError::Timeout) => false,
        }
    }

    fn compare(&mut self, mut arrived: &[u8]) -> Result<(), Ended> {
        while !arrived.is_empty() {
            let (piece, done) = &mut self.current;
            if *done == piece.len() {
                let Ok(next) = self.expected.try_recv() else {
                    return Err(Ended::Fault(extra_byte(arrived[0], self.received)));
                };
                self.current = (next, 0);
                continue;
            }
            let want = &piece[*done..piece.len().min(*done + arrived.len())];
            let (got, rest) = arrived.split_at(want.len());
            if let Some(fault) = first_difference(want, got, self.received) {
                return Err(Ended::Fault(fault));
            }
            *done += got.len();
            self.received += got.len() as u64;
            arrived = rest;
        }
        Ok(())
    }

    fn missing(&self, why: &str) -> Ended {
        let at = self.received;
        Ended::Fault(match self.owed() {
            0 => format!("{why} after {at} bytes, before all was sent"),
            owed => format!(
                "{why}, the byte at offset {at} and {} more are missing",
                owed - 1
            ),
        })
    }
}

/// A byte came that nothing was sent for, in words.
pub(crate) fn extra_byte(byte: u8, offset: u64) -> String {
    format!("an extra byte {byte:#04x} came at offset {offset}, after all that was sent")
}

/// The time-out has run out, in words.
pub(crate) fn nothing_moved(timeout: Duration) -> String {
    format!("nothing moved for {}", humantime::format_duration(timeout))
}

/// The first byte that came back other than it was sent, in words; `base` is
/// the offset at which both slices start.
pub(crate) fn first_difference(sent: &[u8], came: &[u8], base: u64) -> Option<String> {
    let at = sent
        .iter()
        .zip(came)
        .position(|(sent, came)| sent != came)?;
    Some(format!(
        "the byte at offset {} was {:#04x} and came back as {:#04x}",
        base + at as u64,
        sent[at],
        came[at]
    ))
}

/// A read that hit the socket's time-out; which of the two kinds depends on the system.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
