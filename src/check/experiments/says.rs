//! Who says that no connection is made: the ICMP message that comes back for a SYN, if one
//! does.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::connection::Stop;
use crate::base::icmp;
use crate::base::sys::datagram::{Wanted, receive_error, request};
use crate::check::findings::Says;

/// How long an answer is awaited: a SYN is sent again after a second.
const PATIENCE: Duration = Duration::from_millis(2300);

/// The pause between looks at the socket.
const LOOK: Duration = Duration::from_millis(2);

/// Begins a connection, and takes the error that the network reports of it. `None` where the
/// system does not tell, nothing came back, or it was made.
pub(super) fn says(address: SocketAddr, stop: Stop<'_>) -> Option<Says> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    socket.set_nonblocking(true).ok()?;
    let wanted = Wanted {
        errors: true,
        ..Wanted::default()
    };
    request(&socket, wanted).ok()?;
    let until = Instant::now() + PATIENCE;
    match socket.connect(&address.into()) {
        Err(error) if !is_begun(&error) => return Some(Says::Nobody),
        _ => {}
    }
    while Instant::now() < until && !stop() {
        // The report is there before the error is.
        let is_over = !matches!(socket.take_error(), Ok(None));
        if let Some(says) = reported(&socket) {
            return Some(says);
        }
        if is_over {
            return Some(Says::Nobody);
        }
        if socket.peer_addr().is_ok() {
            return None;
        }
        thread::sleep(LOOK);
    }
    None
}

fn reported(socket: &Socket) -> Option<Says> {
    let error = receive_error(socket, &mut [0; 64]).ok()?;
    let Some(icmp) = icmp::name(error.origin) else {
        return Some(Says::Nobody);
    };
    let own = socket.local_addr().ok().and_then(|own| own.as_socket());
    let by = error.offender.map(|by| by.ip());
    // A system that finds no neighbour for a packet tells itself by ICMP.
    match by.is_some() && by == own.map(|own| own.ip()) {
        true => Some(Says::Own),
        false => Some(Says::Icmp { icmp, by }),
    }
}

/// Whether a connect that was not made at once is under way.
fn is_begun(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}
