//! Connects to a server, with the checks and options that every probe needs.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::error::Error;

/// Connects with `connect` to the first address that answers. Returns the stream and how
/// long that address took.
///
/// # Errors
/// [`Error::Connect`] with every address tried.
pub(crate) fn connect_to_first(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> io::Result<TcpStream>,
) -> Result<(TcpStream, Duration), Error> {
    let mut attempts = Vec::new();
    for &address in addresses {
        let start = Instant::now();
        match connect(address) {
            Ok(stream) => return Ok((stream, start.elapsed())),
            Err(error) => attempts.push((address, error)),
        }
    }
    Err(Error::Connect(attempts))
}

/// Connects to one address and [prepares](prepared) the stream.
pub(crate) fn connect_to(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    prepared(TcpStream::connect_timeout(&address, timeout)?)
}

/// Prepares a new connection: refuses one to itself and sets `TCP_NODELAY`.
pub(crate) fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    refuse_self(stream.local_addr()?, stream.peer_addr()?)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Refuses a connection to itself. A connection to a closed port in the ephemeral range may
/// get that very port as its local one, and then echoes perfectly: TCP's simultaneous open.
pub(crate) fn refuse_self(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    if local == peer {
        return Err(io::Error::other(
            "nothing listens there, the connection reached itself",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_connection_to_itself_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any_port.into()).unwrap();
        // Bound to a port and connected to the same one, without a listener.
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let stream = TcpStream::from(socket);
        let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let error = refuse_self(ends.0, ends.1).unwrap_err();
        assert!(error.to_string().contains("reached itself"), "{error}");
    }
}
