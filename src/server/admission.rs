//! The gate of the main thread: whether a client that has arrived is let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::throttle::Throttle;
use crate::server::status::Status;
use crate::worker::eviction::{Notices, Reason};
use crate::worker::metrics::Entrance;
use crate::worker::source::{Place, Sources};

/// What is allowed at once.
pub(crate) struct Gate {
    max_connections: usize,
    /// It is the limit on open files that bounds the connections.
    by_files: bool,
    sources: Option<Arc<Sources>>,
    entrance: Arc<Entrance>,
    notices: Arc<Notices>,
    told_full: Throttle,
}

impl Gate {
    pub(crate) fn new(
        (max_connections, by_files): (usize, bool),
        sources: Option<Arc<Sources>>,
        status: &Status,
    ) -> Self {
        Self {
            max_connections,
            by_files,
            sources,
            entrance: Arc::clone(&status.entrance),
            notices: Arc::clone(&status.notices),
            told_full: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// Whether one more than `live` clients is too many.
    pub(crate) const fn is_full(&self, live: usize) -> bool {
        live >= self.max_connections
    }

    /// Whether it is the limit on open files that makes it full.
    pub(crate) const fn is_bound_by_files(&self) -> bool {
        self.by_files
    }

    /// Lets a client in that was accepted, or counts it as refused.
    pub(crate) fn admit(&mut self, peer: SocketAddr, now: Instant) -> Admission {
        let Some(sources) = &self.sources else {
            return Admission::Granted(None);
        };
        match sources.admit(peer.ip()) {
            Ok(place) => Admission::Granted(Some(place)),
            Err(crowded) => {
                self.entrance.refused.add(Reason::Source);
                let what = format_args!("{crowded}");
                self.notices.tell(Reason::Source, peer, what, now);
                Admission::Refused
            }
        }
    }

    /// Clients are not accepted because all places are taken.
    pub(crate) fn tell_full(&mut self, now: Instant) {
        if self.told_full.admit(now).is_some() {
            log::warn!(
                "all {} places are taken: further clients wait in the listen queue \
                 (--max-connections, ulimit -n)",
                self.max_connections
            );
        }
    }
}

/// What becomes of a client that was accepted.
pub(crate) enum Admission {
    /// It is served, and holds the place as long as it is there.
    Granted(Option<Place>),
    /// It is closed at once.
    Refused,
}
