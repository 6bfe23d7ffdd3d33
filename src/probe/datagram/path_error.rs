//! Errors of a path, for datagrams that were sent before: which system errors are such, and what
//! they mean.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use super::refusal::explained;
use crate::base::sys::datagram::Origin;
use crate::base::units;

/// An error that came by ICMP, or from this machine's routes, for an earlier datagram.
#[derive(Debug)]
pub(crate) struct PathError {
    pub(crate) error: io::Error,
    /// How many bytes of the datagram are quoted.
    pub(crate) quoted: usize,
    /// Who sent the ICMP message, where the system says.
    pub(crate) from: Option<IpAddr>,
    /// The MTU that the ICMP message names, where the datagram was too long.
    pub(crate) mtu: Option<u32>,
    /// What reports it, where the system says.
    pub(crate) origin: Option<Origin>,
}

impl PathError {
    /// In words: what happened, who says so, and what to do.
    pub(crate) fn explained(&self) -> String {
        let says = match self.from {
            Some(from) => format!(" (says {from})"),
            None => String::new(),
        };
        match self.mtu {
            Some(mtu) => format!(
                "too long for the path, which takes {} at once{says}; from now on this machine sends \
                 what is longer in fragments",
                units::plain_count(mtu.into(), "byte", "bytes")
            ),
            None => explained(&self.error, self.origin) + &says,
        }
    }
}

/// Whether a system call failed with an error of the path: one that came by ICMP for an
/// earlier datagram, or by this machine's own routes.
pub(super) fn is_of_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    ) || other_errors_of_path(error)
        || is_too_long(error)
}

/// Whether a datagram was longer than what is sent unfragmented.
#[cfg(unix)]
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

#[cfg(not(unix))]
pub(super) fn is_too_long(_: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn other_errors_of_path(error: &io::Error) -> bool {
    let codes = [
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        // ICMPv6 administratively prohibited, and a policy; a source route failed; a header's
        // field was wrong.
        libc::EACCES,
        libc::EOPNOTSUPP,
        libc::EPROTO,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::ENONET,
    ];
    error.raw_os_error().is_some_and(|it| codes.contains(&it))
}

#[cfg(not(unix))]
fn other_errors_of_path(_: &io::Error) -> bool {
    false
}
