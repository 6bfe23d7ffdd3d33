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
        if let Some(found) = asked.wait(ATTEMPT_DELAY.min(timeout), Some(address))? {
            return Ok(Ok(found));
        }
    }
    if let Some(found) = asked.wait(timeout, None)? {
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

    /// Waits until one answers: for this time at the most, and while that one can whose turn it
    /// is, or with `None` while any can.
    fn wait(&mut self, time: Duration, turn: Option<SocketAddr>) -> io::Result<Option<SocketAddr>> {
        let until = Instant::now() + time;
        let mut events = Events::with_capacity(8);
        loop {
            if let Some(address) = self.look() {
                return Ok(Some(address));
            }
            let is_its_turn = |it: &ProbeSocket| turn.is_none_or(|turn| it.server == turn);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.pending.iter().any(is_its_turn) {
                return Ok(None);
            }
            sys::poll(&mut self.poll, &mut events, Some(left))?;
        }
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
                Ok(Some(Incoming::Error(refused))) => match refused.error.kind() {
                    io::ErrorKind::ConnectionRefused => refused.error,
                    // Its words are those of the message, of which the system's error is short.
                    _ => io::Error::other(refused.explained()),
                },
                Err(error) => error,
            };
            let socket = self.pending.remove(place);
            self.failed.push((socket.server, error));
        }
        None
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::net::UdpSocket;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    /// Far longer than any test takes.
    const LONG: Duration = Duration::from_secs(3600);

    fn asked() -> Asked {
        Asked {
            poll: Poll::new().unwrap(),
            pending: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn socket() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// A socket with a peer: what others send to its address is refused.
    fn refusing() -> (UdpSocket, SocketAddr) {
        let (socket, address) = socket();
        socket.connect(self::socket().1).unwrap();
        (socket, address)
    }

    #[test]
    fn a_refusal_ends_the_wait_for_no_other() {
        let ((_silent, silent), (slow, at), (_held, refused)) = (socket(), socket(), refusing());
        let mut asked = asked();
        for address in [silent, at, refused] {
            asked.ask(address, b"hello");
        }
        let (sender, is_late) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (_, from) = slow.recv_from(&mut [0; 8]).unwrap();
                is_late.recv().unwrap();
                slow.send_to(b"hello", from).unwrap();
            });
            // The turn of the one that is refused is over at once.
            assert_eq!(asked.wait(LONG, Some(refused)).unwrap(), None);
            assert_eq!((asked.pending.len(), asked.failed.len()), (2, 1));
            let (_other, also_refused) = refusing();
            asked.ask(also_refused, b"hello");
            sender.send(()).unwrap();
            assert_eq!(asked.wait(LONG, None).unwrap(), Some(at));
        });
    }

    #[test]
    fn an_address_that_can_not_be_asked_has_no_turn() {
        let (_silent, silent) = socket();
        let mut asked = asked();
        asked.ask(silent, b"hello");
        let broadcast = SocketAddr::from(([255, 255, 255, 255], 7));
        asked.ask(broadcast, b"hello");
        assert_eq!((asked.pending.len(), asked.failed.len()), (1, 1));
        assert_eq!(asked.wait(LONG, Some(broadcast)).unwrap(), None);
    }

    #[test]
    fn where_all_are_refused_each_has_its_error() {
        let ((_one, one), (_other, other)) = (refusing(), refusing());
        let failed = choose(&[one, other], b"hello", LONG).unwrap().unwrap_err();
        let failed: Vec<_> = failed.into_iter().map(|(address, _)| address).collect();
        assert_eq!(failed, [one, other]);
    }
}
