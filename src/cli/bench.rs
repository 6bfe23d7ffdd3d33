//! `echopool bench`.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::error::Error;
use super::exit::{Exit, usage_error};
use super::family::FamilyArgs;
use super::json::{Failure, write_json};
use super::outputs::check_distinct;
use super::values::{count, rate, sizes, some_time, time};
use crate::base;
use crate::base::address::Address;
use crate::base::output::Output;
use crate::base::signals::on_signal;
use crate::base::units;
use crate::bench;
use crate::bench::expect::Condition;
use crate::bench::lines::Lines;
use crate::bench::live::{Live, can_be_drawn};
use crate::bench::plan::{Arrivals, EXACT, Load, NO_DEPTH, Plan};
use crate::bench::progress::{Progress, Watch};
use crate::bench::results::{FORMAT, Results};
use crate::bench::source::Source;
use crate::probe::addresses::Addresses;
use crate::probe::datagram::payload::{MOST_BYTES, Payload};
use crate::proto::Protocol;
use crate::report::{csv, html, text};

/// The duration of a run without `--duration` and `--count`.
const DURATION: Duration = Duration::from_secs(10);

/// The most connections, and messages in flight on one.
const MOST: u64 = NO_DEPTH as u64;

/// How long a connection may take to be made, and a message to come back.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a datagram may take to come back: what takes longer is lost to whoever waits.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// Datagrams a second without `--rate`: half of what `echopool serve` answers a source.
const DATAGRAM_RATE: f64 = 1000.0;

/// Measure echo latency and throughput under load
///
/// Without --rate each message waits for the reply to the one before it (a closed loop): a
/// server that stalls also stops the load, and the percentiles hide the stall. With --rate
/// messages are due on a schedule, whatever the server does (an open loop), and response
/// times count from when they were due. Every byte is verified.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162. Any TCP echo server will do (RFC 862).

If a name has several addresses, the first that answers is used. Attempts start 250 ms apart, and \
alternate between IPv6 and IPv4 (RFC 8305).

A condition is a metric, one of < <= > >= = and a bound: 'p99<1ms', 'errors=0', 'rate>50k', \
'loss<0.1%'. Metrics are min, mean, stddev, max, any percentile (p50, p99.9), rate (messages per \
second), MB/s, Mbit/s, loss (in percent), and the counts errors, lost, in_flight and others; with \
--udp changed, late, duplicates, reordered, refused, unnamed_errors, not_sent, dropped_here and \
wrong_checksums, as numbers or in percent of those sent.

With --udp every datagram is sent when it is due, whether or not earlier ones are back. One that \
is not back within --timeout is lost, and late where it comes after that; in the response times it \
has the time-out at least. 'echopool serve' answers 2,000 a second of a source unless its \
--udp-rate says otherwise.

Examples:
  echopool bench 10.0.0.7                     one connection, 10 s
  echopool bench -c 50 -r 20k HOST            20,000 messages a second
  echopool bench -c 50 --expect 'p99<1ms' HOST
                                              exit with 3 if it does not hold
  echopool bench -c 50 --find-rate 'p99<1ms' HOST
                                              the highest rate that holds it
  echopool bench --udp -c 50 -r 1500 HOST     datagrams of 50 flows, loss and order
  echopool bench --udp -c 50 --find-rate 'loss<0.1%' HOST
                                              the highest rate with so little loss

Exit codes:
  0    it ran to its end, and every condition held
  1    it could not run, no message came back whole, bytes came back wrong, or an
       output could not be written
  2    wrong usage
  3    a condition did not hold
  130  it was interrupted; the first Ctrl-C ends the run, which still reports,
       marked as interrupted, a second one ends it at once; the kernel merges
       signals that come almost together")]
