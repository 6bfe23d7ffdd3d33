//! `echopool bench`.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::{some_time, up_to};
use crate::address::Address;
use crate::bench::plan::{Arrivals, Load, Plan};
use crate::bench::progress::{Progress, Watch};
use crate::bench::{self};
use crate::error::Error;
use crate::proto::Protocol;
use crate::signals::on_signal;

/// How long a run is where nothing says so.
const DURATION: Duration = Duration::from_secs(10);

/// The longest message: what a machine surely has in memory and in a second.
const SIZE_MAX: u64 = 1 << 32;

/// The most connections: what a system's descriptors may number.
const CONNECTIONS_MAX: u64 = 1 << 24;

/// Measure how long echoes take, and how many there are a second
///
/// Without --rate each message waits for a reply to one before it (a closed
/// loop), so a server that stalls also stalls the load, and the percentiles
/// hide it. With --rate messages are due whatever the server does (an open
/// loop), and response times count from then. Every byte is verified.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162. Any TCP echo server will do (RFC 862).

Exit codes: 0 what was expected held, 1 it could not run, nothing came back or bytes came back \
wrong, 2 wrong usage, 3 an expectation failed, 130 a second Ctrl-C; the first ends the run, \
which still reports.")]
pub(super) struct Bench {
    /// Connections open at once
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = up_to(CONNECTIONS_MAX))]
    connections: usize,

    /// Bytes a message, or a range from which each size is as likely: 64, 16KiB, 1..1024
    #[arg(short, long, value_name = "BYTES|A..B", default_value = "64", value_parser = sizes)]
    size: RangeInclusive<usize>,

    /// Messages in flight on a connection at the most
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to(1 << 24))]
    depth: usize,

    /// Messages a second of all connections together: 1000, 50k, 0.5/s
    /// [default: as fast as the replies come]
    #[arg(short, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How messages are spread over time, with --rate
    #[arg(long, value_enum, default_value_t = Arrivals::Uniform)]
    arrivals: Arrivals,

    /// How long load is measured [default: 10s, without --count]
    #[arg(short, long, value_name = "DURATION", value_parser = some_time)]
    duration: Option<Duration>,

    /// How many messages are measured
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// How long load is made before it is measured
    #[arg(long, value_name = "DURATION", default_value = "1s",
          value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// Threads that make the load
    #[arg(long, value_name = "N", default_value = "1", value_parser = up_to(1024))]
    threads: usize,

    /// A new connection for each message; connect, first byte and echo are timed apart
    #[arg(long, conflicts_with_all = ["stream", "depth"])]
    churn: bool,

    /// Send and receive as fast as the path takes it, and tell MB/s
    #[arg(long, conflicts_with_all = ["rate", "depth", "size", "count", "arrivals"])]
    stream: bool,

    /// Make lost connections again, and tell of the times without a server
    #[arg(long)]
    reconnect: bool,

    /// How long a connection may take to be made, and a message to come back
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = some_time)]
    timeout: Duration,

    /// What bytes, sizes and arrivals are drawn from [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    /// The server
    #[arg(value_name = "ADDR", default_value = "")]
    address: String,
}

/// Watches nothing.
struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: &Progress<'_>) {}
}

impl Bench {
    pub(super) fn run(&self) -> Result<ExitCode, Error> {
        let address = match self.address.as_str() {
            "" => Address::from_port(Protocol::Echo.default_port()),
            text => text
                .parse()
                .map_err(|error| Error::Input(io::Error::other(error)))?,
        };
        let addresses = address.resolve("localhost", Protocol::Echo.default_port())?;
        let stop = Arc::new(AtomicBool::new(false));
        on_signal({
            let stop = Arc::clone(&stop);
            move || !stop.swap(true, Ordering::SeqCst)
        })?;
        let results = bench::run(&addresses, &self.plan(), &stop, &mut Unwatched)?;
        let text = serde_json::to_string_pretty(&results).map_err(|e| Error::Output(e.into()))?;
        writeln!(io::stdout(), "{text}").map_err(Error::Output)?;
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self) -> Plan {
        Plan {
            load: match (self.churn, self.stream) {
                (true, _) => Load::Churn,
                (_, true) => Load::Stream,
                _ => Load::Messages,
            },
            connections: self.connections,
            size_bytes: self.size.clone(),
            depth: self.depth,
            rate_per_s: self.rate,
            arrivals: self.arrivals,
            duration: match self.count {
                None => Some(self.duration.unwrap_or(DURATION)),
                Some(_) => self.duration,
            },
            count: self.count,
            warmup: self.warmup,
            threads: self.threads,
            reconnect: self.reconnect,
            timeout: self.timeout,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
        }
    }
}

/// A size, or two with `..` between them.
fn sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let one = |text: &str| match parse_size::parse_size(text) {
        Ok(size @ 1..=SIZE_MAX) => usize::try_from(size).map_err(|error| error.to_string()),
        Ok(_) => Err(format!("a message has 1 to {SIZE_MAX} bytes")),
        Err(error) => Err(error.to_string()),
    };
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (one(least)?, one(most.trim_start_matches('='))?),
        None => (one(text)?, one(text)?),
    };
    if least > most {
        return Err(format!("{least} is more than {most}"));
    }
    Ok(least..=most)
}

/// Messages a second, with `/s` behind or without.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let (digits, factor) = match number.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&number[..at], 1e3),
        Some((at, 'M')) => (&number[..at], 1e6),
        _ => (number, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate * factor),
        Ok(_) => Err(String::from("it must be more than nothing")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_two_ends() {
        assert_eq!(sizes("64"), Ok(64..=64));
        assert_eq!(sizes("16KiB"), Ok(16384..=16384));
        assert_eq!(sizes("2k"), Ok(2000..=2000));
        assert_eq!(sizes("1..1024"), Ok(1..=1024));
        for bad in ["", "0", "5..4", "..", "x", "-1"] {
            assert!(sizes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_may_have_a_unit_and_a_fraction() {
        assert_eq!(rate("50000"), Ok(50_000.0));
        assert_eq!(rate("50k/s"), Ok(50_000.0));
        assert_eq!(rate("1.5M"), Ok(1_500_000.0));
        assert_eq!(rate("0.5/s"), Ok(0.5));
        for bad in ["", "0", "-1", "inf", "nan", "k", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
