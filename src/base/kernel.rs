//! What the system's TCP knows of a connection: `TCP_INFO` of tcp(7), and the path MTU.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::sys;
use super::units;

/// What is said in place of a view on a system that reports none.
pub(crate) const NOT_AVAILABLE: &str = "not available";

/// A connection as this machine's TCP sees it. What an older kernel does not count, or has
/// not measured yet, is `None` and never 0. Source: `struct tcp_info` of linux/tcp.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelView {
    /// The smoothed round trip of RFC 6298, in nanoseconds.
    pub smoothed_rtt_ns: Option<u64>,
    /// The shortest round trip of the last five minutes, in nanoseconds.
    pub least_rtt_ns: Option<u64>,
    /// Segments sent again since the connection was made.
    pub retransmits: Option<u64>,
    /// Bytes sent again since the connection was made.
    pub retransmitted_bytes: Option<u64>,
    /// Segments with data sent since the connection was made, those sent again included.
    pub data_segments_sent: Option<u64>,
    /// Time-outs in a row for which the oldest segment has not been acknowledged.
    pub timeouts: Option<u64>,
    /// Segments in flight.
    pub unacknowledged: Option<u64>,
    /// Bytes that wait to be sent, beside those in flight.
    #[serde(skip)]
    pub unsent_bytes: Option<u64>,
    /// Segments in flight that are now taken for lost.
    pub lost: Option<u64>,
    /// Segments of which the peer told that they came twice, so that they had been sent again
    /// without need: RFC 2883.
    pub duplicates: Option<u64>,
    /// How often segments were seen to be reordered on their way to the peer.
    pub reordering: Option<u64>,
    /// Segments with data that arrived out of order.
    pub out_of_order: Option<u64>,
    /// The most bytes of data in a segment to the peer, beside the options of every segment.
    pub mss_sent_bytes: Option<u64>,
    /// The estimate of the bytes of data in a segment from the peer. It begins with the
    /// least that every path carries, 536.
    pub mss_received_bytes: Option<u64>,
    /// The most bytes of data in a segment that this side accepts, beside the options of
    /// every segment.
    pub mss_announced_bytes: Option<u64>,
    /// The largest IP packet to the peer, as far as it is known.
    pub path_mtu_bytes: Option<u64>,
    /// What both sides agreed on.
    pub options: Option<Options>,
    /// The rate of the latest acknowledged bytes, in bytes a second.
    pub delivery_bytes_per_s: Option<u64>,
    /// How long bytes were in flight or waited to be sent, in nanoseconds.
    pub busy_ns: Option<u64>,
    /// How much of that the peer's receive window held them back.
    pub receive_window_limited_ns: Option<u64>,
    /// How much of that the send buffer was too small.
    pub send_buffer_limited_ns: Option<u64>,
}

/// The options that both sides of a connection agreed on when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Selective acknowledgements: RFC 2018.
    pub sack: bool,
    /// Timestamps: RFC 7323, section 3.
    pub timestamps: bool,
    /// Explicit congestion notification: RFC 3168.
    pub ecn: bool,
    /// Window scaling: RFC 7323, section 2. With `None` no window is larger than 64 KiB.
    pub window_scaling: Option<WindowScaling>,
}

/// By how many bits the windows are shifted; 0 is a shift like any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowScaling {
    /// The peer's windows, which bound what this side sends.
    pub peer: u8,
    /// This side's windows, which bound what the peer sends.
    pub own: u8,
}

/// Bits of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALING: u8 = 4;
const ECN: u8 = 8;

/// What the kernel reports where it has no least round trip yet.
const NO_LEAST: u64 = u32::MAX as u64;

