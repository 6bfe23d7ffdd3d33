//! What an error means that a datagram had.

use std::io::{self, ErrorKind};

use crate::base::error::cause;

/// The words for an error that came by ICMP, or from this machine's own routes, for a
/// datagram that was sent: what happened and what to do.
pub(crate) fn explained(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => String::from(
            "refused by ICMP port unreachable: no program has this UDP port open there, or a \
             firewall rejects it; look whether the server serves UDP",
        ),
        ErrorKind::HostUnreachable => String::from(
            "ICMP host unreachable, or prohibited: the last router has no way to the host, or a \
             firewall rejects it; look at the address and the firewalls",
        ),
        ErrorKind::NetworkUnreachable => String::from(
            "network unreachable: a router, or this machine, has no route to the network; look \
             at the address and the routes",
        ),
        ErrorKind::PermissionDenied => String::from(
            "administratively prohibited, by ICMPv6: a firewall rejects it; look at the firewalls",
        ),
        _ => cause(error),
    }
}

/// Why the kernel did not take a datagram, and what to do.
pub(crate) fn not_sent(error: &io::Error) -> String {
    let cause = cause(error);
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "{cause}: a firewall rule of this machine drops what is sent, or the address is a \
             broadcast one"
        ),
        ErrorKind::WouldBlock => {
            String::from("the socket's send buffer is full: this machine sends slower than that")
        }
        _ if is_no_buffer(error) => format!(
            "{cause}: the queue of this machine's interface is full; send less at once, or \
             lengthen it (ip link set DEV txqueuelen N)"
        ),
        _ if is_too_long(error) => {
            format!("{cause}: a datagram has at most 65,507 bytes over IPv4, 65,527 over IPv6")
        }
        _ => cause,
    }
}

#[cfg(unix)]
fn is_no_buffer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(unix)]
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

#[cfg(not(unix))]
fn is_no_buffer(_: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
fn is_too_long(_: &io::Error) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_path_and_of_this_machine_have_words() {
        let of = io::Error::from_raw_os_error;
        for (code, word) in [
            (libc::ECONNREFUSED, "ICMP port unreachable"),
            (libc::EHOSTUNREACH, "ICMP host unreachable"),
            (libc::ENETUNREACH, "no route"),
            (libc::EHOSTDOWN, "down"),
            (libc::EACCES, "prohibited"),
        ] {
            let text = explained(&of(code));
            assert!(text.contains(word), "{text}");
        }
        for (code, word) in [
            (libc::EPERM, "a firewall rule of this machine"),
            (libc::ENOBUFS, "interface"),
            (libc::EAGAIN, "send buffer"),
            (libc::EMSGSIZE, "65,507"),
            (libc::EINVAL, "invalid argument"),
        ] {
            let text = not_sent(&of(code));
            assert!(text.contains(word), "{text}");
        }
    }
}
