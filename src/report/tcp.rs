//! What TCP knows of a run's connections, as texts.

use super::describe::{NONE, nanoseconds};
use crate::base::kernel::NOT_AVAILABLE;
use crate::base::units;
use crate::bench::plan::Load;
use crate::bench::results::Results;
use crate::bench::tcp::TcpCounts;

/// The figures, with their names. Without any there is one row that says so; datagrams have
/// none.
pub(super) fn figures(results: &Results) -> Vec<(&'static str, String)> {
    if results.plan.load == Load::Datagrams {
        return Vec::new();
    }
    let Some(tcp) = &results.tcp else {
        return vec![("TCP", NOT_AVAILABLE.to_owned())];
    };
    let counts = &tcp.counts;
    let mut rows = vec![
        ("TCP retransmits", retransmits(counts)),
        (
            "TCP round trip",
            round_trip(counts, tcp.smoothed_rtt.mean()),
        ),
        ("TCP segments", segments(counts)),
        ("TCP limited by", limits(counts)),
    ];
    let all = results.totals.connected.max(tcp.connections);
    if tcp.connections < all {
        let read = units::whole(tcp.connections);
        let sample = format!(
            "{read} of {}",
            units::count(all, "connection", "connections")
        );
        rows.push(("TCP sample", sample));
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn retransmits(counts: &TcpCounts) -> String {
    let Some(again) = counts.retransmits else {
        return NONE.to_owned();
    };
    let share = counts.data_segments_sent.filter(|sent| *sent > 0);
    let share = share.map_or_else(String::new, |sent| {
        let percent = again as f64 * 100.0 / sent as f64;
        let sent = units::count(sent, "segment", "segments");
        format!(", {percent:.2} % of {sent}")
    });
    format!("{}{share}", units::whole(again))
}

fn round_trip(counts: &TcpCounts, smoothed: Option<f64>) -> String {
    let or_none = |time: Option<String>| time.unwrap_or_else(|| NONE.to_owned());
    format!(
        "least {}, smoothed {} on average, {} at most",
        or_none(counts.least_rtt_ns.map(nanoseconds)),
        or_none(smoothed.map(units::time)),
        or_none(counts.most_smoothed_rtt_ns.map(nanoseconds)),
    )
}

fn segments(counts: &TcpCounts) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| NONE.to_owned(), units::whole);
    let mss = match (counts.least_mss_bytes, counts.most_mss_bytes) {
        (Some(least), Some(most)) if least != most => {
            format!("{} to {}", units::whole(least), units::whole(most))
        }
        (least, _) => bytes(least),
    };
    let mtu = bytes(counts.least_path_mtu_bytes);
    format!("MSS {mss} B, path MTU {mtu} B")
}

fn limits(counts: &TcpCounts) -> String {
    let percent = |share: Option<f64>| {
        share.map_or_else(
            || NONE.to_owned(),
            |share| format!("{:.1} %", share * 100.0),
        )
    };
    format!(
        "receive window {}, send buffer {} of the busy time",
        percent(counts.receive_window_limited()),
        percent(counts.send_buffer_limited()),
    )
}
