//! The live page, and the JSON that it fetches once a second.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::server::memory_limit::{MemoryLimit, Shortages};
use crate::server::status::{Status, WorkerLoad};
use crate::worker::datagrams::refusal::{DatagramCounts, Refusal};
use crate::worker::eviction::{Latest, Reason};
use crate::worker::metrics::DELAY_CLASSES;

/// The page as HTML. It fetches nothing but [`json`].
pub(super) const PAGE: &str = include_str!("page.html");

/// The data of the page. Only the page of the same version reads it.
#[derive(Serialize)]
struct Shown {
    version: &'static str,
    state: &'static str,
    /// Why the server is not healthy, if it is not.
    unwell: Option<String>,
    /// Why the server is not ready, if it is not.
    unready: Option<String>,
    uptime_s: f64,
    listeners: Vec<String>,
    connections_open: usize,
    connections_limit: usize,
    accepted: u64,
    accept_pauses: u64,
    /// The limit because of which memory is short, if it is.
    memory_short: Option<&'static str>,
    /// How many times each limit made memory short; those that never did are left out.
    memory_shortages: BTreeMap<&'static str, u64>,
    echoed_bytes: u64,
    echo_turns: u64,
    datagrams: Datagrams,
    /// The upper bound of each class in seconds; the last class has none.
    first_echo_ends_s: Vec<f64>,
    first_echo_counts: Vec<u64>,
    refused: BTreeMap<&'static str, u64>,
    evicted: BTreeMap<&'static str, u64>,
    workers: Vec<Worker>,
    latest: Vec<TurnedAway>,
}

#[derive(Serialize)]
struct Datagrams {
    received: u64,
    answered: u64,
    echoed_bytes: u64,
    unsent: u64,
    dropped: u64,
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Worker {
    connections_open: usize,
    connections: u64,
    echoed_bytes: u64,
    echo_turns: u64,
    held_bytes: usize,
    replaced: u64,
    cpu_s: Option<f64>,
}

#[derive(Serialize)]
struct TurnedAway {
    /// Unix time in milliseconds.
    at_ms: u64,
    address: String,
    reason: &'static str,
}

/// The present values of what the page shows.
pub(super) fn json(status: &Status) -> serde_json::Result<String> {
    let snapshot = status.snapshot();
    let by_reason = |refused| {
        let reasons = Reason::ALL.into_iter();
        let these = reasons.filter(move |reason| reason.is_refusal() == refused);
        these
            .map(|reason| (reason.word(), snapshot.turned_away.of(reason)))
            .collect()
    };
    serde_json::to_string(&Shown {
        version: env!("CARGO_PKG_VERSION"),
        state: snapshot.phase.name(),
        unwell: status.health().err(),
        unready: status.readiness().err(),
        uptime_s: snapshot.uptime.as_secs_f64(),
        listeners: snapshot.listeners.to_vec(),
        connections_open: snapshot.open(),
        connections_limit: snapshot.max_connections,
        accepted: snapshot.accepted,
        accept_pauses: snapshot.accept_pauses,
        memory_short: snapshot.memory_short.map(MemoryLimit::name),
        memory_shortages: shortages(&snapshot.shortages),
        echoed_bytes: snapshot.bytes(),
        echo_turns: snapshot.echoes(),
        datagrams: datagrams(&snapshot.datagrams()),
        first_echo_ends_s: DELAY_CLASSES.iter().map(|end| end.as_secs_f64()).collect(),
        first_echo_counts: snapshot.first_echo.counts.to_vec(),
        refused: by_reason(true),
        evicted: by_reason(false),
        workers: snapshot.workers.iter().map(worker).collect(),
        latest: status.latest().iter().map(turned_away).collect(),
    })
}

fn shortages(shortages: &Shortages) -> BTreeMap<&'static str, u64> {
    let all = MemoryLimit::ALL.into_iter();
    let each = all.map(|limit| (limit.name(), shortages.of(limit)));
    each.filter(|&(_, count)| count > 0).collect()
}

fn datagrams(counts: &DatagramCounts) -> Datagrams {
    let refused = Refusal::ALL
        .into_iter()
        .map(|why| (why.word(), counts.refused(why)));
    Datagrams {
        received: counts.received,
        answered: counts.answered,
        echoed_bytes: counts.bytes,
        unsent: counts.unsent,
        dropped: counts.dropped,
        refused: refused.collect(),
    }
}

fn worker(load: &WorkerLoad) -> Worker {
    Worker {
        connections_open: load.open,
        connections: load.connections,
        echoed_bytes: load.bytes,
        echo_turns: load.echoes,
        held_bytes: load.held,
        replaced: load.replaced,
        cpu_s: load.cpu.map(|time| time.as_secs_f64()),
    }
}

fn turned_away(latest: &Latest) -> TurnedAway {
    let at = latest.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    TurnedAway {
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        address: latest.peer.to_string(),
        reason: latest.reason.word(),
    }
}
