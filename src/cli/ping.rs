//! `echopool ping`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use serde::Serialize;

use super::error::Error;
use super::exit::Exit;
use super::family::FamilyArgs;
use super::values::{bytes, count, some_time, time};
use crate::base;
use crate::base::address::Address;
use crate::base::output::{Output, write_standard};
use crate::base::signals::on_signal;
use crate::ping::event::Event;
use crate::ping::summary::Summary;
use crate::ping::{Ping, Plan};
use crate::probe::addresses::Addresses;
use crate::proto::Protocol;

/// The largest message, in bytes. One echo is held in memory.
const MOST_BYTES: usize = 64 << 20;

/// Send a message at intervals and show each round-trip time
///
/// Like ping(8), over one TCP connection, which is made again when it is lost. Every byte
/// that comes back is compared with what was sent. A round trip lasts from just before a
/// message is sent until its last byte is back. Ctrl-C ends it with the summary.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162.

Of several addresses of a name the first that answers is used. Attempts start 250 ms apart, and \
alternate between IPv6 and IPv4 (RFC 8305). After a failure the name is resolved again, at \
most once a second.

A message that is not back within the time-out is lost. If its echo comes later, that is \
reported as late; the message stays lost. A connection on which nothing comes for three \
time-outs, or on which bytes are missing or wrong, is closed, and the next message makes a new \
one. A message that could not be sent counts as sent and lost. No message is sent twice.

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
                stddev_ns
  failed        error (no message could be sent, as for a name that is unknown)

Examples:
  echopool ping 10.0.0.7                one message a second, until Ctrl-C
  echopool ping -c 100 -i 0.1 HOST:7    a hundred messages, ten a second
  echopool ping --json HOST | jq .      a line of JSON per event

Exit codes:
  0    every message came back in time and unchanged, and nothing else came
  1    otherwise
  2    wrong usage
  130  a second signal")]
pub(super) struct PingArgs {
    /// Messages to send [default: until Ctrl-C]
    #[arg(short, long, value_name = "COUNT", value_parser = count::<u64>(1..=u64::MAX))]
    count: Option<u64>,

    /// Time from one message to the next; 0 sends the next as soon as a reply is back
    #[arg(short, long, value_name = "DURATION", default_value = "1", value_parser = time)]
    interval: Duration,

    /// Bytes per message
    #[arg(short, long, value_name = "SIZE", default_value_t = 64,
          value_parser = bytes(MOST_BYTES))]
    size: usize,

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
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR", value_hint = ValueHint::Hostname)]
    address: Address,
}

impl PingArgs {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let mut failed = false;
        let summary = self.ping(&mut failed);
        if let (Err(error), true) = (&summary, self.json) {
            let failed = Failed {
                at_ns: 0,
                event: "failed",
                error: error.to_string(),
            };
            // If that fails, the first error is the one to tell.
            let _ = serde_json::to_string(&failed).map(|line| print(&line));
        }
        match summary {
            // Its reader may have left, but a message that has failed so far counts.
            Err(error) if Exit::from(&error) == Exit::Success && failed => Ok(Exit::Failure),
            Err(error) => Err(error),
            Ok(summary) if summary.all_well() => Ok(Exit::Success),
            Ok(_) => Ok(Exit::Failure),
        }
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
            size: self.size,
            timeout: self.timeout,
            // Its keys are random, from the system.
            seed: RandomState::new().hash_one(()),
        })?;
        let stop = ping.stop();
        on_signal(move || stop.request())?;
        let started = Instant::now();
        if !self.json {
            print(&format!("PING {name}: {} bytes a message", self.size))?;
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
        self.write(&Event::Summary(summary.clone()), started)
            .map_err(base::error::Error::Output)?;
        Ok(summary)
    }

    /// Writes an event as a line of text or of JSON.
    fn write(&self, event: &Event, started: Instant) -> io::Result<()> {
        if !self.json {
            return write_line(&event.to_string());
        }
        let at_ns = started.elapsed().as_nanos();
        let stamped = Stamped { at_ns, event };
        write_line(&serde_json::to_string(&stamped)?)
    }
}

/// An event and when it was written, in nanoseconds from the start.
#[derive(Serialize)]
struct Stamped<'a> {
    at_ns: u128,
    #[serde(flatten)]
    event: &'a Event,
}

/// The line in place of all others where no message could be sent.
#[derive(Serialize)]
struct Failed {
    at_ns: u128,
    event: &'static str,
    error: String,
}

/// Writes a line that is no event.
fn print(line: &str) -> Result<(), Error> {
    write_line(line).map_err(|error| base::error::Error::Output(error).into())
}

fn write_line(line: &str) -> io::Result<()> {
    write_standard(format!("{line}\n").as_bytes())
}
