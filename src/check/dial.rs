//! Connections that are made, unless the check is stopped meanwhile.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::context::TICK;

/// Connects within `timeout`. The stream blocks, and sends small writes at once.
///
/// # Errors
/// The system's; `TimedOut`; `Interrupted` once `stop` is set.
pub(super) fn dial(
    address: SocketAddr,
    timeout: Duration,
    stop: &AtomicBool,
) -> io::Result<TcpStream> {
    let mut made = None;
    rush(address, 1, timeout, stop, &mut |stream, _| {
        made = Some(stream);
    })?;
    made.ok_or_else(|| ErrorKind::NotConnected.into())
}

/// Begins so many connections before it waits for any of them. `made` gets each as
/// soon as it is there, and how long it took.
///
/// # Errors
/// Those of [`dial`], of the first connection that has one.
pub(super) fn rush(
    address: SocketAddr,
    number: usize,
    timeout: Duration,
    stop: &AtomicBool,
    made: &mut dyn FnMut(TcpStream, Duration),
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(number);
    let mut begun = begin(address, number, &poll)?;
    let (mut left, all_begun) = (number, Instant::now());
    while left > 0 {
        if stop.load(Ordering::SeqCst) {
            return Err(ErrorKind::Interrupted.into());
        }
        let patience = timeout.saturating_sub(all_begun.elapsed());
        match poll.poll(&mut events, Some(patience.min(TICK))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        for event in &events {
            let one = &mut begun[event.token().0];
            let is_there = match one {
                Some((stream, _)) => is_connected(stream)?,
                None => false,
            };
            if let Some((mut stream, started)) = one.take_if(|_| is_there) {
                poll.registry().deregister(&mut stream)?;
                made(blocking(stream)?, now - started);
                left -= 1;
            }
        }
        if left > 0 && patience.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Connections that are about to be made, by their tokens, and when each was begun.
type Begun = Vec<Option<(mio::net::TcpStream, Instant)>>;

fn begin(address: SocketAddr, number: usize, poll: &Poll) -> io::Result<Begun> {
    let mut begun = Vec::with_capacity(number);
    for at in 0..number {
        let started = Instant::now();
        let mut stream = mio::net::TcpStream::connect(address)?;
        let token = Token(at);
        poll.registry()
            .register(&mut stream, token, Interest::WRITABLE)?;
        begun.push(Some((stream, started)));
    }
    Ok(begun)
}

/// Whether it is, and not still about to be.
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

fn blocking(stream: mio::net::TcpStream) -> io::Result<TcpStream> {
    let stream = TcpStream::from(stream);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
