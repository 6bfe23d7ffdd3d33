//! What can go wrong, said so that a person can act on it.

use std::io;
use std::net::SocketAddr;

/// An operation that failed, what it was done to, and why.
///
/// The texts are lower case, name the operation and its operand, and end in
/// the cause: `could not listen on 0.0.0.0:20162: address already in use`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host name has no address.
    #[error("could not resolve {host}: {}", cause(source))]
    Resolve {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// A listening socket could not be made.
    #[error("could not listen on {address}: {}", cause(source))]
    Listen {
        /// The address that was asked for.
        address: String,
        /// Which step failed is told by the system's own words.
        source: io::Error,
    },
    /// The server could not start or could not go on.
    #[error("could not {operation}: {}", cause(source))]
    Serve {
        /// What was tried, as it reads after "could not".
        operation: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The descriptor limit leaves no room for a single client.
    #[error(
        "could not serve any client: the limit of {limit} open files is below the {needed} \
         that {workers} workers and the listeners need; raise it (ulimit -n) or lower --workers"
    )]
    Descriptors {
        /// The limit on open descriptors of this process.
        limit: usize,
        /// What the server needs before its first client.
        needed: usize,
        /// How many workers were asked for.
        workers: usize,
    },
    /// No address of the server could be connected to.
    #[error("could not connect to {}", attempts(.0))]
    Connect(
        /// Every address tried, with why it failed.
        Vec<(SocketAddr, io::Error)>,
    ),
    /// The load generator could not be set up, or could not go on.
    #[error("could not {operation}: {}", cause(source))]
    Bench {
        /// What was tried, as it reads after "could not".
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes could not be sent to the server.
    #[error("could not send to {address}: {}", cause(source))]
    Send {
        /// The server.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes could not be received from the server.
    #[error("could not receive from {address}: {}", cause(source))]
    Receive {
        /// The server.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// What came back is not what was sent.
    #[error("bad echo from {address}: {fault}")]
    Echo {
        /// The server.
        address: String,
        /// What differs, and at which offset.
        fault: String,
    },
    /// A text that the counted protocol can't carry.
    #[error(transparent)]
    Counted(#[from] crate::proto::BadText),
    /// Standard input could not be read.
    #[error("could not read standard input: {}", cause(.0))]
    Input(io::Error),
    /// Standard output could not be written.
    #[error("could not write standard output: {}", cause(.0))]
    Output(io::Error),
    /// A file could not be written.
    #[error("could not write {file}: {}", cause(source))]
    File {
        /// Its path.
        file: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds no results of a load run.
    #[error("could not read results from {file}: {fault}")]
    Results {
        /// Its path.
        file: String,
        /// What is wrong with it, and what to do.
        fault: crate::report::read::Unreadable,
    },
    /// Runs can't be merged into one.
    #[error("could not merge {0}")]
    Merge(#[from] crate::report::merge::Unlike),
    /// The line editor failed.
    #[error("could not read from the terminal: {0}")]
    Terminal(#[from] rustyline::error::ReadlineError),
}

/// Makes the error of a server's operation out of the system's, as `map_err` wants it.
pub(crate) fn failed_to(operation: &str) -> impl FnOnce(io::Error) -> Error {
    let operation = operation.to_owned();
    move |source| Error::Serve { operation, source }
}

fn attempts(failed: &[(SocketAddr, io::Error)]) -> String {
    let each = failed
        .iter()
        .map(|(to, why)| format!("{to}: {}", cause(why)));
    each.collect::<Vec<_>>().join("; nor to ")
}

/// An I/O error in the house's words: lower case, without the error number.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_system_error_reads_lower_case_and_without_its_number() {
        let error = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(cause(&error), "connection refused");
        assert_eq!(cause(&io::Error::other("Odd Thing")), "odd Thing");
        assert_eq!(cause(&io::Error::other("")), "unknown cause");
    }
}
