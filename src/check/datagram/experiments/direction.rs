//! Which way packets are lost that are too long.
//!
//! A closed port answers for itself: the server's system says so by ICMP, in a short message
//! however long the datagram was (RFC 1122 section 4.1.3.1, RFC 1812 section 4.3.2.3). So where
//! it answers a short datagram and a long one alike, long packets reach the server, and are
//! lost on their way back. What a firewall on the way answers says nothing of the way behind it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::reachable::SMALL;
use crate::check::datagram::sizes::headers;
use crate::check::datagram::target::{TRIES, Target};
use crate::check::datagram::trouble::Refused;
use crate::check::findings::Direction;
use crate::probe::datagram::socket::Options;

/// Ports that are hardly ever open: those of traceroute.
const CLOSED: [u16; 3] = [33_437, 33_523, 33_499];

/// Linux sends one ICMP message a second to each address, and six at once.
const AGAIN: Duration = Duration::from_millis(1100);

/// The way in which packets above `passes` bytes are lost, of those up to `own`; `None` where
/// the server's system does not answer for closed ports.
pub(super) fn direction(
    target: &mut Target<'_>,
    passes: usize,
    own: usize,
) -> Result<Option<Direction>, NotPassed> {
    let headers = headers(target);
    let long = (passes + 1).max(own.min(1500)) - headers;
    for port in CLOSED {
        let server = SocketAddr::new(target.address.ip(), port);
        if server == target.address || is_refused(target, server, SMALL, 1)? != Some(true) {
            continue;
        }
        let arrives = is_refused(target, server, long, TRIES)?;
        return Ok(arrives.map(|arrives| match arrives {
            true => Direction::ToClient,
            false => Direction::ToServer,
        }));
    }
    Ok(None)
}

/// Whether that closed port says of a datagram of so many bytes that it is closed; `None` where
/// this machine itself did not send it, or dropped what came: that was not lost on the way.
fn is_refused(
    target: &mut Target<'_>,
    server: SocketAddr,
    bytes: usize,
    tries: usize,
) -> Result<Option<bool>, NotPassed> {
    let options = Options {
        unfragmented: true,
        ..Options::default()
    };
    let Ok(mut port) = Port::new(server, options) else {
        return Ok(None);
    };
    for number in 0..tries {
        if number > 0 {
            target.pause(AGAIN)?;
        }
        let bytes = target.content(bytes);
        let at = match target.ask(&mut port, bytes, 1) {
            Err(NotPassed::Skipped(_)) => return Ok(None),
            asked => asked?,
        };
        let refused = port.sent[at].refused.as_ref();
        if refused.is_some_and(|refused| is_of_the_server(refused, server)) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

/// Whether it is the server's own system that says that the port is closed.
fn is_of_the_server(refused: &Refused, server: SocketAddr) -> bool {
    refused.is_port && refused.from == Some(server.ip())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::check::datagram::plan::Plan;

    #[test]
    fn what_was_not_sent_says_nothing_of_a_direction() {
        let [asked, closed, silent] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        // What comes from others than its peer is refused as if nobody had the port.
        closed.connect("127.0.0.1:9").unwrap();
        let plan = Plan {
            addresses: Vec::new(),
            timeout: Duration::from_millis(200),
            whole: Duration::from_secs(60),
            idle: None,
            experiments: true,
            seed: 7,
        };
        let stop = AtomicBool::new(false);
        let mut target = Target::new(&plan, asked.local_addr().unwrap(), &stop);
        let mut refused = |socket: &UdpSocket, bytes| {
            let server = socket.local_addr().unwrap();
            is_refused(&mut target, server, bytes, 1).unwrap()
        };
        assert_eq!(refused(&closed, SMALL), Some(true));
        assert_eq!(refused(&silent, SMALL), Some(false));
        // More than any datagram has: this machine does not send it.
        for socket in [&closed, &silent] {
            assert_eq!(refused(socket, 65_508), None);
        }
    }

    #[test]
    fn what_a_firewall_on_the_way_answers_is_of_no_closed_port() {
        let server = "192.0.2.1:33437".parse().unwrap();
        let says = |is_port, from: Option<&str>| {
            let refused = Refused {
                is_port,
                icmp: "port unreachable",
                from: from.map(|from| from.parse().unwrap()),
                words: String::new(),
            };
            is_of_the_server(&refused, server)
        };
        assert!(says(true, Some("192.0.2.1")));
        assert!(!says(true, Some("198.51.100.1")));
        assert!(!says(false, Some("192.0.2.1")));
        assert!(!says(true, None));
    }
}
