//! What TCP agreed on with the peer: a report, and what it lacks.

use super::clause::{Clause, Load};
use super::not_passed::NotPassed;
use super::protocol::round_trip;
use super::target::Target;
use crate::base::kernel::{KernelView, NOT_AVAILABLE, Options, WindowScaling};
use crate::base::units::{percent, throughput, time, whole};
use crate::proto::Protocol;

pub(super) const OPTIONS: Clause = Clause {
    name: "options",
    proves: "nothing: it tells what TCP agreed on with the peer, and what a plain path has more",
    usually: "not the path, since the clause fails on nothing",
    rfc: "RFC 2018, RFC 7323, RFC 3168, RFC 8201",
    load: Load::sends(MOST),
    run: options,
};

/// The same in the protocols of one message.
pub(super) const OPTIONS_OF_MESSAGE: Clause = Clause {
    load: Load::waits(1),
    ..OPTIONS
};

/// The largest path MTU on which full segments fill packets. Where packets are larger, as on
/// loopback, the window bounds them.
const FILLED_MTU: u64 = 9_216;

/// What is sent so that there is something to report of, in bytes: some ninety segments between
/// machines. On a path that carries little, as many as fit it so many times, and no fewer than
/// a few segments.
const MOST: u64 = 128 * 1024;
const ROOMS: u64 = 4;
const LEAST: u64 = 16 * 1024;

fn options(target: &Target<'_>) -> Result<String, NotPassed> {
    match view(target) {
        Ok((Some(view), is_v6)) => {
            target.context.set_view(view);
            Ok(text(&view, is_v6, &is_off_here))
        }
        Ok((None, _)) => Err(NotPassed::Skipped(NOT_AVAILABLE.to_owned())),
        // Other clauses tell what is the matter with a connection.
        Err(NotPassed::Failed { seen, .. }) => Err(NotPassed::Skipped(seen)),
        Err(other) => Err(other),
    }
}

/// What the system knows of a connection that has carried something and is alive, and whether
/// it is by IPv6.
fn view(target: &Target<'_>) -> Result<(Option<KernelView>, bool), NotPassed> {
    let connection = target.open()?;
    let (peer, _) = connection.addresses()?;
    round_trip(&connection)?;
    let mut view = KernelView::read(&*connection.socket());
    if connection.protocol() == Protocol::Echo {
        let most = target.shared.room().saturating_mul(ROOMS);
        match connection.exchange(most.clamp(LEAST, MOST), usize::MAX) {
            Ok(()) => view = KernelView::read(&*connection.socket()).or(view),
            Err(NotPassed::Stopped) => return Err(NotPassed::Stopped),
            // What both sides agreed on is known all the same. What is under way would be sent
            // again for long, were it not reset.
            Err(_) => return Ok((view, peer.is_ipv6())),
        }
    }
    connection.finish_unchecked();
    Ok((view, peer.is_ipv6()))
}

/// Whether this machine itself has an option off, by the name of its setting: tcp(7).
fn is_off_here(setting: &str) -> bool {
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}"));
    value.is_ok_and(|value| value.trim() == "0")
}

