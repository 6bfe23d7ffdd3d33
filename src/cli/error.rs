//! The error of any command, as the command line prints it.

use crate::{admin, base, bench, client, ping, report, server};

/// Why a command failed. The text is that of the failed part.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Error {
    Base(#[from] base::error::Error),
    Server(#[from] server::error::Error),
    Admin(#[from] admin::error::Error),
    Client(#[from] client::Error),
    Ping(#[from] ping::error::Error),
    Bench(#[from] bench::error::Error),
    Report(#[from] report::error::Error),
}

impl Error {
    /// Whether it was told to stop before it had a connection.
    pub(super) const fn is_interrupted(&self) -> bool {
        use crate::probe::error::Error as Probe;

        matches!(
            self,
            Self::Client(client::Error::Probe(Probe::Interrupted))
                | Self::Bench(bench::error::Error::Probe(Probe::Interrupted))
        )
    }

    /// The error of [`base`] in it, if there is one.
    pub(super) const fn base(&self) -> Option<&base::error::Error> {
        use crate::probe::error::Error as Probe;

        match self {
            Self::Base(error)
            | Self::Server(server::error::Error::Base(error))
            | Self::Admin(admin::error::Error::Base(error))
            | Self::Ping(ping::error::Error::Base(error))
            | Self::Client(client::Error::Base(error) | client::Error::Probe(Probe::Base(error)))
            | Self::Bench(bench::error::Error::Probe(Probe::Base(error))) => Some(error),
            _ => None,
        }
    }
}
