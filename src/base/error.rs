//! The errors of the foundation, and the wording of the system's errors.

use std::io;
use std::net::SocketAddr;

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
    #[error("could not listen on {address}: {}", listen_cause(address, source))]
    Listen {
        /// The address that was asked for.
        address: String,
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

/// The cause of a failure to listen on `address`, a socket address, with what to do where
/// the port is one of those that need a privilege.
fn listen_cause(address: &str, error: &io::Error) -> String {
    let port = address.parse().map(|address: SocketAddr| address.port());
    match (error.kind(), port) {
        (io::ErrorKind::PermissionDenied, Ok(1..1024)) => format!(
            "{}; a port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher one, or \
             have a service manager hand the socket over",
            cause(error)
        ),
        _ => cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_port_that_needs_a_privilege_comes_with_what_to_do() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        for (address, has_advice) in [
            ("0.0.0.0:7", true),
            ("[::]:1023", true),
            ("127.0.0.1:1024", false),
            ("127.0.0.1:0", false),
        ] {
            let text = listen_cause(address, &refused);
            assert!(text.starts_with("permission denied"), "{text}");
            let words = "; a port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher";
            assert_eq!(text.contains(words), has_advice, "{address}: {text}");
        }
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        assert!(!listen_cause("0.0.0.0:7", &taken).contains("1024"));
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
