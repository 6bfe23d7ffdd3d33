//! What a connection is, and what it has come to.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::error::TransferError;
use crate::base::kernel::KernelView;
use crate::check::context::{Context, TICK};
use crate::check::not_passed::NotPassed;
use crate::check::observation::{End, LEAD, MOST_UNDER_WAY, Observation};
use crate::probe::pattern::WINDOW;
use crate::proto::Protocol;

/// The size of a message in bytes: it fits the buffers of any path, so that it can be
/// sent whole before its echo is received.
pub(in crate::check) const MESSAGE: u64 = 1024;

/// One that is reset with more bytes on its way than these, which a proxy and a server may hold,
/// may live on behind a proxy.
const LEFT_FULL: u64 = 64 * 1024;

/// A connection. Unless it is [finished](Self::finish) it is reset when dropped, so that
/// nothing of a failed clause stays on the path.
pub(in crate::check) struct Connection<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) stream: TcpStream,
    /// Its number within the check, which selects its byte stream.
    pub(super) number: u64,
    /// How long nothing may move.
    pub(super) timeout: Duration,
    /// How long it took to connect.
    pub(in crate::check) connect_time: Duration,
    /// Bytes that must come back, including those that have.
    pub(super) expected: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// What was sent that is not of the stream.
    pub(super) texts: Mutex<Vec<u8>>,
    /// A call failed because the peer had reset the connection. The system reports that
    /// only once; later reads return end of file.
    pub(super) reset: AtomicBool,
    /// When it was made, and its age when a byte last moved, in nanoseconds.
    made: Instant,
    moved_at: AtomicU64,
    pub(super) half_closed: AtomicBool,
    pub(super) urgent: AtomicBool,
    /// Other clauses load the path meanwhile, and it waits longer then.
    pub(super) beside: bool,
    finished: bool,
}

impl<'a> Connection<'a> {
    pub(in crate::check) fn new(
        context: &'a Context<'a>,
        stream: TcpStream,
        number: u64,
        connect_time: Duration,
    ) -> Result<Self, NotPassed> {
        let connection = Self {
            context,
            stream,
            number,
            timeout: context.plan.timeout,
            connect_time,
            expected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            texts: Mutex::new(Vec::new()),
            reset: AtomicBool::new(false),
            made: Instant::now(),
            moved_at: AtomicU64::new(0),
            half_closed: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            beside: false,
            finished: false,
        };
        let prepared = connection.stream.set_read_timeout(Some(TICK));
        prepared
            .and_then(|()| connection.stream.set_write_timeout(Some(TICK)))
            .map_err(|error| connection.failure(TransferError::Io(error)))?;
        Ok(connection)
    }

    /// The same, with another time-out.
    pub(in crate::check) fn with_timeout(self, timeout: Duration) -> Self {
        let mut connection = self;
        connection.timeout = timeout;
        connection
    }

    /// The same, of a clause that runs beside those that load the path.
    pub(in crate::check) fn beside_others(self) -> Self {
        let mut connection = self;
        connection.beside = true;
        connection
    }

    /// Its age.
    pub(in crate::check) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// For how long no byte has moved on it.
    pub(in crate::check) fn silent_for(&self) -> Duration {
        let moved_at = Duration::from_nanos(self.moved_at.load(Ordering::SeqCst));
        self.age().saturating_sub(moved_at)
    }

    /// The peer's address and the local one.
    pub(in crate::check) fn addresses(&self) -> Result<(SocketAddr, SocketAddr), NotPassed> {
        let peer = self.stream.peer_addr();
        peer.and_then(|peer| Ok((peer, self.stream.local_addr()?)))
            .map_err(|error| self.failure(TransferError::Io(error)))
    }

    /// The socket, for its options.
    pub(in crate::check) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// How many bytes must come back, including those that have.
    pub(in crate::check) fn expected(&self) -> u64 {
        self.expected.load(Ordering::SeqCst)
    }

    /// How many bytes have come back, all of them right.
    pub(in crate::check) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// The protocol that the server is expected to speak.
    pub(in crate::check) const fn protocol(&self) -> Protocol {
        self.context.plan.protocol
    }

    /// A text that no other connection sends.
    pub(in crate::check) fn unique_text(&self) -> String {
        let mut bytes = [0; 32];
        self.context.pattern.fill(self.number, 0, &mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Closes it in order: nothing may have arrived beyond what was expected.
    pub(in crate::check) fn finish(mut self) -> Result<(), NotPassed> {
        let mut bytes = [0; WINDOW];
        let looked = self.stream.set_nonblocking(true);
        match looked.and_then(|()| (&self.stream).read(&mut bytes)) {
            Ok(length @ 1..) => Err(self.unexpected(&bytes[..length])),
            // Nothing, or an end of file, which no clause that calls this forbids.
            _ => {
                self.finished = true;
                Ok(())
            }
        }
    }

    /// Closes it in order, without a look at what has arrived.
    pub(in crate::check) fn finish_unchecked(mut self) {
        self.finished = true;
    }

    /// What it has come to, with that end.
    pub(super) fn observation(&self, end: End) -> Observation {
        Observation {
            end,
            sent: self.sent.load(Ordering::SeqCst),
            received: self.received.load(Ordering::SeqCst),
            expected: self.expected.load(Ordering::SeqCst),
            age: self.made.elapsed(),
            moved_at: Duration::from_nanos(self.moved_at.load(Ordering::SeqCst)),
            connect_time: self.connect_time,
            half_closed: self.half_closed.load(Ordering::SeqCst),
            urgent: self.urgent.load(Ordering::SeqCst),
            taken: KernelView::read(&self.stream).and_then(|view| view.is_all_acknowledged()),
            under_way: self.under_way(),
            ..Observation::default()
        }
    }

    /// The bytes that were sent and have not come back, and a few before them.
    fn under_way(&self) -> Vec<u8> {
        let from = self.received().saturating_sub(LEAD);
        let left = self.sent.load(Ordering::SeqCst).saturating_sub(from);
        let length = usize::try_from(left).map_or(MOST_UNDER_WAY, |left| left.min(MOST_UNDER_WAY));
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.is_empty() {
            let mut bytes = vec![0; length];
            self.context.pattern.fill(self.number, from, &mut bytes);
            return bytes;
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = texts.get(from..).unwrap_or_default();
        rest[..rest.len().min(length)].to_vec()
    }

    /// A failure with what the connection has come to.
    pub(super) fn observed(&self, seen: String, end: End) -> NotPassed {
        NotPassed::observed(seen, self.observation(end))
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::SeqCst);
        self.note_move();
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::SeqCst);
        self.note_move();
    }

    pub(super) fn note_move(&self) {
        let age = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved_at.store(age, Ordering::SeqCst);
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Bytes moved in either direction.
    pub(super) fn moved(&self) -> u64 {
        self.sent.load(Ordering::SeqCst) + self.received.load(Ordering::SeqCst)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.context.saw_segments(KernelView::read(&self.stream));
        if !self.finished {
            let sent = self.sent.load(Ordering::SeqCst);
            if sent.saturating_sub(self.received()) > LEFT_FULL {
                self.context.left_full();
            }
            // If this fails, the connection is closed in order instead, which does no harm.
            let _ = self.socket().set_linger(Some(Duration::ZERO));
        }
    }
}
