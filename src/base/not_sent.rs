//! Why this machine's kernel did not take a datagram, and what to do.

use std::io::{self, ErrorKind};

use super::error::cause;

/// The words for such an error.
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
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            format!("{cause}: this machine has no route to it (ip route get ADDRESS)")
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
    fn each_cause_has_words() {
        for (code, word) in [
            (libc::EPERM, "a firewall rule of this machine"),
            (libc::ENETUNREACH, "ip route get"),
            (libc::ENOBUFS, "interface"),
            (libc::EAGAIN, "send buffer"),
            (libc::EMSGSIZE, "65,507"),
            (libc::EINVAL, "invalid argument"),
        ] {
            let text = not_sent(&io::Error::from_raw_os_error(code));
            assert!(text.contains(word), "{text}");
        }
    }
}
