//! Transfers of the stream's next bytes, within the time-out.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::TransferError;
use super::failure::{EXCERPT, excerpt};
use super::state::Connection;
use super::timer::TransferTimer;
use crate::check::observation::Wrong;
use crate::probe::pattern::WINDOW;

/// The size of one send or receive call, in bytes.
pub(super) const BLOCK: usize = 64 * 1024;

impl Connection<'_> {
    pub(super) fn send_stream(&self, length: u64, piece: usize) -> Result<(), TransferError> {
        let mut block = vec![0; piece.min(BLOCK)];
        let mut left = length;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = self.fill_next(&mut block, left);
            self.write_all(&block[..room], &mut timer)?;
            left -= room as u64;
        }
        Ok(())
    }

    /// Writes the stream's next bytes into the block, `most` at the most; how many.
    fn fill_next(&self, block: &mut [u8], most: u64) -> usize {
        let room = (block.len() as u64).min(most) as usize;
        let at = self.sent.load(Ordering::SeqCst);
        let block = &mut block[..room];
        self.context.pattern.fill(self.number, at, block);
        room
    }

    /// Sends up to `most` bytes, until those under way would take longer than `within` to come
    /// back. All are expected once `all_expected` is set.
    pub(super) fn send_within(
        &self,
        most: u64,
        within: Option<Duration>,
        all_expected: &AtomicBool,
    ) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let (begun, before) = (Instant::now(), self.received.load(Ordering::SeqCst));
        let mut left = most;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = self.fill_next(&mut block, left);
            self.expect(room as u64);
            left -= room as u64;
            let received = self.received.load(Ordering::SeqCst);
            let outstanding = self.expected() - received;
            let is_over = within.is_some_and(|within| {
                let elapsed = begun.elapsed();
                // At least a block, to have no number beyond all bounds at the beginning.
                let rate = (received - before).max(BLOCK as u64) as f64;
                elapsed >= within || elapsed.mul_f64(1.0 + outstanding as f64 / rate) >= within
            });
            if is_over {
                left = 0;
            }
            // Before it is sent, so that the receiver always has something to wait for.
            all_expected.store(left == 0, Ordering::SeqCst);
            self.write_all(&block[..room], &mut timer)?;
        }
        Ok(())
    }

    /// Receives until all that is expected has come.
    pub(super) fn receive_until(&self, all_expected: &AtomicBool) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let mut timer = TransferTimer::new(self);
        loop {
            let is_all = all_expected.load(Ordering::SeqCst);
            let left = self.expected() - self.received.load(Ordering::SeqCst);
            if is_all && left == 0 {
                return Ok(());
            }
            let room = (block.len() as u64).min(left.max(1)) as usize;
            let length = self.read_some(&mut block[..room], &mut timer)?;
            self.compare(&block[..length])?;
            self.count_received(length);
        }
    }

    pub(super) fn write_all(
        &self,
        mut bytes: &[u8],
        timer: &mut TransferTimer<'_>,
    ) -> Result<(), TransferError> {
        while !bytes.is_empty() {
            let length = timer.wait(|| (&self.stream).write(bytes))?;
            self.count_sent(length);
            bytes = &bytes[length..];
        }
        Ok(())
    }

    pub(super) fn shut_down(&self) -> Result<(), TransferError> {
        self.half_closed.store(true, Ordering::SeqCst);
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(TransferError::Io)
    }

    pub(super) fn receive_stream(&self, length: u64) -> Result<(), TransferError> {
        let mut block = vec![0; BLOCK];
        let mut left = length;
        let mut timer = TransferTimer::new(self);
        while left > 0 {
            let room = (block.len() as u64).min(left) as usize;
            let length = self.read_some(&mut block[..room], &mut timer)?;
            self.compare(&block[..length])?;
            self.count_received(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads at least one byte.
    pub(super) fn read_some(
        &self,
        block: &mut [u8],
        timer: &mut TransferTimer<'_>,
    ) -> Result<usize, TransferError> {
        match timer.wait(|| (&self.stream).read(block))? {
            0 => Err(TransferError::Eof),
            length => Ok(length),
        }
    }

    /// Compares the bytes received next with the stream.
    pub(super) fn compare(&self, bytes: &[u8]) -> Result<(), TransferError> {
        let start = self.received.load(Ordering::SeqCst);
        let pattern = &self.context.pattern;
        let Some(offset) = pattern.first_difference(self.number, start, bytes) else {
            return Ok(());
        };
        let mut wrong = bytes[offset..].to_vec();
        self.read_window(&mut wrong);
        let at = start + offset as u64;
        let damage = pattern.explain(self.number, at, &wrong);
        let mut sent = vec![0; wrong.len().min(EXCERPT)];
        pattern.fill(self.number, at, &mut sent);
        Err(TransferError::Wrong(Wrong {
            at,
            damage: Some(damage),
            sent,
            came: excerpt(&wrong),
        }))
    }

    /// Completes wrong bytes to the [`WINDOW`] that identifies where they belong, as far as
    /// more arrive within a tick.
    pub(super) fn read_window(&self, bytes: &mut Vec<u8>) {
        let mut block = [0; WINDOW];
        while bytes.len() < WINDOW {
            match (&self.stream).read(&mut block) {
                Ok(length @ 1..) => bytes.extend_from_slice(&block[..length]),
                _ => return,
            }
        }
    }
}