impl KernelView {
    /// Reads a connection's state: two or three system calls. `None` where the system does
    /// not report it, or the socket is none of TCP.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn read(socket: &impl AsFd) -> Option<Self> {
        // Larger than the structure of today's kernels. A kernel writes what it knows of it.
        let mut bytes = [0; 512];
        let length = sys::tcp_info(socket, &mut bytes).ok()?;
        let view = Self::parse(&bytes[..length.min(bytes.len())]);
        Some(Self {
            path_mtu_bytes: sys::path_mtu(socket)
                .map_or(view.path_mtu_bytes, |mtu| Some(mtu.into())),
            ..view
        })
    }

    /// Not available elsewhere.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub const fn read<S>(_socket: &S) -> Option<Self> {
        None
    }

    /// The view of one connection after another to the same peer: what is counted adds up,
    /// the rest is the later one's. A sum with an unknown number is unknown.
    pub fn followed_by(self, later: Self) -> Self {
        let sum = |first: Option<u64>, second| Some(first?.saturating_add(second?));
        let least = self.least_rtt_ns.into_iter().chain(later.least_rtt_ns);
        Self {
            smoothed_rtt_ns: later.smoothed_rtt_ns.or(self.smoothed_rtt_ns),
            least_rtt_ns: least.min(),
            retransmits: sum(self.retransmits, later.retransmits),
            retransmitted_bytes: sum(self.retransmitted_bytes, later.retransmitted_bytes),
            data_segments_sent: sum(self.data_segments_sent, later.data_segments_sent),
            duplicates: sum(self.duplicates, later.duplicates),
            reordering: sum(self.reordering, later.reordering),
            out_of_order: sum(self.out_of_order, later.out_of_order),
            busy_ns: sum(self.busy_ns, later.busy_ns),
            receive_window_limited_ns: sum(
                self.receive_window_limited_ns,
                later.receive_window_limited_ns,
            ),
            send_buffer_limited_ns: sum(self.send_buffer_limited_ns, later.send_buffer_limited_ns),
            ..later
        }
    }

    /// The figures of a path in one line: `retransmits=0 least_rtt=14.0 us ...`.
    pub(crate) fn figures(&self) -> String {
        let time = |ns: u64| units::time(ns as f64);
        let whole = |number: u64| number.to_string();
        let figures = [
            ("retransmits", self.retransmits.map(whole)),
            ("least_rtt", self.least_rtt_ns.map(time)),
            ("smoothed_rtt", self.smoothed_rtt_ns.map(time)),
            ("mss", self.mss_sent_bytes.map(whole)),
            ("path_mtu", self.path_mtu_bytes.map(whole)),
        ];
        let texts = figures.map(|(name, figure)| {
            let figure = figure.unwrap_or_else(|| String::from("unknown"));
            format!("{name}={figure}")
        });
        texts.join(" ")
    }

    /// The same and what both ends can be compared by: the segments that are accepted, which
    /// are the peer's MSS unless something between makes it smaller, and what was agreed on.
    /// `window_scaling=7/10` is by 7 bits on the peer's side and 10 on this one.
    pub(crate) fn all_figures(&self) -> String {
        let unknown = || String::from("unknown");
        let yes = |is: bool| String::from(if is { "yes" } else { "no" });
        let scaling = |scaling: Option<WindowScaling>| match scaling {
            Some(WindowScaling { peer, own }) => format!("{peer}/{own}"),
            None => yes(false),
        };
        let announced = self
            .mss_announced_bytes
            .map_or_else(unknown, |mss| mss.to_string());
        let of = |text: &dyn Fn(Options) -> String| self.options.map_or_else(unknown, text);
        format!(
            "{} mss_announced={announced} sack={} timestamps={} window_scaling={} ecn={}",
            self.figures(),
            of(&|options| yes(options.sack)),
            of(&|options| yes(options.timestamps)),
            of(&|options| scaling(options.window_scaling)),
            of(&|options| yes(options.ecn)),
        )
    }

    /// Whether the peer's system has acknowledged all that was written, where this one tells. What
    /// the peer's window never had room for is in flight no more than what it has taken.
    pub(crate) fn is_all_acknowledged(&self) -> Option<bool> {
        Some(self.unacknowledged? == 0 && self.unsent_bytes.unwrap_or_default() == 0)
    }

    /// The view that the first bytes of a `struct tcp_info` give, as many as the kernel
    /// returned, in this machine's byte order.
    pub fn parse(info: &[u8]) -> Self {
        let four = |offset| {
            number::<4>(info, offset)
                .map(u32::from_ne_bytes)
                .map(u64::from)
        };
        let eight = |offset| number::<8>(info, offset).map(u64::from_ne_bytes);
        let nanoseconds = |microseconds: u64| microseconds.saturating_mul(1000);
        let not_zero = |value: &u64| *value != 0;
        Self {
            smoothed_rtt_ns: four(68).filter(not_zero).map(nanoseconds),
            least_rtt_ns: four(148).filter(|us| *us != NO_LEAST).map(nanoseconds),
            retransmits: four(100),
            retransmitted_bytes: eight(208),
            data_segments_sent: four(156),
            timeouts: info.get(2).copied().map(u64::from),
            unacknowledged: four(24),
            unsent_bytes: four(144),
            lost: four(32),
            duplicates: four(216),
            reordering: four(220),
            out_of_order: four(224),
            mss_sent_bytes: four(16),
            mss_received_bytes: four(20),
            mss_announced_bytes: four(84),
            path_mtu_bytes: four(60).filter(not_zero),
            options: Options::parse(info),
            // 0 stands for a rate that was not measured.
            delivery_bytes_per_s: eight(160).filter(not_zero),
            busy_ns: eight(168).map(nanoseconds),
            receive_window_limited_ns: eight(176).map(nanoseconds),
            send_buffer_limited_ns: eight(184).map(nanoseconds),
        }
    }
}

