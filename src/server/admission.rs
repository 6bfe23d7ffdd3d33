//! Admission control: whether an accepted client is served, by the limits on connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::AcceptorMetrics;
use super::status::Status;
use crate::base::throttle::Throttle;
use crate::base::units;
use crate::worker::eviction::{EvictionLog, Reason};
use crate::worker::source::{SourceGuard, Sources};

/// The limits on all connections at once and on those of one source.
pub(crate) struct AdmissionControl {
    max_connections: usize,
    /// `max_connections` comes from the limit on open files.
    by_files: bool,
    sources: Option<Arc<Sources>>,
    acceptor: Arc<AcceptorMetrics>,
    evictions: Arc<EvictionLog>,
    full_throttle: Throttle,
}

impl AdmissionControl {
    pub(crate) fn new(
        (max_connections, by_files): (usize, bool),
        sources: Option<Arc<Sources>>,
        status: &Status,
    ) -> Self {
        Self {
            max_connections,
            by_files,
            sources,
            acceptor: Arc::clone(&status.acceptor),
            evictions: Arc::clone(&status.evictions),
            full_throttle: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// Whether `live` connections are as many as are allowed.
    pub(crate) const fn is_full(&self, live: usize) -> bool {
        live >= self.max_connections
    }

    /// Whether the limit on open files decides how many connections are allowed.
    pub(crate) const fn is_bound_by_files(&self) -> bool {
        self.by_files
    }

    /// Admits an accepted client, or counts and logs it as refused if its source is
    /// over its limit.
    pub(crate) fn admit(&mut self, peer: SocketAddr, now: Instant) -> Admission {
        let Some(sources) = &self.sources else {
            return Admission::Granted(None);
        };
        match sources.admit(peer) {
            Ok(source_guard) => Admission::Granted(Some(source_guard)),
            Err(crowded) => {
                self.acceptor.refused.add(Reason::Source);
                let what = format_args!("{crowded}");
                self.evictions.log(Reason::Source, peer, what, now);
                Admission::Refused
            }
        }
    }

    /// Logs, at most once a minute, that as many clients are served as are allowed.
    pub(crate) fn log_full(&mut self, now: Instant) {
        if self.full_throttle.admit(now).is_some() {
            log::warn!(
                "{} in use, the limit: further clients wait in the listen queue \
                 (--max-connections, ulimit -n)",
                units::plain_count(
                    self.max_connections as u64,
                    "connection is",
                    "connections are"
                )
            );
        }
    }
}

/// The decision on a client that was accepted.
pub(crate) enum Admission {
    /// The client is served; the guard counts it for its source until it is dropped.
    Granted(Option<SourceGuard>),
    /// The client is closed at once.
    Refused,
}
