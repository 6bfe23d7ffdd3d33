//! Sends a stream of any length and compares the echo, byte for byte.
//!
//! A second thread sends while the caller's thread receives, so neither direction waits for
//! the other. What is expected back goes through a bounded channel: the sender waits when
//! it is full, so memory use does not depend on the length of the stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::error::Error;
use super::service::{BY_CHANCE, looks_like};
use crate::base::error::{self, cause};
use crate::base::units;

/// The size of one read or send, in bytes.
const CHUNK: usize = 64 * 1024;

/// The most pieces in flight: 16 MiB, more than socket buffers hold.
const WINDOW: usize = 256;

/// How many of the first bytes are kept, to tell a service that is no echo server.
const START: usize = 64;

/// How long to wait for the peer to close once the echo is complete: extra bytes would
/// arrive in this time, and a peer that never closes does not block the client.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Bytes to send, which must come back.
pub(crate) type Piece = Arc<[u8]>;

/// Splits a source into pieces that are expected back unchanged.
pub(crate) fn echo_pieces(mut source: impl Read) -> impl Iterator<Item = io::Result<Piece>> {
    let mut chunk = vec![0; CHUNK];
    std::iter::from_fn(move || {
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => return Some(Ok(chunk[..n].into())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

/// The progress of the sender, which the receiver reads.
#[derive(Default)]
struct Progress {
    /// Bytes that the socket accepted.
    sent: AtomicU64,
    /// Bytes that must come back for the pieces sent so far, the current one included.
    expected: AtomicU64,
    /// Every piece was sent.
    complete: AtomicBool,
    /// Reading the source failed, which ends the connection.
    failed: AtomicBool,
}

/// Sends every piece and writes the echo to `sink`. `timeout` limits how long no byte may
/// move in either direction while an echo is outstanding. Returns the number of bytes that
/// came back.
///
/// It half-closes once the whole echo is back, since some tunnels take a half-close for the
/// end of both directions and lose what is on its way. Where nothing has come for `patience`
/// after everything was sent, or for half of `timeout`, it half-closes before: a server may
/// wait for that.
///
/// # Errors
/// [`Error::Echo`] for a wrong, missing or extra byte, with its offset;
/// [`Error::Input`] if the source fails and [`error::Error::Output`] if the sink does;
/// [`Error::Send`] when nothing could be sent.
pub(crate) fn exchange<P>(
    stream: TcpStream,
    pieces: P,
    sink: &mut dyn Write,
    timeout: Duration,
    patience: Duration,
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
    let mut receiver = EchoReceiver {
        stream,
        progress,
        pieces: expected,
        current: (Arc::default(), 0),
        received: 0,
        start: Vec::new(),
        timeout,
        patience: patience.min(timeout / 2),
        half_closed: false,
    };
    match receiver.receive(sink) {
        Ok(()) => Ok(receiver.received),
        Err(ReceiveError::Output(error)) => Err(error::Error::Output(error).into()),
        Err(ReceiveError::Fault(fault)) => Err(receiver.explain(fault, sender, address)),
    }
}

/// The peer's address as text for messages.
pub(crate) fn peer_name(stream: &TcpStream) -> String {
    stream
        .peer_addr()
        .map_or_else(|_| String::from("the server"), |peer| peer.to_string())
}

/// Why the sender stopped early.
enum SendError {
    Input(io::Error),
    Socket(io::Error),
}

fn send(
    mut stream: &TcpStream,
    pieces: impl Iterator<Item = io::Result<Piece>>,
    window: &Sender<Arc<[u8]>>,
    progress: &Progress,
) -> Result<(), SendError> {
    for piece in pieces {
        let piece = piece.map_err(|error| {
            progress.failed.store(true, Ordering::SeqCst);
            // Otherwise the receiver would wait for bytes that are never sent.
            let _ = stream.shutdown(Shutdown::Both);
            SendError::Input(error)
        })?;
        // Counted before it is sent, so that no correct echo is ever unexpected.
        progress
            .expected
            .fetch_add(piece.len() as u64, Ordering::SeqCst);
        if window.send(Arc::clone(&piece)).is_err() {
            return Ok(());
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => {
                    progress.sent.fetch_add(n as u64, Ordering::SeqCst);
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SendError::Socket(error)),
            }
        }
    }
    progress.complete.store(true, Ordering::SeqCst);
    Ok(())
}

/// Why the receiver stopped early.
enum ReceiveError {
    Output(io::Error),
    Fault(String),
}

/// The receiver of the echo: compares it with what is expected.
struct EchoReceiver {
    stream: TcpStream,
    progress: Arc<Progress>,
    pieces: Receiver<Arc<[u8]>>,
    /// The piece being received, and how many of its bytes have been.
    current: (Arc<[u8]>, usize),
    received: u64,
    /// The first bytes that were received, of which a service is told.
    start: Vec<u8>,
    timeout: Duration,
    /// How long nothing may come, once everything is sent, before the sending side is closed.
    patience: Duration,
    half_closed: bool,
}

impl EchoReceiver {
    fn receive(&mut self, sink: &mut dyn Write) -> Result<(), ReceiveError> {
        let mut block = vec![0; CHUNK];
        let mut moved_at = Instant::now();
        let mut sent_before = 0;
        loop {
            match self.stream.read(&mut block) {
                Ok(0) if self.is_complete_at_end() => return Ok(()),
                Ok(0) => return Err(self.closed()),
                Ok(n) => {
                    // Wrong bytes are written too: the output shows what came back.
                    sink.write_all(&block[..n]).map_err(ReceiveError::Output)?;
                    sink.flush().map_err(ReceiveError::Output)?;
                    self.compare(&block[..n])?;
                    moved_at = Instant::now();
                    if self.is_complete() {
                        self.half_close();
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    let sent = self.progress.sent.load(Ordering::SeqCst);
                    let still = moved_at.elapsed();
                    if self.is_complete() {
                        self.half_close();
                        if still >= CLOSE_TIME.min(self.timeout) {
                            return Ok(());
                        }
                    } else if sent != sent_before || self.outstanding() == 0 {
                        sent_before = sent;
                        moved_at = Instant::now();
                    } else if still >= self.timeout {
                        return Err(self.missing(&no_data(self.timeout)));
                    } else if still >= self.patience && self.is_sent() {
                        self.half_close();
                    }
                }
                Err(_) if self.is_complete_at_end() => return Ok(()),
                Err(error) => return Err(self.missing(&cause(&error))),
            }
        }
    }

    /// The error to report: one of the sender explains why an echo is missing.
    fn explain(
        &self,
        fault: String,
        sender: JoinHandle<Result<(), SendError>>,
        address: String,
    ) -> Error {
        let has_ended = self.progress.failed.load(Ordering::SeqCst) || sender.is_finished();
        let ended = has_ended.then(|| sender.join().ok()).flatten();
        match ended {
            Some(Err(SendError::Input(error))) => Error::Input(error),
            Some(Err(SendError::Socket(source))) if self.received == 0 => {
                Error::Send { address, source }
            }
            _ => Error::Echo { address, fault },
        }
    }

    /// Bytes expected that have not been received.
    fn outstanding(&self) -> u64 {
        let expected = self.progress.expected.load(Ordering::SeqCst);
        expected.saturating_sub(self.received)
    }

    /// Closes the sending side, once.
    fn half_close(&mut self) {
        if !self.half_closed {
            // If it fails, the connection has ended, as the next read tells.
            let _ = self.stream.shutdown(Shutdown::Write);
            self.half_closed = true;
        }
    }

    /// Whether everything was sent.
    fn is_sent(&self) -> bool {
        self.progress.complete.load(Ordering::SeqCst)
    }

    /// Whether everything was sent and received.
    fn is_complete(&self) -> bool {
        self.is_sent() && self.outstanding() == 0
    }

    /// Whether the echo was complete when the peer closed. The peer may be faster than the
    /// sender, which may not have seen the end of its source yet.
    fn is_complete_at_end(&self) -> bool {
        if self.outstanding() > 0 {
            return false;
        }
        // The sender drops its side of the channel when it has finished.
        match self.pieces.recv_timeout(CLOSE_TIME) {
            Err(RecvTimeoutError::Disconnected) => self.is_complete(),
            Ok(_) | Err(RecvTimeoutError::Timeout) => false,
        }
    }

    fn compare(&mut self, mut arrived: &[u8]) -> Result<(), ReceiveError> {
        let room = START - self.start.len().min(START);
        self.start
            .extend_from_slice(&arrived[..arrived.len().min(room)]);
        while !arrived.is_empty() {
            let (piece, done) = &mut self.current;
            if *done == piece.len() {
                let Ok(next) = self.pieces.try_recv() else {
                    let guess = guess_by_start(self.received, &self.start);
                    return Err(ReceiveError::Fault(
                        extra_byte(arrived[0], self.received) + &guess,
                    ));
                };
                self.current = (next, 0);
                continue;
            }
            let want = &piece[*done..piece.len().min(*done + arrived.len())];
            let (got, rest) = arrived.split_at(want.len());
            if let Some(fault) = first_difference(want, got, self.received) {
                let guess = guess_by_start(self.received, &self.start);
                return Err(ReceiveError::Fault(fault + &guess));
            }
            *done += got.len();
            self.received += got.len() as u64;
            arrived = rest;
        }
        Ok(())
    }

    /// The fault: the echo ended early.
    fn missing(&self, why: &str) -> ReceiveError {
        ReceiveError::Fault(missing(why, self.received, self.outstanding()))
    }

    /// The fault: the peer closed its side before the echo was complete.
    fn closed(&self) -> ReceiveError {
        let mut fault = missing(
            "the connection was closed",
            self.received,
            self.outstanding(),
        );
        if self.half_closed && self.outstanding() > 0 {
            fault += "; the path may take our half-close for the end";
        }
        ReceiveError::Fault(fault)
    }
}

/// The text for an echo that ended early: after `received` bytes, where `outstanding` more
/// were expected.
pub(crate) fn missing(why: &str, received: u64, outstanding: u64) -> String {
    match outstanding {
        0 => format!(
            "{why} after {}, before all was sent",
            units::plain_count(received, "byte", "bytes")
        ),
        outstanding => format!(
            "{why}: {} missing from byte {received} on",
            units::count(outstanding, "byte", "bytes")
        ),
    }
}

/// The text for a byte that arrived after the whole echo.
pub(crate) fn extra_byte(byte: u8, offset: u64) -> String {
    format!("byte {offset}: expected none, received {byte:#04x} after the whole echo")
}

/// What the service looks like that began with the bytes `start`, to be appended to a text;
/// `right` of them were as expected. A service speaks from its first byte on.
pub(crate) fn guess_by_start(right: u64, start: &[u8]) -> String {
    let service = (right <= BY_CHANCE).then(|| looks_like(b"", start));
    service
        .flatten()
        .map_or_else(String::new, |name| format!("; this looks like {name}"))
}

/// The text for an expired time-out.
pub(crate) fn no_data(timeout: Duration) -> String {
    format!("no data for {}", humantime::format_duration(timeout))
}

/// The text for the first byte that differs, if any; `base` is the offset at which both
/// slices start.
pub(crate) fn first_difference(sent: &[u8], came: &[u8], base: u64) -> Option<String> {
    let at = sent
        .iter()
        .zip(came)
        .position(|(sent, came)| sent != came)?;
    Some(format!(
        "byte {}: expected {:#04x}, received {:#04x}",
        base + at as u64,
        sent[at],
        came[at]
    ))
}

/// Whether a call hit the socket's time-out; the kind depends on the system.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