impl Options {
    fn parse(info: &[u8]) -> Option<Self> {
        let (&bits, &shifts) = (info.get(5)?, info.get(6)?);
        // Two bit fields of C, which begin at the low end where integers do.
        let (low, high) = (shifts & 0xf, shifts >> 4);
        let (peer, own) = match cfg!(target_endian = "little") {
            true => (low, high),
            false => (high, low),
        };
        let has = |bit| bits & bit != 0;
        Some(Self {
            sack: has(SACK),
            timestamps: has(TIMESTAMPS),
            ecn: has(ECN),
            window_scaling: has(WINDOW_SCALING).then_some(WindowScaling { peer, own }),
        })
    }
}

/// The bytes of a number, if the kernel returned all of them.
fn number<const SIZE: usize>(info: &[u8], offset: usize) -> Option<[u8; SIZE]> {
    info.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure whose every byte is 0 but for these numbers.
    fn info(numbers: &[(usize, &[u8])]) -> Vec<u8> {
        let mut info = vec![0; 248];
        for (offset, bytes) in numbers {
            info[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        info
    }

    fn shifts(peer: u8, own: u8) -> u8 {
        match cfg!(target_endian = "little") {
            true => peer | own << 4,
            false => peer << 4 | own,
        }
    }

    /// Each field with a value of its own.
    fn full() -> Vec<u8> {
        let four = u32::to_ne_bytes;
        let eight = u64::to_ne_bytes;
        info(&[
            (2, &[3]),
            (5, &[SACK | TIMESTAMPS | WINDOW_SCALING | ECN]),
            (6, &[shifts(7, 10)]),
            (16, &four(1448)),
            (20, &four(1348)),
            (24, &four(11)),
            (32, &four(5)),
            (60, &four(1500)),
            (68, &four(250)),
            (84, &four(1460)),
            (100, &four(42)),
            (144, &four(12)),
            (148, &four(120)),
            (156, &four(9000)),
            (160, &eight(1_250_000)),
            (168, &eight(7_000_000)),
            (176, &eight(2_000_000)),
            (184, &eight(1_000_000)),
            (208, &eight(60_000)),
            (216, &four(4)),
            (220, &four(6)),
            (224, &four(8)),
        ])
    }

    fn view() -> KernelView {
        KernelView {
            smoothed_rtt_ns: Some(250_000),
            least_rtt_ns: Some(120_000),
            retransmits: Some(42),
            retransmitted_bytes: Some(60_000),
            data_segments_sent: Some(9000),
            timeouts: Some(3),
            unacknowledged: Some(11),
            unsent_bytes: Some(12),
            lost: Some(5),
            duplicates: Some(4),
            reordering: Some(6),
            out_of_order: Some(8),
            mss_sent_bytes: Some(1448),
            mss_received_bytes: Some(1348),
            mss_announced_bytes: Some(1460),
            path_mtu_bytes: Some(1500),
            options: Some(Options {
                sack: true,
                timestamps: true,
                ecn: true,
                window_scaling: Some(WindowScaling { peer: 7, own: 10 }),
            }),
            delivery_bytes_per_s: Some(1_250_000),
            busy_ns: Some(7_000_000_000),
            receive_window_limited_ns: Some(2_000_000_000),
            send_buffer_limited_ns: Some(1_000_000_000),
        }
    }

    #[test]
    fn all_figures_have_what_both_ends_can_be_compared_by() {
        assert_eq!(
            view().all_figures(),
            "retransmits=42 least_rtt=120 us smoothed_rtt=250 us mss=1448 path_mtu=1500 \
             mss_announced=1460 sack=yes timestamps=yes window_scaling=7/10 ecn=yes"
        );
        let none = KernelView {
            options: Some(Options::default()),
            ..KernelView::default()
        };
        let end = " mss_announced=unknown sack=no timestamps=no window_scaling=no ecn=no";
        assert!(none.all_figures().ends_with(end), "{}", none.all_figures());
        let unknown = KernelView::default().all_figures();
        assert!(unknown.ends_with(" window_scaling=unknown ecn=unknown"));
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        assert_eq!(KernelView::parse(&full()), view());
    }

    #[test]
    fn what_an_older_kernel_lacks_is_unknown_and_the_rest_is_not() {
        let of = |length: usize| KernelView::parse(&full()[..length]);
        // Linux 4.19 without the last number of 5.4, then as 4.18, 4.9, 4.5 and 3.14 have it.
        let mut expected = view();
        expected.out_of_order = None;
        assert_eq!(of(224), expected);
        (expected.retransmitted_bytes, expected.reordering) = (None, None);
        expected.duplicates = None;
        assert_eq!(of(200), expected);
        expected.busy_ns = None;
        (
            expected.receive_window_limited_ns,
            expected.send_buffer_limited_ns,
        ) = (None, None);
        assert_eq!(of(168), expected);
        (expected.least_rtt_ns, expected.data_segments_sent) = (None, None);
        expected.delivery_bytes_per_s = None;
        assert_eq!(of(144), expected);
        assert_eq!(of(104), expected);
        assert_eq!(of(0), KernelView::default());
    }

    #[test]
    fn a_number_that_is_cut_off_is_unknown_and_no_length_makes_a_zero() {
        let full = full();
        let whole = serde_json::to_value(view()).unwrap();
        for length in 0..=full.len() {
            let part = serde_json::to_value(KernelView::parse(&full[..length])).unwrap();
            for (name, value) in part.as_object().unwrap() {
                assert!(
                    value.is_null() || *value == whole[name],
                    "{name} at {length}"
                );
            }
        }
        assert_eq!(KernelView::parse(&full[..103]).retransmits, None);
        assert_eq!(KernelView::parse(&full[..104]).retransmits, Some(42));
    }

    #[test]
    fn a_counter_of_zero_is_zero_and_what_was_not_measured_is_unknown() {
        let view = KernelView::parse(&info(&[(148, &u32::MAX.to_ne_bytes())]));
        assert_eq!(
            (view.retransmits, view.lost, view.busy_ns),
            (Some(0), Some(0), Some(0))
        );
        assert_eq!((view.smoothed_rtt_ns, view.least_rtt_ns), (None, None));
        assert_eq!(
            (view.delivery_bytes_per_s, view.path_mtu_bytes),
            (None, None)
        );
    }

    #[test]
    fn the_counters_of_one_connection_after_another_add_up_and_the_rest_is_the_laters() {
        let later = KernelView {
            retransmits: Some(1),
            least_rtt_ns: Some(200_000),
            reordering: None,
            mss_sent_bytes: Some(1240),
            smoothed_rtt_ns: None,
            ..view()
        };
        let both = view().followed_by(later);
        assert_eq!((both.retransmits, both.reordering), (Some(43), None));
        assert_eq!(
            (both.least_rtt_ns, both.mss_sent_bytes),
            (Some(120_000), Some(1240))
        );
        assert_eq!(both.smoothed_rtt_ns, Some(250_000));
        assert_eq!(both.busy_ns, Some(14_000_000_000));
        assert_eq!(
            both.figures(),
            "retransmits=43 least_rtt=120 us smoothed_rtt=250 us mss=1240 path_mtu=1500"
        );
        let unknown = KernelView::default().figures();
        assert!(unknown.starts_with("retransmits=unknown least_rtt=unknown"));
    }

    #[test]
    fn a_window_scale_of_zero_is_not_the_lack_of_window_scaling() {
        let scaling = |bits| KernelView::parse(&info(&[(5, &[bits])])).options.unwrap();
        let zero = WindowScaling { peer: 0, own: 0 };
        assert_eq!(scaling(WINDOW_SCALING).window_scaling, Some(zero));
        assert_eq!(scaling(SACK).window_scaling, None);
        assert!(scaling(SACK).sack && !scaling(TIMESTAMPS).sack);
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod system_tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn exchanged(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"message").unwrap();
        let mut received = [0; 7];
        server.read_exact(&mut received).unwrap();
        server.write_all(&received).unwrap();
        client.read_exact(&mut received).unwrap();
        (client, server)
    }

    #[test]
    fn a_connection_over_loopback_has_a_view_in_both_families() {
        for (address, headers) in [("127.0.0.1:0", 40), ("[::1]:0", 60)] {
            let (client, server) = exchanged(address);
            let [client, server] = [&client, &server].map(|end| KernelView::read(end).unwrap());
            assert!(client.smoothed_rtt_ns > Some(0), "{client:?}");
            assert!(client.least_rtt_ns <= client.smoothed_rtt_ns, "{client:?}");
            let mtu = client.path_mtu_bytes.unwrap();
            assert!(
                client.mss_sent_bytes.unwrap() <= mtu - headers,
                "{client:?}"
            );
            // Both are less the options that every segment has, 12 bytes of timestamps.
            let announced = client.mss_announced_bytes.unwrap();
            assert!(
                (mtu - headers - 12..=mtu - headers).contains(&announced),
                "{client:?}"
            );
            let [ours, theirs] = [client, server].map(|view| view.options.unwrap());
            assert_eq!(
                (ours.sack, ours.timestamps),
                (theirs.sack, theirs.timestamps)
            );
            // What one side scales, the other has to scale back.
            let [ours, theirs] = [ours, theirs].map(|options| options.window_scaling);
            let turned = theirs.map(|WindowScaling { peer, own }| WindowScaling {
                peer: own,
                own: peer,
            });
            assert_eq!(ours, turned);
        }
    }

    #[test]
    fn a_socket_that_is_none_of_tcp_has_no_view() {
        assert_eq!(
            KernelView::read(&UdpSocket::bind("127.0.0.1:0").unwrap()),
            None
        );
    }
}
