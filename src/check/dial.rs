//! A connection that is made, unless the check is stopped meanwhile.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::line::TICK;

/// Connects within `timeout`. The stream blocks, and sends small writes at once.
///
/// # Errors
/// The system's; `TimedOut`; `Interrupted` once `stop` is set.
pub(super) fn dial(
    address: SocketAddr,
    timeout: Duration,
    stop: &AtomicBool,
) -> io::Result<TcpStream> {
    let started = Instant::now();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut stream = mio::net::TcpStream::connect(address)?;
    poll.registry()
        .register(&mut stream, Token(0), Interest::WRITABLE)?;
    loop {
        if stop.load(Ordering::SeqCst) {
            return Err(ErrorKind::Interrupted.into());
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match poll.poll(&mut events, Some(left.min(TICK))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    poll.registry().deregister(&mut stream)?;
    let stream = TcpStream::from(stream);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
