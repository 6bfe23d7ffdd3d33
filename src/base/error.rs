//! The errors of the foundation, and the wording of the system's errors.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An operation that failed, its operand, and the cause.
///
/// The texts of all errors of the program are lower case, name the operation and its
/// operand, and end in the cause:
/// `could not listen on 0.0.0.0:20162: address already in use`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host name could not be resolved.
    #[error("could not resolve {host}: {}", cause(source))]
    Resolve {
        /// The host name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// A listening socket could not be made.
    #[error("could not listen on {address}{}: {}", of(*transport), listen_cause(*address, *transport, source))]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What it was to serve.
        transport: Transport,
        /// Why it failed.
        source: io::Error,
    },
    /// A part of the process could not be set up, such as its log or signal handlers.
    #[error("could not {operation}: {}", cause(source))]
    SetUp {
        /// The operation, as it reads after "could not".
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("could not write standard output: {}", cause(.0))]
    Output(io::Error),
    /// A file could not be written.
    #[error("could not write {file}: {}", cause(source))]
    File {
        /// The path of the file.
        file: String,
        /// The cause.
        source: io::Error,
    },
}

/// The text of an I/O error: lower case, without the error number.
///
/// `Connection refused (os error 111)` becomes `connection refused`, and the
/// resolver's `failed to lookup address information: ` is dropped.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or(&text);
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::from("unknown cause"),
    }
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What tells a socket for datagrams from one for connections with the same address.
const fn of(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "",
        Transport::Udp => " (UDP)",
    }
}

/// The cause of a failure to listen on an address, with what to do where that is known.
fn listen_cause(address: SocketAddr, transport: Transport, error: &io::Error) -> String {
    let cause = cause(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => format!(
            "{cause}; a port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher one, \
             or have a service manager hand the socket over"
        ),
        io::ErrorKind::AddrInUse => format!(
            "{cause}; '{}' names the program that has the port: end it, or choose another port",
            names_programs(transport)
        ),
        io::ErrorKind::AddrNotAvailable => match port_in_address(address.ip()) {
            Some((ip, port)) => format!("{cause}; if {port} is the port, write [{ip}]:{port}"),
            None => cause,
        },
        _ => cause,
    }
}

/// The command that names the programs that listen.
const fn names_programs(transport: Transport) -> &'static str {
    match transport {
        _ if cfg!(not(any(target_os = "linux", target_os = "android"))) => "lsof -nP -i",
        Transport::Tcp => "ss -ltnp",
        Transport::Udp => "ss -lunp",
    }
}

/// The address and the port that an IPv6 address may have been meant as: `::1:7000`, which is
/// valid by itself, for `[::1]:7000`.
fn port_in_address(ip: IpAddr) -> Option<(Ipv6Addr, u16)> {
    let text = ip.to_string();
    let (ip, port) = text.rsplit_once(':')?;
    let is_decimal = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_decimal)?;
    Some((ip.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_port_that_needs_a_privilege_comes_with_what_to_do() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = |address: &str, error: &io::Error| {
            listen_cause(address.parse().unwrap(), Transport::Tcp, error)
        };
        for (address, has_advice) in [
            ("0.0.0.0:7", true),
            ("[::]:1023", true),
            ("127.0.0.1:1024", false),
            ("127.0.0.1:0", false),
        ] {
            let text = text(address, &refused);
            assert!(text.starts_with("permission denied"), "{text}");
            let words = "; a port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher";
            assert_eq!(text.contains(words), has_advice, "{address}: {text}");
        }
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let taken = text("0.0.0.0:7", &taken);
        assert!(!taken.contains("1024"), "{taken}");
        assert!(
            taken.contains("names the program that has the port"),
            "{taken}"
        );
    }

    #[test]
    fn a_port_that_was_read_as_a_part_of_the_address_is_pointed_out() {
        let absent = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let text = |address: &str| listen_cause(address.parse().unwrap(), Transport::Udp, &absent);
        let meant = text("[::1:7000]:20162");
        assert!(
            meant.ends_with("; if 7000 is the port, write [::1]:7000"),
            "{meant}"
        );
        for address in [
            "192.0.2.1:7",
            "[2001:db8::abcd]:7",
            "[2001:db8:1:2:3:4:5:6]:7",
        ] {
            let text = text(address);
            assert!(!text.contains("write"), "{text}");
        }
    }

    #[test]
    fn a_socket_for_datagrams_is_told_from_one_for_connections() {
        let text = |transport| {
            let source = io::Error::from(io::ErrorKind::AddrInUse);
            let address = "[::]:7".parse().unwrap();
            Error::Listen {
                address,
                transport,
                source,
            }
            .to_string()
        };
        let udp = text(Transport::Udp);
        assert!(
            udp.starts_with("could not listen on [::]:7 (UDP): "),
            "{udp}"
        );
        assert!(text(Transport::Tcp).starts_with("could not listen on [::]:7: "));
    }

    #[cfg(unix)]
    #[test]
    fn a_system_error_reads_lower_case_and_without_its_number() {
        let error = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(cause(&error), "connection refused");
        assert_eq!(cause(&io::Error::other("Odd Thing")), "odd Thing");
        assert_eq!(cause(&io::Error::other("")), "unknown cause");
    }
}
