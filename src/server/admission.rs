//! The gate of the main thread: whether a client that has arrived is let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::AcceptorMetrics;
use super::status::Status;
use crate::base::throttle::Throttle;
use crate::worker::eviction::{EvictionLog, Reason};

use crate::worker::source::{SourceGuard, Sources};

/// What is allowed at once.
pub(crate) struct AdmissionControl {
    max_connections: usize,
    /// It is the limit on open files that bounds the connections.
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

    /// Clients are not accepted because all places are taken.
    pub(crate) fn tell_full(&mut self, now: Instant) {
        if self.full_throttle.admit(now).is_some() {
            log::warn!(
                "all {} live are taken: further clients wait in the listen queue \
                 (--max-connections, ulimit -n)",
                self.max_connections
            );
        }
    }
}

/// What becomes of a client that was accepted.
pub(crate) enum Admission {
    /// It is served, and holds the place as long as it is there.
    Granted(Option<SourceGuard>),
    /// It is closed at once.
    Refused,
}
