//! How connections are made, how they end, and how they are made again.

use std::cmp::Reverse;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::Generator;
use crate::base::error::cause;
use crate::base::sys;
use crate::bench::clock::SECOND;
use crate::bench::flow::Message;
use crate::bench::outage::Gap;
use crate::bench::plan::Load;
use crate::bench::recorder::note;
use crate::bench::slot::Stage;
use crate::bench::source;

/// Connections of all threads together that are being made at once: far below
/// any server's backlog.
const CONNECTING: usize = 256;

/// The first pause between two attempts to connect; each is twice the one before.
const FIRST_PAUSE: u64 = SECOND / 100;

/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: u64 = SECOND;

/// A message without end: a stream is one.
const ENDLESS: u64 = u64::MAX / 2;

/// Why a connection was lost.
pub(super) enum Loss {
    Closed,
    Reset,
    TimedOut,
    Failed(io::Error),
    /// Its place in the stream is not known any more; that has been told.
    Damaged,
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Self::Reset
            }
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed(error),
        }
    }
}

impl Generator<'_> {
    /// Begins as many connections as may be under way.
    pub(super) fn start_connecting(&mut self) {
        self.start_exchanges();
        let most = match self.shared.plan.load {
            // How many it asks for at once is what a user of churn chooses.
            Load::Churn => usize::MAX,
            _ => (CONNECTING / self.shared.plan.threads).max(1),
        };
        // On this machine none is seen to be under way, but the server has to
        // take them all the same.
        for _ in 0..most {
            if self.connecting >= most {
                return;
            }
            let Some(key) = self.wanting.pop_front() else {
                return;
            };
            let now = self.shared.clock.now();
            let shared = self.shared;
            match self.adopted.take() {
                None => self.connect_by(key, now, |number| {
                    source::begin(&shared.plan.sources, number, shared.address)
                }),
                Some((stream, took)) => {
                    self.connect_by(key, now.saturating_sub(took), |_| Ok(stream));
                }
            }
        }
    }

    /// Churn: gives each message that is due a slot, as long as there are any.
    fn start_exchanges(&mut self) {
        if !self.running || self.finishing {
            return;
        }
        while let Some(key) = self.idle.pop() {
            let due = match self.schedule {
                Some(_) => self.overdue.pop_front(),
                None => Some(self.now).filter(|&now| self.spend(now)),
            };
            let Some(due) = due else {
                self.idle.push(key);
                return;
            };
            let size = self.size();
            let slot = &mut self.slots[key];
            slot.counts = self.record.counts(due);
            slot.flow.push(size, due, &mut self.record);
            self.want_to_connect(key);
        }
    }

    fn want_to_connect(&mut self, key: usize) {
        self.slots[key].stage = Stage::Wanting;
        self.wanting.push_back(key);
    }

    /// Gives the slot a new connection with a number of its own, made by
    /// `connect`, as of the time `since`. On this machine it is there at once.
    fn connect_by(
        &mut self,
        key: usize,
        since: u64,
        connect: impl FnOnce(u64) -> io::Result<TcpStream>,
    ) {
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        self.slots[key].flow.renew(number, &self.record);
        let registry = self.poller.registry();
        let both = Interest::READABLE | Interest::WRITABLE;
        let made = connect(number).and_then(|mut stream| {
            registry.register(&mut stream, Token(key), both)?;
            Ok(stream)
        });
        self.connecting += 1;
        self.slots[key].attempts += 1;
        match made {
            Ok(stream) => {
                self.slots[key].connecting(stream, since);
                self.finish_connecting(key);
            }
            Err(error) => self.fail_to_connect(key, &error),
        }
    }

    /// Looks whether the connection is made.
    pub(super) fn finish_connecting(&mut self, key: usize) {
        match self.slots[key].is_connected() {
            Ok(false) => {}
            Err(error) => self.fail_to_connect(key, &error),
            Ok(true) => {
                self.connecting -= 1;
                self.open += 1;
                self.now = self.shared.clock.now();
                let slot = &mut self.slots[key];
                slot.stage = Stage::Open;
                slot.writable = true;
                if !self.is_warming_up() {
                    let took = self.now.saturating_sub(self.slots[key].since);
                    let counts = self.record.measured();
                    counts.totals.connected += 1;
                    note(&mut counts.connect, took);
                }
                if self.running {
                    self.offer_stream(key);
                    self.want_to_send(key);
                }
            }
        }
    }

    const fn is_warming_up(&self) -> bool {
        self.running && self.now < self.times.measured_from
    }

    /// Stream: all that this connection sends is one message.
    pub(super) fn offer_stream(&mut self, key: usize) {
        if self.is(Load::Stream) && !self.finishing {
            let slot = &mut self.slots[key];
            slot.since = self.now;
            slot.flow.push(ENDLESS, self.now, &mut self.record);
        }
    }

    pub(super) fn fail_to_connect(&mut self, key: usize, error: &io::Error) {
        self.connecting -= 1;
        let slot = &mut self.slots[key];
        slot.stream = None;
        let number = slot.flow.connection();
        let refused = error.kind() == ErrorKind::ConnectionRefused;
        if refused && self.shared.plan.reconnect {
            self.gap(key).refused += 1;
        }
        let counts = self.record.measured();
        counts.without_port += u64::from(error.kind() == ErrorKind::AddrNotAvailable);
        counts.without_descriptor += u64::from(sys::is_out_of_descriptors(error));
        match refused {
            true => counts.totals.errors.refused += 1,
            false => counts.totals.errors.not_connected += 1,
        }
        let address = self.shared.address;
        self.record.tell(|| {
            format!(
                "connection {number}: could not connect to {address}: {}",
                cause(error)
            )
        });
        self.part_with(key);
    }

    /// The first bytes of a connection are back: it has a server.
    pub(super) fn recover(&mut self, key: usize, message: &Message) {
        let now = self.now;
        let slot = &mut self.slots[key];
        slot.attempts = 0;
        if let Some(mut gap) = slot.gap.take() {
            gap.end = Some(now);
            self.record.gap(*gap);
        }
        if self.is(Load::Churn) && self.slots[key].counts {
            note(&mut self.record.measured().first_byte, now - message.sent);
        }
    }

    /// Churn: closes our side once the message is back.
    pub(super) fn settle(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if slot.stage != Stage::Open || slot.flow.len() > 0 {
            return;
        }
        let (counts, took) = (slot.counts, self.now - slot.since);
        slot.stage = Stage::Closing;
        slot.since = self.now;
        // If that fails, there is no end of the server's to wait for.
        let closed = slot
            .stream
            .as_ref()
            .map(|stream| stream.shutdown(Shutdown::Write));
        if counts {
            note(&mut self.record.measured().exchange, took);
        }
        if !matches!(closed, Some(Ok(()))) {
            self.hang_up(key);
        }
    }

    /// Churn: the exchange is over, and the slot is free for the next.
    pub(super) fn hang_up(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        slot.stream = None;
        slot.stage = Stage::Idle;
        self.open -= 1;
        self.idle.push(key);
    }

    /// The server closed its side.
    pub(super) fn end(&mut self, key: usize) {
        match self.slots[key].stage {
            Stage::Closing => self.hang_up(key),
            _ => self.lose(key, &Loss::Closed),
        }
    }

    /// A connection has ended before its time.
    pub(super) fn lose(&mut self, key: usize, loss: &Loss) {
        let slot = &mut self.slots[key];
        if slot.stage == Stage::Closing {
            return self.hang_up(key);
        }
        let place_known = slot.judge(&self.shared.pattern, &mut self.record);
        let loss = if place_known { loss } else { &Loss::Damaged };
        self.tell_loss(key, loss);
        let slot = &mut self.slots[key];
        let in_vain = matches!(loss, Loss::TimedOut);
        let (bytes, counted) = slot.flow.lose(in_vain, self.now, &mut self.record);
        slot.stream = None;
        self.open -= 1;
        self.record.measured().totals.lost_bytes += counted;
        if self.shared.plan.reconnect {
            let gap = self.gap(key);
            gap.lost_bytes += bytes;
            gap.reset += u64::from(matches!(loss, Loss::Reset));
            gap.closed += u64::from(matches!(loss, Loss::Closed));
        }
        self.part_with(key);
    }

    /// The slot's time without a server, which begins now if it has not.
    fn gap(&mut self, key: usize) -> &mut Gap {
        let start = self.now;
        let begin = || {
            Box::new(Gap {
                start,
                ..Gap::default()
            })
        };
        self.slots[key].gap.get_or_insert_with(begin)
    }

    /// Counts a loss and tells of it in words.
    fn tell_loss(&mut self, key: usize, loss: &Loss) {
        let slot = &self.slots[key];
        let errors = &mut self.record.measured().totals.errors;
        let what = match loss {
            Loss::Closed => {
                errors.closed += 1;
                String::from("closed by the server")
            }
            Loss::Reset => {
                errors.reset += 1;
                String::from("reset")
            }
            Loss::TimedOut => {
                errors.timed_out += 1;
                let time = humantime::format_duration(self.shared.plan.timeout);
                format!("given up, no whole echo within {time}")
            }
            Loss::Failed(error) => {
                errors.failed += 1;
                cause(error)
            }
            Loss::Damaged => return,
        };
        let flow = &slot.flow;
        let (number, port, offset) = (flow.connection(), slot.port, flow.received());
        let (came, size) = flow.oldest_bytes();
        self.record.tell(|| {
            let rest = match size {
                0 => String::from("with nothing on its way"),
                _ => format!("when {came} of the {size} bytes of a message were back"),
            };
            format!("connection {number} (local port {port}), offset {offset}: {what}, {rest}")
        });
    }

    /// What becomes of a slot whose connection failed.
    fn part_with(&mut self, key: usize) {
        let stays = self.shared.plan.reconnect || self.is(Load::Churn);
        if stays && !self.finishing {
            return self.rest(key);
        }
        self.slots[key].stage = Stage::Gone;
        self.slots[key].flow.cut(false, self.now, &mut self.record);
        self.alive -= 1;
    }

    /// Connects again: at once where the last connection had an echo, else
    /// after a pause that grows. It is never twice the same, so that many do
    /// not come at once.
    fn rest(&mut self, key: usize) {
        let pause = match self.slots[key].attempts.checked_sub(1) {
            None => 0,
            Some(failed) => FIRST_PAUSE
                .saturating_mul(1 << failed.min(10))
                .min(LONGEST_PAUSE),
        };
        self.slots[key].stage = Stage::Resting;
        if self.is(Load::Churn) {
            // A message has one attempt.
            self.slots[key].flow.cut(false, self.now, &mut self.record);
        }
        match pause {
            0 => self.wake(key),
            pause => {
                let until = self.now + self.random.u64(pause / 2..=pause);
                self.resting.push(Reverse((until, key)));
            }
        }
    }

    /// The pause is over.
    pub(super) fn wake(&mut self, key: usize) {
        if self.slots[key].stage != Stage::Resting {
            return;
        }
        match self.shared.plan.load {
            Load::Churn => {
                self.slots[key].stage = Stage::Idle;
                self.idle.push(key);
            }
            _ => self.want_to_connect(key),
        }
    }
}
