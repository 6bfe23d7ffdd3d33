//! `echopool ping`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};

use super::datagram_ping::{Asked, DatagramArgs};
use super::error::Error;
use super::exit::{Exit, usage_error};
use super::family::FamilyArgs;
use super::lines::{print, write_failed, write_json, write_line};
use super::values::{bytes, count, some_time, time};
use crate::base;
use crate::base::address::Address;
use crate::base::output::Output;
use crate::base::signals::on_signal;
use crate::base::units;
use crate::ping::event::Event;
use crate::ping::summary::Summary;
use crate::ping::{Ping, Plan};
use crate::probe::addresses::Addresses;
use crate::probe::datagram::payload::MOST_BYTES as DATAGRAM_BYTES;
use crate::proto::{Protocol, stamp};

/// The largest message, in bytes. One echo is held in memory.
const MOST_BYTES: usize = 64 << 20;

/// The shortest interval that is not zero: fewer systems send a datagram in less.
const LEAST_INTERVAL: Duration = Duration::from_micros(10);

/// Send a message at intervals and show each round-trip time
///
/// Like ping(8), over one TCP connection, which is made again when it is lost, or with --udp
/// by datagrams, or with --stamp by test packets of RFC 8762. Every byte
/// that comes back is compared with what was sent. A round trip lasts from just before a
/// message is sent until its last byte is back. Ctrl-C ends it with the summary.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162, and with --stamp 862.

If a name has several addresses, the first that answers is used. Attempts start 250 ms apart, and \
alternate between IPv6 and IPv4 (RFC 8305). After a failure the name is resolved again, at \
most once a second.

A message that is not back within the time-out is lost. If its echo comes later, that is \
reported as late; the message stays lost. A connection on which nothing comes for three \
time-outs, or on which bytes are missing or wrong, is closed, and the next message makes a new \
one. A message that could not be sent counts as sent and lost. No message is sent twice.

With --udp each message is a datagram, sent on schedule whether or not the ones before are \
back. A round trip ends when the kernel receives the echo. An echo that comes twice counts as \
a duplicate; one that comes after a later one's is reordered (RFC 4737), which is no failure. \
What this machine did not send, or dropped itself, is counted apart from what was lost. An echo \
names its datagram from 8 bytes on; of a smaller one the number alone is sent, as far as it \
fits, and of an empty one nothing. Of several addresses of a name the first is used that answers \
a datagram of 8 bytes, which is sent ahead.

With --stamp each message is a test packet of STAMP (RFC 8762), which reflectors of TWAMP light \
answer as well. The server's own time is in no round trip. A reflector that counts its answers \
tells in which direction packets were lost; one that copies the sender's numbers does not, \
which is said. Times of one way are shown only where both clocks are synchronized by their own \
account, with how wrong they may be. At the end up to three packets more are sent, which count \
nowhere, where the last ones were lost: their answers tell in which direction.

With --json each line is an object. The key \"event\" says what happened, \"at_ns\" when, \
counted from the start. Keys that end in _ns are nanoseconds.

Events:
  connected     address, time_ns, again (whether there was a connection before)
  disconnected  address, reason
  reply         address, seq, size_bytes, time_ns
  lost          seq, reason
  late          address, seq, size_bytes, time_ns (a lost one came back too late)
  corrupted     address, seq, offset_bytes (in the message), expected, received
                (the byte there), damage, looks_like (a service, or null)
  unasked       address, size_bytes, damage, looks_like (bytes that nothing was
                sent for)
  summary       sent, received, lost, late (of the lost), corrupted, under_way
                (when interrupted), elapsed_ns, min_ns, avg_ns, p50_ns (null with
                fewer than 2 replies), p99_ns (null with fewer than 100), max_ns,
                stddev_ns, tcp (null where the system does not report it)
  failed        error (no message could be sent, as for a name that is unknown)

The object tcp and the last line of the summary have what this machine's TCP knows of the \
connection: what was sent again (retransmits), the least and the smoothed round trip of its \
segments, the bytes of a segment (mss), the largest packet of the path (path_mtu) and more. \
What the kernel does not count, or has not measured, is null or unknown, never 0. Of several \
connections counts are added up, the rest is of the last.