pub(super) struct BenchArgs {
    /// Connections open at once
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = count::<usize>(1..=MOST))]
    connections: usize,

    /// Bytes per message, or a range of equally likely sizes: 64, 16KiB, 1..1024
    #[arg(short, long, value_name = "BYTES|A..B", default_value = "64", value_parser = sizes)]
    size: RangeInclusive<usize>,

    /// Most messages in flight on a connection [default: 1; with --udp no limit, but 256 where
    /// a datagram has 1 byte, and 65536 where it has 2, since no more are told apart]
    #[arg(long, value_name = "N", value_parser = count::<usize>(1..=MOST))]
    depth: Option<usize>,

    /// Messages per second of all connections together: 1000, 50k, 0.5/s [default: as fast as
    /// replies come; 1000/s with --udp]
    #[arg(short, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How messages are spread over time, with --rate, --find-rate or --udp [default: uniform]
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,

    /// How long to measure [default: 10s without --count; 2s per rate with --find-rate]
    #[arg(short, long, value_name = "DURATION", value_parser = some_time)]
    duration: Option<Duration>,

    /// How many messages to measure
    #[arg(short = 'n', long, value_name = "N", value_parser = count::<u64>(1..=EXACT))]
    count: Option<u64>,

    /// How long to make load before measuring
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = time)]
    warmup: Duration,

    /// Threads that make the load; each can use a whole CPU
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = count::<usize>(1..=1024))]
    threads: usize,

    /// Send UDP datagrams, to the same port number, on schedule: each of --connections is a flow
    /// with a port of its own, and loss, order and copies are counted
    #[arg(long)]
    udp: bool,

    /// Open a new connection for each message, and time connect, first byte and echo separately
    #[arg(long, conflicts_with_all = ["stream", "depth"])]
    churn: bool,

    /// Send and receive as fast as the path allows, and report MB/s
    #[arg(long, conflicts_with_all = ["rate", "find_rate", "depth", "size", "count", "arrivals"])]
    stream: bool,

    /// Reconnect when a connection is lost, and report the times without a server. Every address
    /// of the name is used in turn, and after a failure the name is resolved again
    #[arg(long)]
    reconnect: bool,

    /// Local address to connect from, or a range to use in turn: 10.0.0.7,
    /// 127.0.0.1..127.0.0.200; any number of times. Each has ports of its own
    #[arg(long, value_name = "ADDR|A..B")]
    source: Vec<Source>,

    /// Time limit for connecting, and for a message to come back [default: 10s; 1s with --udp]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    timeout: Option<Duration>,

    /// Seed of bytes, sizes and arrivals, up to 2^53 - 1 [default: random]
    #[arg(long, value_name = "N", value_parser = count::<u64>(0..=EXACT))]
    seed: Option<u64>,

    /// Exit with 3 unless this holds, for instance 'p99<1ms'; any number of times
    #[arg(long, value_name = "CONDITION")]
    expect: Vec<Condition>,

    /// Search for the highest rate at which this holds, and report the run at that rate
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["rate", "count"])]
    find_rate: Option<Condition>,

    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<Output>,

    /// Write the results as CSV: a header and one row
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    csv: Option<Output>,

    /// Write a page with charts
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<Output>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR", value_hint = ValueHint::Hostname)]
    address: Address,
}

impl BenchArgs {
    pub(super) fn run(&self) -> Result<Exit, Error> {
        self.check();
        let results = self.measure();
        if let (Err(error), Some(output)) = (&results, &self.json) {
            // If that fails, the first error is the one to tell.
            let failure = Failure::new(FORMAT, error);
            let _ = output.write(|to| write_json(&failure, to));
        }
        let results = results?;
        self.report(&results)?;
        Ok(verdict(&results))
    }

    /// Makes the load and judges the results.
    fn measure(&self) -> Result<Results, Error> {
        self.check_outputs()?;
        let port = Protocol::Echo.default_port();
        let (address, family) = (self.address.clone(), self.family.family());
        let addresses =
            Addresses::resolved_by(move || address.resolve_of(family, "localhost", port))?;
        let stop = Arc::new(AtomicBool::new(false));
        on_signal({
            let stop = Arc::clone(&stop);
            move || !stop.swap(true, Ordering::SeqCst)
        })?;
        let plan = self.plan();
        let mut watch = self.watch();
        let mut results = match &self.find_rate {
            Some(condition) => bench::find_rate(&addresses, &plan, condition, &stop, &mut *watch)?,
            None => bench::run(&addresses, &plan, &stop, &mut *watch)?,
        };
        drop(watch);
        let searched = self
            .find_rate
            .iter()
            .map(|each| each.check_search(&results));
        let expected = self.expect.iter().map(|each| each.check(&results));
        results.expectations = searched.chain(expected).collect();
        Ok(results)
    }

    /// Ends the program as for wrong usage where options do not go together.
    fn check(&self) {
        self.check_transport();
        self.check_conditions();
        check_distinct(&self.outputs());
    }

