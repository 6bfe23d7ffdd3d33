//! Accepts a client whose socket never blocks.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Accepts a client; its socket does not block and is closed in programs that are started.
/// Both are set by the call that accepts, where the system can: each further call is a
/// hundredth of what a short connection takes.
///
/// # Errors
/// The system's; `WouldBlock` where no client waits and the listener does not block.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::io::{Errno, retry_on_intr};
    use rustix::net::{SocketFlags, acceptfrom_with};

    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = retry_on_intr(|| acceptfrom_with(listener, flags))?;
    let peer = peer.ok_or(Errno::AFNOSUPPORT)?.try_into()?;
    Ok((TcpStream::from(socket), peer))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    // Some systems refuse it for a client that has left, which concerns no other.
    match stream.set_nonblocking(true) {
        Ok(()) => Ok((stream, peer)),
        Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};

    use super::*;

    #[test]
    fn an_accepted_client_never_blocks_and_has_the_address_it_came_from() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_ne!(address, "127.0.0.1:0", "a machine without IPv6");
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut accepted, peer) = accept(&listener).unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            let read = accepted.read(&mut [0]);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
            listener.set_nonblocking(true).unwrap();
            let none = accept(&listener).map(|_| ());
            assert_eq!(none.unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
