//! Connects to a server, with the checks and options that every probe needs.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::error::Error;
use super::race::{Failed, Race};
use crate::base::{connecting, sys};

/// The longest single wait: as often it is asked whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// A connection to one of a server's addresses.
#[derive(Debug)]
pub(crate) struct Connected {
    /// Blocking, with `TCP_NODELAY`.
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    /// How long that address took.
    pub(crate) took: Duration,
    /// What became of the other addresses, in words.
    pub(crate) others: Vec<(SocketAddr, String)>,
}

/// Why no connection was made.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// No address answered.
    Failed(Vec<Failed>),
    /// The caller asked to stop.
    Stopped,
}

impl From<NotConnected> for Error {
    fn from(why: NotConnected) -> Self {
        match why {
            NotConnected::Failed(attempts) => Self::Connect(attempts),
            NotConnected::Stopped => Self::Interrupted,
        }
    }
}

/// How connections are begun, checked and given up.
pub(crate) struct Connecting<'a> {
    /// The limit on connecting to each address.
    pub(crate) timeout: Duration,
    /// Makes a socket that is connecting.
    pub(crate) begin: &'a mut dyn FnMut(SocketAddr) -> io::Result<mio::net::TcpStream>,
    /// Whether an established connection will do.
    pub(crate) accept: &'a dyn Fn(&mio::net::TcpStream) -> io::Result<()>,
    /// Whether to stop.
    pub(crate) is_stopped: &'a dyn Fn() -> bool,
}

impl Connecting<'_> {
    /// Connects to the first of `addresses` that answers: a [`Race`].
    ///
    /// # Errors
    /// Every address tried, with its error.
    pub(crate) fn first_of(self, addresses: &[SocketAddr]) -> Result<Connected, NotConnected> {
        let all_failed = |error| NotConnected::Failed(vec![(addresses[0], error)]);
        let mut poll = Poll::new().map_err(all_failed)?;
        let mut events = Events::with_capacity(8);
        let registry = poll.registry().try_clone().map_err(all_failed)?;
        let mut begin = |address| {
            let mut stream = (self.begin)(address)?;
            registry.register(&mut stream, Token(0), Interest::WRITABLE)?;
            Ok(stream)
        };
        let mut race = Race::new(addresses, self.timeout);
        loop {
            if (self.is_stopped)() {
                return Err(NotConnected::Stopped);
            }
            let now = Instant::now();
            if let Some(end) = race.advance(now, &mut begin, self.accept) {
                let mut winner = end.map_err(NotConnected::Failed)?;
                let stream = registry
                    .deregister(&mut winner.stream)
                    .and_then(|()| into_blocking(winner.stream))
                    .map_err(|error| NotConnected::Failed(vec![(winner.address, error)]))?;
                return Ok(Connected {
                    stream,
                    address: winner.address,
                    took: winner.took,
                    others: winner.others,
                });
            }
            let wait = race.deadline().map(|at| at.saturating_duration_since(now));
            let wait = wait.map_or(TICK, |wait| wait.min(TICK));
            sys::poll(&mut poll, &mut events, Some(wait)).map_err(all_failed)?;
        }
    }
}

/// Connects to the first of `addresses` that answers; each may take up to `timeout`.
///
/// # Errors
/// [`Error::Connect`] with every address tried.
pub(crate) fn connect_to_first(
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<Connected, Error> {
    let connecting = Connecting {
        timeout,
        begin: &mut connecting::begin,
        accept: &refuse_reached_itself,
        is_stopped: &|| false,
    };
    Ok(connecting.first_of(addresses)?)
}

/// A socket of mio as a blocking one, with `TCP_NODELAY`.
pub(crate) fn into_blocking(stream: mio::net::TcpStream) -> io::Result<TcpStream> {
    let stream = TcpStream::from(stream);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Refuses a connection that reached its own socket.
pub(crate) fn refuse_reached_itself(stream: &mio::net::TcpStream) -> io::Result<()> {
    refuse_self(stream.local_addr()?, stream.peer_addr()?)
}

/// Refuses a connection to itself. A connection to a closed port in the ephemeral range may
/// get that very port as its local one, and then echoes perfectly: TCP's simultaneous open.
pub(crate) fn refuse_self(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    if local == peer {
        return Err(io::Error::other(ReachedItself));
    }
    Ok(())
}

/// A connection that reached its own socket.
#[derive(Debug, thiserror::Error)]
#[error("nothing listens there, the connection reached itself")]
struct ReachedItself;

/// Whether a connect failed for that reason.
pub(crate) fn is_reached_itself(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<ReachedItself>)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_connection_to_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        // Bound to a port and connected to the same one, without a listener.
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let stream = mio::net::TcpStream::from_std(socket.into());
        let error = refuse_reached_itself(&stream).unwrap_err();
        assert!(error.to_string().contains("reached itself"), "{error}");
    }

    #[test]
    fn a_connection_blocks_and_knows_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connected = connect_to_first(&[address], Duration::from_secs(60)).unwrap();
        assert_eq!(connected.address, address);
        assert_eq!(connected.stream.peer_addr().unwrap(), address);
        assert!(connected.stream.nodelay().unwrap());
        let expired = connected
            .stream
            .set_read_timeout(Some(Duration::from_millis(20)));
        expired.unwrap();
        let begun = Instant::now();
        std::io::Read::read(&mut &connected.stream, &mut [0]).unwrap_err();
        assert!(
            begun.elapsed() >= Duration::from_millis(15),
            "it does not block"
        );
    }

    #[test]
    fn a_stop_ends_the_attempts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connecting = Connecting {
            timeout: Duration::from_secs(60),
            begin: &mut connecting::begin,
            accept: &|_| Ok(()),
            is_stopped: &|| true,
        };
        let end = connecting.first_of(&[listener.local_addr().unwrap()]);
        assert!(matches!(end, Err(NotConnected::Stopped)));
    }
}