    /// Ends the program where a condition can't be judged on such a load, or can't be searched
    /// for.
    fn check_conditions(&self) {
        let load = self.load();
        let conditions = self.find_rate.iter().chain(&self.expect);
        for condition in conditions {
            if let Err(reason) = condition.check_load(load) {
                usage_error(&format!("{condition} can't be judged: {reason}"));
            }
        }
        if let Some(condition) = &self.find_rate
            && !condition.bounds_load()
        {
            usage_error(&format!(
                "--find-rate '{condition}' has no highest rate: a higher rate only helps it; give \
                 what must stay below a bound, such as 'p99<1ms' or 'loss<0.1%'"
            ));
        }
    }

    /// Ends the program where the transport has no such thing.
    fn check_transport(&self) {
        if !self.udp {
            let has_pace = self.rate.is_some() || self.find_rate.is_some();
            if self.arrivals.is_some() && !has_pace {
                usage_error(
                    "--arrivals needs --rate, --find-rate or --udp: without, a message is \
                             sent when a reply has come",
                );
            }
            return;
        }
        for (is_given, option, why) in [
            (
                self.reconnect,
                "--reconnect",
                "no connection is lost, and losses are counted",
            ),
            (
                self.churn,
                "--churn",
                "there is no connection to open for each message",
            ),
            (
                self.stream,
                "--stream",
                "nothing holds a sender back, so it has a --rate",
            ),
        ] {
            if is_given {
                usage_error(&format!(
                    "{option} is for TCP: a datagram has no connection, {why}; \
                                      leave it out with --udp"
                ));
            }
        }
        if *self.size.end() > MOST_BYTES {
            usage_error("a datagram has at most 65,507 bytes: choose a smaller --size");
        }
        let most = self.most_in_flight();
        if self.depth.is_some_and(|depth| depth > most) {
            let bytes = units::count(*self.size.start() as u64, "byte", "bytes");
            let most = units::whole(most as u64);
            usage_error(&format!(
                "the echo of a datagram of {bytes} names one of the last {most} of its flow: \
                 choose a --depth of {most} at the most, or a larger --size"
            ));
        }
    }

    fn outputs(&self) -> Vec<(&'static str, &Output)> {
        let json = self.json.iter().map(|output| ("--json", output));
        let csv = self.csv.iter().map(|output| ("--csv", output));
        let html = self.html.iter().map(|output| ("--html", output));
        json.chain(csv).chain(html).collect()
    }

    const fn load(&self) -> Load {
        match (self.udp, self.churn, self.stream) {
            (true, ..) => Load::Datagrams,
            (_, true, _) => Load::Churn,
            (.., true) => Load::Stream,
            _ => Load::Messages,
        }
    }

