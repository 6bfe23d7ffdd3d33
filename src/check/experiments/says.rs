//! Who says that no connection is made: the ICMP message that comes back for a SYN, if one
//! does, or this machine itself.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::connection::Stop;
use crate::base::icmp;
use crate::base::sys::datagram::{Origin, Wanted, receive_error, request};
use crate::check::findings::Says;

/// How long an answer is awaited: a system asks three times for a neighbour, once a second.
const PATIENCE: Duration = Duration::from_millis(3500);

/// A rule of this machine answers as soon as this; a neighbour that is missing is missed after
/// a second at the earliest, unless it was being looked for already.
const AT_ONCE: Duration = Duration::from_millis(50);
const ASKED: Duration = Duration::from_millis(900);

/// The pause between looks at the socket.
const LOOK: Duration = Duration::from_millis(2);

/// Begins a connection, and takes the error that the network reports of it. `None` where the
/// system does not tell, or nothing came back.
pub(super) fn says(address: SocketAddr, stop: Stop<'_>) -> Option<Says> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    socket.set_nonblocking(true).ok()?;
    let wanted = Wanted {
        errors: true,
        ..Wanted::default()
    };
    request(&socket, wanted).ok()?;
    let begun = Instant::now();
    match socket.connect(&address.into()) {
        Err(error) if !is_begun(&error) => return Some(Says::Route),
        _ => {}
    }
    while begun.elapsed() < PATIENCE && !stop() {
        // The report is there before the error is.
        let over = socket.take_error();
        if let Ok(error) = receive_error(&socket, &mut [0; 64]) {
            let by = error.offender.map(|by| by.ip());
            let is_own = error.offender.is_some_and(is_own);
            return reported(error.origin, by, is_own, begun.elapsed());
        }
        match over {
            Ok(None) => {}
            Ok(Some(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                return Some(Says::Peer);
            }
            // Older systems report no ICMP message of a connection.
            Ok(Some(_)) | Err(_) => return None,
        }
        if socket.peer_addr().is_ok() {
            return Some(Says::Made);
        }
        thread::sleep(LOOK);
    }
    None
}

/// What a report means that came `after` so long, of `by`, which `is_own` where this machine
/// has that address.
fn reported(origin: Origin, by: Option<IpAddr>, is_own: bool, after: Duration) -> Option<Says> {
    let icmp = match origin {
        Origin::Local => return Some(Says::Route),
        origin => icmp::name(origin)?,
    };
    // A system that finds no neighbour for a packet tells itself by this one.
    let is_of_neighbours = matches!(
        origin,
        Origin::Icmp { kind: 3, code: 1 } | Origin::Icmp6 { kind: 1, code: 3 }
    );
    Some(match (is_own, is_of_neighbours) {
        (false, _) => Says::Icmp { icmp, by },
        (true, false) => Says::OwnRule { icmp },
        (true, true) if after < AT_ONCE => Says::OwnRule { icmp },
        (true, true) if after >= ASKED => Says::NoNeighbour,
        (true, true) => Says::Own,
    })
}

/// Whether this machine has that address: what it sends there comes from the same one.
fn is_own(address: SocketAddr) -> bool {
    /// Any will do, since nothing is sent (RFC 863).
    const DISCARD: u16 = 9;
    let any: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (ip, mut peer) = (address.ip(), address);
    peer.set_port(DISCARD);
    let own = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    own.is_ok_and(|own| own.ip() == ip)
}

/// Whether a connect that was not made at once is under way.
fn is_begun(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_says_is_told_by_the_message_and_by_how_soon_it_came() {
        let by = Some(IpAddr::from([192, 0, 2, 1]));
        let host = Origin::Icmp { kind: 3, code: 1 };
        let of = |origin, is_own, after| {
            reported(origin, by, is_own, Duration::from_millis(after)).unwrap()
        };
        let icmp = "host unreachable";
        assert_eq!(of(host, false, 0), Says::Icmp { icmp, by });
        assert_eq!(of(host, false, 3000), Says::Icmp { icmp, by });
        assert_eq!(of(host, true, 0), Says::OwnRule { icmp });
        assert_eq!(of(host, true, 400), Says::Own);
        assert_eq!(of(host, true, 1000), Says::NoNeighbour);
        let of_v6 = |code| of(Origin::Icmp6 { kind: 1, code }, true, 3000);
        assert_eq!(of_v6(3), Says::NoNeighbour);
        let icmp = "administratively prohibited";
        assert_eq!(of_v6(1), Says::OwnRule { icmp });
        let icmp = "port unreachable";
        let port = Origin::Icmp { kind: 3, code: 3 };
        assert_eq!(of(port, true, 1000), Says::OwnRule { icmp });
        assert_eq!(of(Origin::Local, true, 0), Says::Route);
        assert_eq!(reported(Origin::Other(4), by, true, Duration::ZERO), None);
    }
}
