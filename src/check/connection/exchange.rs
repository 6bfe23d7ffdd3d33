//! Sends bytes and receives them again, one after the other or at the same time.

use std::net::Shutdown;
use std::panic::resume_unwind;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::TransferError;
use super::failure::excerpt;
use super::state::Connection;
use super::timer::TransferTimer;
use super::transfer::BLOCK;
use crate::check::not_passed::NotPassed;
use crate::check::observation::{End, Wrong};
use crate::probe::exchange::first_difference;

impl Connection<'_> {
    /// Sends the stream's next `length` bytes, in writes as large as the socket accepts.
    pub(in crate::check) fn send(&self, length: u64) -> Result<(), NotPassed> {
        self.expect(length);
        self.send_stream(length, BLOCK)
            .map_err(|error| self.failure(error))
    }

    /// Receives the stream's next `length` bytes.
    pub(in crate::check) fn receive(&self, length: u64) -> Result<(), NotPassed> {
        self.receive_stream(length)
            .map_err(|error| self.failure(error))
    }

    /// Sends `length` bytes in writes of `piece` bytes. Meanwhile receives them and all
    /// that was sent before.
    pub(in crate::check) fn exchange(&self, length: u64, piece: usize) -> Result<(), NotPassed> {
        self.expect(length);
        let missing = self.expected.load(Ordering::SeqCst) - self.received.load(Ordering::SeqCst);
        self.duplex(
            || self.send_stream(length, piece),
            || self.receive_stream(missing),
        )
    }

    /// Sends up to `most` bytes, as many as come back within `within`; all of them if that is
    /// `None`. Receives those and all that was sent before, from `delay` on: until then they
    /// fill the path's buffers. Returns how many were sent.
    pub(in crate::check) fn exchange_within(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
    ) -> Result<u64, NotPassed> {
        self.exchange_some(most, within, delay, || Ok(()))
    }

    /// The same, with a half-close behind the bytes, after which the end is expected.
    pub(in crate::check) fn exchange_to_end(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
    ) -> Result<u64, NotPassed> {
        let sent = self.exchange_some(most, within, delay, || self.shut_down())?;
        self.expect_end()?;
        Ok(sent)
    }

    fn exchange_some(
        &self,
        most: u64,
        within: Option<Duration>,
        delay: Duration,
        then: impl FnOnce() -> Result<(), TransferError> + Send,
    ) -> Result<u64, NotPassed> {
        let (before, all_expected) = (self.expected(), AtomicBool::new(false));
        let send = || {
            self.send_within(most, within, &all_expected)?;
            then()
        };
        let receive = || {
            thread::sleep(delay);
            self.receive_until(&all_expected)
        };
        let begun = Instant::now();
        self.duplex(send, receive)?;
        let sent = self.expected() - before;
        // Less says more of the round trip than of the rate.
        if sent > BLOCK as u64 {
            self.context.saw_stream(sent, begun.elapsed());
        }
        Ok(sent)
    }

    /// Sends and receives at the same time. A failed receive ends the send, too.
    fn duplex(
        &self,
        send: impl FnOnce() -> Result<(), TransferError> + Send,
        receive: impl FnOnce() -> Result<(), TransferError>,
    ) -> Result<(), NotPassed> {
        thread::scope(|scope| {
            let sender = scope.spawn(send);
            let received = receive().map_err(|error| self.failure(error));
            if received.is_err() {
                // It fails if the connection has ended already, and so has the sender.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sender.join().unwrap_or_else(|panic| resume_unwind(panic));
            // The receive error says more than the send error that follows from it.
            received.and_then(|()| sent.map_err(|error| self.failure(error)))
        })
    }

    /// Sends bytes that are not of the stream.
    pub(in crate::check) fn send_bytes(&self, bytes: &[u8]) -> Result<(), NotPassed> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.extend_from_slice(bytes);
        drop(texts);
        let sent = self.write_all(bytes, &mut TransferTimer::new(self));
        sent.map_err(|error| self.failure(error))
    }

    /// Receives exactly these bytes.
    pub(in crate::check) fn receive_bytes(&self, bytes: &[u8]) -> Result<(), NotPassed> {
        self.expect(bytes.len() as u64);
        let mut received = vec![0; bytes.len()];
        let mut done = 0;
        let mut timer = TransferTimer::new(self);
        while done < bytes.len() {
            let length = self.read_some(&mut received[done..], &mut timer);
            let length = length.map_err(|error| self.failure(error))?;
            let part = &received[done..done + length];
            let start = self.received.load(Ordering::SeqCst);
            if let Some(fault) = first_difference(&bytes[done..], part, start) {
                let pairs = bytes[done..].iter().zip(part);
                let right = pairs.take_while(|(sent, came)| sent == came).count();
                let wrong = Wrong {
                    at: start + right as u64,
                    damage: None,
                    sent: excerpt(&bytes[done + right..]),
                    came: excerpt(&part[right..]),
                };
                return Err(self.observed(fault, End::Wrong(wrong)));
            }
            self.count_received(length);
            done += length;
        }
        Ok(())
    }

    /// Receives up to the end of a line, or `most` bytes.
    pub(in crate::check) fn receive_line(&self, most: usize) -> Result<Vec<u8>, NotPassed> {
        let mut line = Vec::new();
        let mut byte = [0];
        let mut timer = TransferTimer::new(self);
        while line.last() != Some(&b'\n') && line.len() < most {
            self.expect(1);
            let read = self.read_some(&mut byte, &mut timer);
            read.map_err(|error| self.failure(error))?;
            self.count_received(1);
            line.push(byte[0]);
        }
        Ok(line)
    }

    /// Sends the stream's next byte as urgent data.
    pub(in crate::check) fn send_urgent(&self) -> Result<(), NotPassed> {
        self.send_out_of_band()?;
        self.urgent.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The same, and does not expect it back. All that was sent before must have come. What
    /// goes wrong behind it is then not for the urgent byte's sake.
    pub(in crate::check) fn send_urgent_out_of_line(&self) -> Result<(), NotPassed> {
        self.send_out_of_band()?;
        self.count_received(1);
        Ok(())
    }

    fn send_out_of_band(&self) -> Result<(), NotPassed> {
        self.expect(1);
        let mut byte = [0];
        let at = self.sent.load(Ordering::SeqCst);
        self.context.pattern.fill(self.number, at, &mut byte);
        let sent = self.socket().send_out_of_band(&byte);
        sent.map_err(|error| self.failure(TransferError::Io(error)))?;
        self.count_sent(1);
        Ok(())
    }
}
