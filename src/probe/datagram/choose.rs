//! Chooses among the addresses of a server: a datagram makes no connection, so which of them
//! answers is found out by one datagram ahead.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::socket::{Incoming, Options, ProbeSocket};
use crate::base::sys;
use crate::probe::race::{ATTEMPT_DELAY, Failed, interleaved};

/// The first of several addresses that answers `hello`, the families in turn, each asked 250 ms
/// after the one before or as soon as that one is refused. Where none answers within
/// `timeout`, the first that was not refused. A single address is not asked.
///
/// # Errors
/// Every address with its error, if each was refused or has no route.
pub(crate) fn choose(
    addresses: &[SocketAddr],
    hello: &[u8],
    timeout: Duration,
) -> io::Result<Result<SocketAddr, Vec<Failed>>> {
    if let [address] = addresses {
        return Ok(Ok(*address));
    }
    let mut asked = Asked {
        poll: Poll::new()?,
        pending: Vec::new(),
        failed: Vec::new(),
    };
    for address in interleaved(addresses) {
        asked.ask(address, hello);
        if let Some(found) = asked.wait(ATTEMPT_DELAY.min(timeout))? {
            return Ok(Ok(found));
        }
    }
    if let Some(found) = asked.wait(timeout)? {
        return Ok(Ok(found));
    }
    Ok(match asked.pending.first() {
        Some(socket) => Ok(socket.server),
        None => Err(asked.failed),
    })
}

struct Asked {
    poll: Poll,
    pending: Vec<ProbeSocket>,
    failed: Vec<Failed>,
}

impl Asked {
    fn ask(&mut self, address: SocketAddr, hello: &[u8]) {
        let sent = ProbeSocket::new(address, Options::default()).and_then(|mut socket| {
            socket.register(self.poll.registry(), Token(0))?;
            socket.send(hello)?;
            Ok(socket)
        });
        match sent {
            Ok(socket) => self.pending.push(socket),
            Err(error) => self.failed.push((address, error)),
        }
    }

    /// Waits until one answers, for this time at the most and while any can.
    fn wait(&mut self, time: Duration) -> io::Result<Option<SocketAddr>> {
        let until = Instant::now() + time;
        let mut events = Events::with_capacity(8);
        let asked = self.pending.len();
        while !self.pending.is_empty() {
            if let Some(address) = self.look() {
                return Ok(Some(address));
            }
            let left = until.saturating_duration_since(Instant::now());
            // The one asked last was refused: the next one's turn.
            if left.is_zero() || self.pending.len() < asked {
                break;
            }
            sys::poll(&mut self.poll, &mut events, Some(left))?;
        }
        Ok(None)
    }

    /// The first that has answered. Those that were refused are removed.
    fn look(&mut self) -> Option<SocketAddr> {
        let mut place = 0;
        while let Some(socket) = self.pending.get_mut(place) {
            let error = match socket.receive(&mut [0; 64]) {
                Ok(Some(Incoming::Datagram(it))) if it.stranger.is_none() => {
                    return Some(socket.server);
                }
                Ok(Some(Incoming::Datagram(_)) | None) => {
                    place += 1;
                    continue;
                }
                Ok(Some(Incoming::Error(refused))) => refused.error,
                Err(error) => error,
            };
            let socket = self.pending.remove(place);
            self.failed.push((socket.server, error));
        }
        None
    }
}