Events of --udp:
  reply         address, seq, source_port, size_bytes, time_ns, ttl (it arrived with),
                hops (that this tells), dscp, ecn (of the echo), reordered
  late, duplicate  the same
  lost          seq, source_port, reason (also an ICMP error)
  not_sent      seq, source_port, reason (why this machine did not)
  corrupted     address, seq, source_port, damage
  unasked       address, source_port, size_bytes, damage (no echo of ours, or from
                another address)
  path_error    source_port, reason (an ICMP error that quotes too little to say of
                which of several datagrams)
  dropped_here  datagrams, wrong_checksums (at most so many of them), source_port
                (by the full queue of our own socket, or for a wrong checksum)
  sending_waits seq, reason (more short datagrams are awaited than their bytes tell
                apart, or more than are remembered; said once)
  summary       those above and refused (of the lost, by an ICMP error),
                unnamed_errors (path_error), duplicates, reordered, not_sent,
                held_back (sent later for that), dropped_here, wrong_checksums, foreign
                (of the corrupted), variation_p50_ns and variation_p99_ns (of the round
                trips of two in a row, RFC 3393), jitter_ns (RFC 3550), hops (least and
                most), sent_marks, marks (dscp, ecn, echoes), ports (source_port, sent,
                received, lost)

Events of --stamp are those of --udp, and
  reply         time_ns (without the server's own time), server_seq (the answer's
                number), server_ns (the server's own time, null if it can't be
                right), to_server_ns, to_client_ns (null without synchronized
                clocks), server_ttl (with which the packet arrived there)
  lost          way (to_server or to_client), where it is known of this one
  summary       lost_to_server, lost_to_client (null where the reflector keeps no
                count), lost_either_way, is_stateful, restarts (of its count),
                server_ns, to_server_ns, to_client_ns (medians, null without
                synchronized clocks), least_one_way_ns (there, back),
                one_way_error_ns, variation_to_server_p50_ns,
                variation_to_client_p50_ns (without a common clock), clock and
                server_clock (is_synchronized, error_ns, format)

Examples:
  echopool ping 10.0.0.7                one message a second, until Ctrl-C
  echopool ping -c 100 -i 0.1 HOST:7    a hundred messages, ten a second
  echopool ping --udp --dscp EF HOST    datagrams, marked for expedited forwarding
  echopool ping --udp --ports 32 -c 320 -i 0.01 HOST   does one of 32 ports lose?
  echopool ping --stamp -c 100 ROUTER   loss and delay of each direction
  echopool ping --json HOST | jq .      a line of JSON per event

Exit codes:
  0    every message came back in time and unchanged, and nothing else came
  1    otherwise
  2    wrong usage
  130  a second signal; the kernel merges those that come almost together")]
pub(super) struct PingArgs {
    /// Messages to send [default: until Ctrl-C]
    #[arg(short, long, value_name = "COUNT", value_parser = count::<u64>(1..=u64::MAX))]
    count: Option<u64>,

    /// Time from one message to the next; 0 sends the next as soon as a reply is back
    #[arg(short, long, value_name = "DURATION", default_value = "1", value_parser = interval)]
    interval: Duration,

    /// Bytes per message; with --stamp 44 by default [default: 64]
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    size: Option<usize>,

    /// Time limit for an echo, and for connecting
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "1",
          value_parser = some_time)]
    timeout: Duration,

    /// Print only the first line and the summary
    #[arg(short, long)]
    quiet: bool,

    /// Print a line of JSON per event
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    datagrams: DatagramArgs,

    #[command(flatten)]
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR", value_hint = ValueHint::Hostname)]
    address: Address,
}