/// The report of one connection.
fn text(view: &KernelView, is_v6: bool, is_off_here: &dyn Fn(&str) -> bool) -> String {
    let mut parts = Vec::new();
    if let Some(options) = &view.options {
        parts.push(agreed(options));
    }
    parts.push(sizes(view));
    parts.extend(round_trips(view));
    parts.extend(delivery(view));
    parts.extend(segments(view));
    parts.extend(view.options.map(|options| missing(&options, is_off_here)));
    parts.extend(small_segments(view, is_v6));
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn agreed(options: &Options) -> String {
    let scaling = options.window_scaling.map(|WindowScaling { peer, own }| {
        format!("window scaling (by {own} bits here, {peer} there)")
    });
    let named = [
        options.sack.then(|| String::from("SACK")),
        options.timestamps.then(|| String::from("timestamps")),
        scaling,
        options.ecn.then(|| String::from("ECN")),
    ];
    let named: Vec<_> = named.into_iter().flatten().collect();
    match named.is_empty() {
        true => String::from("no options"),
        false => named.join(", "),
    }
}

fn sizes(view: &KernelView) -> String {
    let sizes = [
        ("MSS sent", view.mss_sent_bytes),
        ("received", view.mss_received_bytes),
        ("announced", view.mss_announced_bytes),
        ("path MTU", view.path_mtu_bytes),
    ];
    let known = sizes
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {}", whole(bytes?))));
    known.collect::<Vec<_>>().join(", ")
}

fn round_trips(view: &KernelView) -> Option<String> {
    let [least, smoothed] = [view.least_rtt_ns?, view.smoothed_rtt_ns?].map(|ns| time(ns as f64));
    Some(format!("round trip {least} at least, {smoothed} smoothed"))
}

/// How fast the latest bytes were delivered, and what held them back meanwhile.
fn delivery(view: &KernelView) -> Option<String> {
    let rate = throughput(view.delivery_bytes_per_s? as f64);
    let share = |part: Option<u64>| {
        let busy = view.busy_ns.filter(|busy| *busy > 0)?;
        Some(percent(part? as f64 / busy as f64))
    };
    let limits = [
        ("receive window", share(view.receive_window_limited_ns)),
        ("send buffer", share(view.send_buffer_limited_ns)),
    ];
    let limits = limits
        .into_iter()
        .filter_map(|(what, share)| Some(format!("by the {what} {} of the time", share?)));
    let limits: Vec<_> = limits.collect();
    Some(match limits.is_empty() {
        true => format!("delivered at {rate}"),
        false => format!("delivered at {rate}, limited {}", limits.join(", ")),
    })
}

/// How many segments were sent, and what became of them, as far as the system counts that.
fn segments(view: &KernelView) -> Option<String> {
    let counts = [
        ("sent", view.data_segments_sent),
        ("sent again", view.retransmits),
        ("lost", view.lost),
        ("reordered", view.reordering),
        ("came out of order", view.out_of_order),
    ];
    let known = counts
        .into_iter()
        .filter_map(|(what, number)| Some(format!("{} {what}", whole(number?))));
    let known: Vec<_> = known.collect();
    (!known.is_empty()).then(|| format!("segments: {}", known.join(", ")))
}

/// The options that a plain path has and this one lacks. Not congestion notification: a
/// client asks for that only where it was set to.
fn missing(options: &Options, is_off_here: &dyn Fn(&str) -> bool) -> String {
    let all = [
        (options.sack, "SACK", "tcp_sack"),
        (options.timestamps, "timestamps", "tcp_timestamps"),
        (
            options.window_scaling.is_some(),
            "window scaling",
            "tcp_window_scaling",
        ),
    ];
    let lacking = all.into_iter().filter(|(has, ..)| !has);
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        lacking.partition(|(_, _, setting)| is_off_here(setting));
    let names = |lacking: &[(bool, &str, &str)]| {
        let names: Vec<_> = lacking.iter().map(|(_, name, _)| *name).collect();
        names.join(", no ")
    };
    let mut texts = Vec::new();
    if !elsewhere.is_empty() {
        texts.push(format!(
            "no {}: something between strips it, or the server has it off",
            names(&elsewhere)
        ));
    }
    if !here.is_empty() {
        texts.push(format!("no {}: it is off on this machine", names(&here)));
    }
    texts.join("; ")
}

/// That full segments leave room in the path's packets: somebody made them smaller.
fn small_segments(view: &KernelView, is_v6: bool) -> Option<String> {
    let headers = if is_v6 { 60 } else { 40 };
    let stamps = if view.options?.timestamps { 12 } else { 0 };
    let room = view.path_mtu_bytes?.checked_sub(headers + stamps)?;
    let (mss, mtu) = (view.mss_sent_bytes?, view.path_mtu_bytes?);
    (mtu <= FILLED_MTU && mss < room).then(|| {
        format!(
            "segments of {} bytes where {} fit: something between clamps the MSS, or the \
             server's network has smaller packets",
            whole(mss),
            whole(room)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> KernelView {
        KernelView {
            least_rtt_ns: Some(120_000),
            smoothed_rtt_ns: Some(250_000),
            retransmits: Some(0),
            data_segments_sent: Some(92),
            mss_sent_bytes: Some(1448),
            mss_received_bytes: Some(1348),
            mss_announced_bytes: Some(1448),
            path_mtu_bytes: Some(1500),
            options: Some(Options {
                sack: true,
                timestamps: true,
                ecn: false,
                window_scaling: Some(WindowScaling { peer: 7, own: 0 }),
            }),
            ..KernelView::default()
        }
    }

    const NOTHING: &dyn Fn(&str) -> bool = &|_| false;

    #[test]
    fn a_plain_path_lacks_nothing() {
        assert_eq!(
            text(&view(), false, NOTHING),
            "SACK, timestamps, window scaling (by 0 bits here, 7 there); MSS sent 1,448, received \
             1,348, announced 1,448, path MTU 1,500; round trip 120 us at least, 250 us smoothed; \
             segments: 92 sent, 0 sent again"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_who_may_have_taken_it() {
        let mut view = view();
        view.options = Some(Options {
            ecn: true,
            ..Options::default()
        });
        view.mss_sent_bytes = Some(1460);
        view.retransmits = Some(2);
        let all = text(&view, false, NOTHING);
        assert!(all.starts_with("ECN; MSS sent 1,460"), "{all}");
        assert!(all.contains("; segments: 92 sent, 2 sent again; "), "{all}");
        let end = "; no SACK, no timestamps, no window scaling: something between strips it, or \
                   the server has it off";
        assert!(all.ends_with(end), "{all}");
        let here = text(&view, false, &|setting| setting == "tcp_sack");
        let end = "; no timestamps, no window scaling: something between strips it, or the server \
                   has it off; no SACK: it is off on this machine";
        assert!(here.ends_with(end), "{here}");
    }

    #[test]
    fn segments_that_leave_room_are_told_but_not_those_that_the_window_bounds() {
        let mut view = view();
        view.mss_sent_bytes = Some(1228);
        let said = "segments of 1,228 bytes where 1,448 fit";
        assert!(text(&view, false, NOTHING).contains(said));
        view.mss_sent_bytes = Some(1428);
        assert!(!text(&view, true, NOTHING).contains("fit"), "IPv6");
        (view.mss_sent_bytes, view.path_mtu_bytes) = (Some(32_768), Some(65_535));
        assert!(!text(&view, false, NOTHING).contains("fit"), "loopback");
    }

    #[test]
    fn the_rate_of_delivery_is_told_with_what_limited_it() {
        let mut view = view();
        view.delivery_bytes_per_s = Some(1_250_000);
        let alone = text(&view, false, NOTHING);
        assert!(
            alone.contains("; delivered at 1.25 MB/s; segments"),
            "{alone}"
        );
        view.busy_ns = Some(4_000_000);
        view.receive_window_limited_ns = Some(1_000_000);
        view.send_buffer_limited_ns = Some(0);
        let limited = text(&view, false, NOTHING);
        let said = "; delivered at 1.25 MB/s, limited by the receive window 25.0 % of the time, by \
                    the send buffer 0 % of the time; segments";
        assert!(limited.contains(said), "{limited}");
    }

    #[test]
    fn what_the_kernel_does_not_report_is_left_out() {
        let bare = KernelView {
            mss_sent_bytes: Some(536),
            ..KernelView::default()
        };
        assert_eq!(text(&bare, false, NOTHING), "MSS sent 536");
    }
}
