//! Counters and latencies of the measured load, of one thread for a tenth of a
//! second or of all threads for the whole run.

use super::datagram_counts::DatagramCounts;
use super::results::{Errors, Totals};
use super::tcp::Tcp;
use crate::probe::latency::Latency;

/// Counters and latencies, which can be added up.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) totals: Totals,
    /// What went wrong before: it belongs to no message that counts.
    pub(super) warmup_errors: Errors,
    pub(super) service: Latency,
    pub(super) response: Latency,
    pub(super) lateness: Latency,
    pub(super) connect: Latency,
    pub(super) first_byte: Latency,
    pub(super) exchange: Latency,
    /// What TCP knows of the connections that were read.
    pub(super) tcp: Tcp,
    /// What became of datagrams.
    pub(super) datagrams: DatagramCounts,
    /// Messages that came back within the measured part, whenever they were sent.
    pub(super) in_time: u64,
    /// Bytes that came back within the measured part, whenever they were sent.
    pub(super) in_time_bytes: u64,
    /// Attempts to connect for which there was no local port.
    pub(super) without_port: u64,
    /// Attempts to connect for which there was no descriptor.
    pub(super) without_descriptor: u64,
}

impl Counts {
    /// Adds all counters and latencies of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        self.totals += &other.totals;
        self.warmup_errors += &other.warmup_errors;
        self.tcp.add(&other.tcp);
        self.datagrams += &other.datagrams;
        self.in_time += other.in_time;
        self.in_time_bytes += other.in_time_bytes;
        self.without_port += other.without_port;
        self.without_descriptor += other.without_descriptor;
        for (all, one) in [
            (&mut self.service, &other.service),
            (&mut self.response, &other.response),
            (&mut self.lateness, &other.lateness),
            (&mut self.connect, &other.connect),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.exchange, &other.exchange),
        ] {
            all.add(one);
        }
    }

    /// Sets everything to zero; the histograms keep their memory.
    pub(super) fn reset(&mut self) {
        let Self {
            totals,
            warmup_errors,
            service,
            response,
            lateness,
            connect,
            first_byte,
            exchange,
            tcp,
            datagrams,
            in_time,
            in_time_bytes,
            without_port,
            without_descriptor,
        } = self;
        *totals = Totals::default();
        *warmup_errors = Errors::default();
        tcp.reset();
        *datagrams = DatagramCounts::default();
        for latency in [service, response, lateness, connect, first_byte, exchange] {
            latency.histogram.reset();
        }
        for count in [in_time, in_time_bytes, without_port, without_descriptor] {
            *count = 0;
        }
    }

    /// The latency that a client at the planned rate sees: the response time of an
    /// open loop, the service time of a closed loop.
    pub(super) const fn round_trips(&self, open_loop: bool) -> &Latency {
        match open_loop {
            true => &self.response,
            false => &self.service,
        }
    }
}