impl PingArgs {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let mut failed = false;
        self.check_size();
        let summary = match self.datagrams.are_asked_for() {
            true => self.ping_datagrams(&mut failed),
            false => self.ping(&mut failed).map(|summary| summary.all_well()),
        };
        if let (Err(error), true) = (&summary, self.json) {
            write_failed(error);
        }
        match summary {
            // Its reader may have left, but a message that has failed so far counts.
            Err(error) if Exit::from(&error) == Exit::Success && failed => Ok(Exit::Failure),
            Err(error) => Err(error),
            Ok(true) => Ok(Exit::Success),
            Ok(false) => Ok(Exit::Failure),
        }
    }

    /// The size of a message.
    const fn size(&self) -> usize {
        match (self.size, self.datagrams.stamp) {
            (Some(size), _) => size,
            (None, true) => stamp::LENGTH,
            (None, false) => 64,
        }
    }

    /// Ends the program where the transport can't carry such a message.
    fn check_size(&self) {
        let (size, datagrams) = (self.size(), &self.datagrams);
        if size == 0 && !datagrams.are_asked_for() {
            usage_error("a message has a byte at the least: --size 0 needs --udp");
        }
        if size > DATAGRAM_BYTES && datagrams.are_asked_for() {
            usage_error("a datagram has at most 65,507 bytes: choose a smaller --size");
        }
        if size < stamp::LENGTH && datagrams.stamp {
            usage_error("a packet of STAMP has at least 44 bytes: choose a larger --size");
        }
    }

    fn ping_datagrams(&self, failed: &mut bool) -> Result<bool, Error> {
        Output::Standard.check()?;
        let port = self.datagrams.default_port();
        let family = self.family.family();
        let addresses = self.address.resolve_of(family, "localhost", port)?;
        let asked = Asked {
            addresses,
            count: self.count,
            interval: self.interval,
            size: self.size(),
            timeout: self.timeout,
            seed: RandomState::new().hash_one(()),
            quiet: self.quiet,
            json: self.json,
        };
        self.datagrams.ping(asked, failed)
    }

    /// Sends the messages. Sets `failed` once one has failed, also where the event then can't
    /// be written.
    fn ping(&self, failed: &mut bool) -> Result<Summary, Error> {
        Output::Standard.check()?;
        let port = Protocol::Echo.default_port();
        let (address, family) = (self.address.clone(), self.family.family());
        let addresses =
            Addresses::resolved_by(move || address.resolve_of(family, "localhost", port))?;
        let found = addresses.known();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let name = found.join(" or ");
        let ping = Ping::new(Plan {
            addresses,
            count: self.count,
            interval: self.interval,
            size: self.size(),
            timeout: self.timeout,
            // Its keys are random, from the system.
            seed: RandomState::new().hash_one(()),
        })?;
        let stop = ping.stop();
        on_signal(move || stop.request())?;
        let started = Instant::now();
        if !self.json {
            let size = units::plain_count(self.size() as u64, "byte", "bytes");
            print(&format!("PING {name}: {size} a message"))?;
        }
        let summary = ping.run(&mut |event| {
            *failed |= event.is_failure();
            match event {
                _ if self.quiet => Ok(()),
                // The replies show that the first connection was made.
                Event::Connected { again: false, .. } if !self.json => Ok(()),
                event => self.write(event, started),
            }
        })?;
        *failed |= !summary.all_well();
        if !self.json {
            print(&format!("\n--- {name} echo statistics ---"))?;
        }
        self.write(&Event::Summary(Box::new(summary.clone())), started)
            .map_err(base::error::Error::Output)?;
        Ok(summary)
    }

    /// Writes an event as a line of text or of JSON.
    fn write(&self, event: &Event, started: Instant) -> io::Result<()> {
        match self.json {
            true => write_json(event, started),
            false => write_line(&event.to_string()),
        }
    }
}

/// A time from one message to the next.
fn interval(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time.is_zero() || time >= LEAST_INTERVAL => Ok(time),
        _ => Err(String::from(
            "it must be 10us or longer, or 0 to send the next message once a reply is back",
        )),
    }
}

/// A size, which may be 0: a datagram can be empty.
fn size(text: &str) -> Result<usize, String> {
    match text.trim() {
        "0" => Ok(0),
        text => bytes(MOST_BYTES)(text),
    }
}