    fn plan(&self) -> Plan {
        let is_bounded = self.count.is_some() || self.find_rate.is_some();
        Plan {
            load: self.load(),
            connections: self.connections,
            size_bytes: self.size.clone(),
            depth: self.depth.unwrap_or(match self.udp {
                true => self.most_in_flight(),
                false => 1,
            }),
            rate_per_s: self.rate(),
            arrivals: self.arrivals.unwrap_or(Arrivals::Uniform),
            duration: self.duration.or((!is_bounded).then_some(DURATION)),
            count: self.count,
            warmup: self.warmup,
            threads: self.threads,
            reconnect: self.reconnect,
            sources: self.source.clone(),
            timeout: self.timeout.unwrap_or(match self.udp {
                true => DATAGRAM_TIMEOUT,
                false => TIMEOUT,
            }),
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..=EXACT)),
        }
    }

    /// The most datagrams in flight on a flow: of the shortest ones, as many as an echo is told
    /// apart from.
    fn most_in_flight(&self) -> usize {
        let told_apart = Payload::told_apart(*self.size.start());
        usize::try_from(told_apart).map_or(NO_DEPTH, |most| most.min(NO_DEPTH))
    }

    /// The rate that was asked for, or the one that datagrams have without.
    fn rate(&self) -> Option<f64> {
        let searches = self.find_rate.is_some();
        let default = (self.udp && !searches).then_some(DATAGRAM_RATE);
        self.rate.or(default)
    }

    fn watch(&self) -> Box<dyn Watch> {
        match (self.quiet, can_be_drawn()) {
            (true, _) => Box::new(NoProgress),
            (false, true) => Box::new(Live::new(self.title(), self.stream)),
            (false, false) => Box::new(Lines::new(io::stderr())),
        }
    }

    /// The server and the load, in a line.
    fn title(&self) -> String {
        let host = self.address.host().unwrap_or("localhost");
        let port = self.address.port().unwrap_or(Protocol::Echo.default_port());
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let (one, many) = match self.udp {
            true => ("flow over UDP", "flows over UDP"),
            false => ("connection", "connections"),
        };
        let connections = units::count(self.connections as u64, one, many);
        let (least, most) = (self.size.start(), self.size.end());
        let size = match least == most {
            true => units::plain_count(*least as u64, "byte", "bytes"),
            false => format!(
                "{least} to {}",
                units::plain_count(*most as u64, "byte", "bytes")
            ),
        };
        let load = match (self.stream, self.churn) {
            (true, _) => String::from("stream"),
            (_, true) => format!("{size} each, then a new one"),
            _ => size,
        };
        let pace = match (self.rate(), &self.find_rate) {
            (Some(rate), _) => format!(", {}", units::rate(rate)),
            (_, Some(condition)) => format!(", highest rate with {condition}"),
            _ => String::new(),
        };
        format!("{host}:{port}  {connections}, {load}{pace}")
    }

    /// Whether the results go to standard output as text.
    fn shows_text(&self) -> bool {
        self.outputs()
            .iter()
            .all(|(_, to)| **to != Output::Standard)
    }

    /// Checks that every output can be written, before any load is made.
    fn check_outputs(&self) -> Result<(), base::error::Error> {
        if self.shows_text() {
            Output::Standard.check()?;
        }
        self.outputs().iter().try_for_each(|(_, to)| to.check())
    }

    /// Writes all outputs, also where one of them fails. Returns the first error.
    fn report(&self, results: &Results) -> Result<(), base::error::Error> {
        let mut written = Ok(());
        if self.shows_text() {
            written = written.and(Output::Standard.write(|to| text::write(results, to)));
        }
        if let Some(output) = &self.json {
            written = written.and(output.write(|to| write_json(results, to)));
        }
        if let Some(output) = &self.csv {
            written = written.and(output.write(|to| csv::write(results, to)));
        }
        if let Some(output) = &self.html {
            written = written.and(output.write(|to| html::write(results, to)));
        }
        written
    }
}

/// Shows no progress.
struct NoProgress;

impl Watch for NoProgress {
    fn progress(&mut self, _: &Progress<'_>) {}
}

/// The exit code of a run. Writes the expectations that failed to standard error.
fn verdict(results: &Results) -> Exit {
    let failed = results.expectations.iter().filter(|each| !each.held);
    let mut code = Exit::Success;
    for each in failed {
        // Not eprintln: it panics where standard error is closed.
        let _ = writeln!(
            io::stderr(),
            "echopool: expected {}, was {}",
            each.text,
            each.seen
        );
        code = Exit::Unmet;
    }
    if results.is_damaged() {
        return Exit::Failure;
    }
    if results.interrupted {
        return Exit::Interrupted;
    }
    if results.is_barren() {
        let _ = writeln!(io::stderr(), "echopool: {}", barren(results));
        return Exit::Failure;
    }
    code
}

/// Why a run without an echo has failed.
fn barren(results: &Results) -> String {
    let totals = &results.totals;
    match (results.plan.load, totals.sent) {
        (Load::Stream, _) => String::from("no byte came back"),
        (_, 0) => String::from("no message was sent while load was measured"),
        (Load::Datagrams, sent) => silent(results, sent),
        (_, 1) => String::from("the one message did not come back whole and unchanged"),
        (_, sent) => {
            let sent = units::count(sent, "message", "messages");
            format!("none of {sent} came back whole and unchanged")
        }
    }
}

/// Why no datagram came back: what the path said, or nothing.
fn silent(results: &Results, sent: u64) -> String {
    let none = match sent {
        1 => String::from("the one datagram did not come back"),
        _ => format!(
            "none of {} came back",
            units::count(sent, "datagram", "datagrams")
        ),
    };
    let counts = results.datagrams.as_ref().map(|it| it.counts);
    let refused = counts.map_or(0, |it| it.refused + it.unnamed_errors);
    let late = counts.map_or(0, |it| it.late);
    match results.examples.first().filter(|_| refused > 0) {
        Some(example) => format!("{none}: {example}"),
        None if late > 0 => format!(
            "{none} unchanged and in time: {} came later: choose a longer --timeout",
            units::whole(late)
        ),
        None => format!(
            "{none} unchanged and in time: nobody serves UDP there, a firewall drops them, or \
             their echoes take much longer than --timeout"
        ),
    }
}
