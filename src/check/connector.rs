//! Makes many connections at once, until the check is stopped.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::context::TICK;
use crate::base::connecting;
use crate::probe::connect::into_blocking;

/// Starts `number` connections before it waits for any of them. Calls `connected` with
/// each as soon as it is established, and with how long that took.
///
/// # Errors
/// Those of the system, of the first connection that fails; `TimedOut`; `Interrupted` once
/// `is_stopped` says so.
pub(super) fn connect_many(
    address: SocketAddr,
    number: usize,
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
    connected: &mut dyn FnMut(TcpStream, Duration),
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(number);
    let mut pending = start(address, number, &poll)?;
    let (mut left, all_started) = (number, Instant::now());
    while left > 0 {
        if is_stopped() {
            return Err(ErrorKind::Interrupted.into());
        }
        let remaining = timeout.saturating_sub(all_started.elapsed());
        match poll.poll(&mut events, Some(remaining.min(TICK))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        for event in &events {
            let slot = &mut pending[event.token().0];
            let is_connected = match slot {
                Some((stream, _)) => is_connected(stream)?,
                None => false,
            };
            if let Some((mut stream, started)) = slot.take_if(|_| is_connected) {
                poll.registry().deregister(&mut stream)?;
                connected(into_blocking(stream)?, now - started);
                left -= 1;
            }
        }
        if left > 0 && remaining.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Connections being established, indexed by token, and when each was started.
type Pending = Vec<Option<(mio::net::TcpStream, Instant)>>;

fn start(address: SocketAddr, number: usize, poll: &Poll) -> io::Result<Pending> {
    let mut pending = Vec::with_capacity(number);
    for at in 0..number {
        let started = Instant::now();
        let mut stream = connecting::begin(address)?;
        let token = Token(at);
        poll.registry()
            .register(&mut stream, token, Interest::WRITABLE)?;
        pending.push(Some((stream, started)));
    }
    Ok(pending)
}

/// Whether the connection is established; `false` while it is still in progress.
fn is_connected(stream: &mio::net::TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}
