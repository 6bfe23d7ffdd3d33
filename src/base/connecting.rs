//! Begins TCP connections, without blocking.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket};

use super::{pacing, sys};

/// Begins to connect to `address`; to a loopback address without pacing.
///
/// # Errors
/// Those of socket(2) and connect(2).
pub(crate) fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = sys::non_blocking(Domain::for_address(address))?;
    begin_with(socket, address)
}

/// The same with a socket that does not block, which may be bound.
///
/// # Errors
/// Those of connect(2).
pub(crate) fn begin_with(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
    pacing::stop_within_machine(&SockRef::from(&socket), address);
    match socket.connect(&address.into()) {
        Err(error) if !sys::is_in_progress(&error) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_that_was_begun_does_not_block() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = begin(listener.local_addr().unwrap()).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        let read = io::Read::read(&mut &stream, &mut [0]);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_over_loopback_is_not_paced() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_ne!(address, "127.0.0.1:0", "a machine without IPv6");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let socket = sys::non_blocking(Domain::for_address(address)).unwrap();
            let before = pacing::prefer_bbr(&SockRef::from(&socket));
            let stream = begin_with(socket, address).unwrap();
            let after = pacing::name(&SockRef::from(&stream));
            assert_eq!(after, pacing::without(before));
        }
    }
}
