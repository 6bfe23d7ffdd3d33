//! `echopool check`.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueHint};

use super::clause_list::{About, chosen, list, names};
use super::error::Error;
use super::exit::Exit;
use super::family::FamilyArgs;
use super::json::{Failure, write_json};
use super::values::{OneOf, count, some_time, time_limit};
use crate::base;
use crate::base::address::Address;
use crate::base::open_files::raise_open_files;
use crate::base::output::{Output, write_standard};
use crate::base::signals::on_signal;
use crate::base::step::{StepLine, is_terminal};
use crate::check::report::{FORMAT, Outcome, Report, Verdict};
use crate::check::{self, Clause, Doing, Plan, clauses, datagram};
use crate::proto::Protocol;

/// The most connections open at once. The clause connect-storm has four times as many.
const MOST: u64 = 10_000;

/// Test whether a path carries TCP, or UDP, faithfully
///
/// The path is a server, with any load balancer, proxy, tunnel or firewall before it. Each
/// clause tests one property of TCP, or with --udp of UDP. Its line says pass, FAIL or skip, and
/// what was observed. Every byte that comes back is verified. If clauses fail, experiments find
/// the causes, and each cause is shown with its remedy. --list describes the clauses.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, this machine; without a \
port, 20162, 4000 with --counted, or 4001 with --whoami. Any TCP echo server will do, with \
--udp any UDP echo server (RFC 862).

Of several addresses of a name the first one that answers is used, the families in turn, each \
tried 250 ms after the one before (RFC 8305).

With --json one object is written at the end: format (\"echopool-check/1\"), addresses, \
protocol, passed, failed, skipped, interrupted, elapsed_ns, clauses, each with name, verdict \
(\"pass\", \"fail\" or \"skip\"), seen, usually, follows_from (null unless it failed), rfc and \
elapsed_ns, and diagnosis: causes, each with cause, text, advice, confidence (\"certain\" or \
\"likely\"), explains and evidence. docs/check.schema.json is its schema. Where no clause \
could be tested, as for a name that is unknown, it has format and error alone.

Examples:
  echopool check lb.example:7                every clause
  echopool check --thorough lb.example:7     with all bytes on a slow path, too
  echopool check --idle 5m lb.example:7      also a silent connection, for 5 minutes
  echopool check --only bytes,urgent HOST    two clauses
  echopool check --list                      what each clause proves
  echopool check --udp lb.example:7          every clause of datagrams

Exit codes:
  0    no clause failed
  1    a clause failed, or all were skipped
  2    wrong usage
  130  interrupted before the last clause, and none had failed

The first Ctrl-C ends the check with what was seen so far, a second one at once. The kernel \
merges signals of one kind that come almost together.")]
pub(super) struct CheckArgs {
    /// Check the counted one-shot protocol
    #[arg(long)]
    counted: bool,

    /// Check whether the server sees the address that connections come from, on its --whoami port
    #[arg(long, conflicts_with = "counted")]
    whoami: bool,

    /// Check the path of UDP datagrams, which has clauses of its own
    #[arg(long, conflicts_with_all = ["counted", "whoami", "budget", "thorough", "connections"])]
    udp: bool,

    /// Time limit for connecting, and for what is awaited; a long transfer may take as long as 16
    /// kbit/s needs
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = some_time)]
    timeout: Duration,

    /// Keep a connection silent for this long, then test whether it is alive [default: skip this
    /// clause]
    #[arg(long, value_name = "DURATION", value_parser = time_limit)]
    idle: Option<Duration>,

    /// Run no experiments after the clauses; infer causes from the clauses alone
    #[arg(long)]
    no_experiments: bool,

    /// Time limit for the data of each clause that sends much; a slow path is sent less
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = some_time)]
    budget: Duration,

    /// Send all data of every clause, however slow the path, and count it as a fault if urgent data
    /// is read out of line; the check ends after 15 minutes
    #[arg(long, conflicts_with = "budget")]
    thorough: bool,

    /// Connections open at once; choose more than the server has workers
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = count::<usize>(1..=MOST))]
    connections: usize,

    /// Test only these clauses: names with commas between them, any number of times. With `urgent`
    /// it is a fault if urgent data is read out of line
    #[arg(long, value_name = "CLAUSE", value_delimiter = ',', hide_possible_values = true,
          value_parser = OneOf(names()))]
    only: Vec<String>,

    /// Test all but these clauses
    #[arg(long, value_name = "CLAUSE", value_delimiter = ',', hide_possible_values = true,
          value_parser = OneOf(names()))]
    skip: Vec<String>,

    /// Describe the clauses and exit
    #[arg(long, conflicts_with = "json")]
    list: bool,

    /// Write one JSON object at the end instead of lines
    #[arg(long)]
    json: bool,

    /// Show no progress; otherwise a clause that takes longer than a second is named on standard
    /// error
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    family: FamilyArgs,

    /// The server
    #[arg(value_name = "ADDR", required_unless_present = "list",
          value_hint = ValueHint::Hostname)]
    address: Option<Address>,
}

/// How a check is stopped, and what it tells.
struct Told<'a> {
    stop: &'a AtomicBool,
    watch: &'a mut dyn FnMut(Doing),
    report: &'a mut dyn FnMut(&Outcome) -> io::Result<()>,
}

/// Tests clauses on the path to the first of the addresses that answers.
type Run<'a, C> = dyn Fn(Vec<SocketAddr>, &[&'static C], Told<'_>) -> io::Result<Report> + 'a;

impl CheckArgs {
    pub(super) fn run(&self) -> Result<Exit, Error> {
        match self.udp {
            true => self.run_all(datagram::clauses(), "udp", &|addresses, clauses, told| {
                let plan = self.datagram_plan(addresses);
                datagram::run(&plan, clauses, told.stop, told.watch, told.report)
            }),
            false => {
                let protocol = self.protocol();
                let (all, name) = (clauses(protocol), protocol.to_string());
                self.run_all(
                    all,
                    &name,
                    &|addresses, clauses: &[&'static Clause], told| {
                        let plan = self.plan(addresses);
                        check::run(&plan, clauses, told.stop, told.watch, told.report)
                    },
                )
            }
        }
    }

    /// Tests the chosen ones of a protocol's clauses, or lists them.
    fn run_all<C: About>(
        &self,
        all: &'static [C],
        protocol: &str,
        run: &Run<'_, C>,
    ) -> Result<Exit, Error> {
        let clauses = chosen(all, protocol, &self.only, &self.skip);
        let Some(address) = self.address.as_ref().filter(|_| !self.list) else {
            list(&clauses)?;
            return Ok(Exit::Success);
        };
        Output::Standard.check()?;
        let ended = self.check_path(address, &clauses, run);
        if let (Err(error), true) = (&ended, self.json) {
            // If that fails, the first error is the one to tell.
            let failure = Failure::new(FORMAT, error);
            let _ = Output::Standard.write(|to| write_json(&failure, to));
        }
        ended
    }

    fn plan(&self, addresses: Vec<SocketAddr>) -> Plan {
        Plan {
            protocol: self.protocol(),
            addresses,
            timeout: self.timeout,
            whole: Plan::usual_whole(self.timeout, self.budget(), self.idle),
            budget: self.budget(),
            idle: self.idle,
            connections: self.connections,
            experiments: !self.no_experiments,
            urgent_in_line: self.thorough || self.only.iter().any(|name| name == "urgent"),
            // Its keys are random, from the system.
            seed: RandomState::new().hash_one(()),
        }
    }

    fn datagram_plan(&self, addresses: Vec<SocketAddr>) -> datagram::Plan {
        datagram::Plan {
            addresses,
            timeout: self.timeout,
            whole: datagram::Plan::usual_whole(self.timeout, self.idle),
            idle: self.idle,
            experiments: !self.no_experiments,
            seed: RandomState::new().hash_one(()),
        }
    }

    /// Checks the path to a server.
    fn check_path<C>(
        &self,
        address: &Address,
        clauses: &[&'static C],
        run: &Run<'_, C>,
    ) -> Result<Exit, Error> {
        let (family, port) = (self.family.family(), self.protocol().default_port());
        let addresses = address.resolve_of(family, "localhost", port)?;
        raise_open_files();
        let stop = Arc::new(AtomicBool::new(false));
        on_signal({
            let stop = Arc::clone(&stop);
            move || !stop.swap(true, Ordering::SeqCst)
        })?;
        let mut failed = false;
        let run = |told: Told<'_>| run(addresses.clone(), clauses, told);
        match self.check(&run, &stop, &mut failed) {
            Ok(report) => Ok(verdict(&report)),
            // The reader of the output has closed it. Nothing is wrong with the check, but a
            // failure it has found so far counts.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(match failed {
                true => Exit::Failure,
                false => Exit::Success,
            }),
            Err(error) => Err(base::error::Error::Output(error).into()),
        }
    }

    /// Runs the check and writes its outcomes. Sets `failed` once a clause has failed, also
    /// where the outcome then can't be written.
    fn check(
        &self,
        run: &dyn Fn(Told<'_>) -> io::Result<Report>,
        stop: &AtomicBool,
        failed: &mut bool,
    ) -> io::Result<Report> {
        let line = RefCell::new(StepLine::on_standard_error());
        let shows = !self.quiet && (!self.json || is_terminal());
        let watch = &mut |doing: Doing| {
            if shows {
                let (step, how_far) = (step(&doing), how_far(&doing));
                line.borrow_mut().show(&step, &how_far);
            }
        };
        let report = &mut |outcome: &Outcome| {
            line.borrow_mut().end();
            *failed |= outcome.verdict == Verdict::Fail;
            match self.json {
                true => Ok(()),
                false => write_standard(format!("{outcome}\n").as_bytes()),
            }
        };
        let report = run(Told {
            stop,
            watch,
            report,
        })?;
        let mut end = Vec::new();
        match self.json {
            true => write_json(&report, &mut end)?,
            false => writeln!(end, "{report}")?,
        }
        write_standard(&end)?;
        Ok(report)
    }

    fn budget(&self) -> Option<Duration> {
        (!self.thorough).then_some(self.budget)
    }

    const fn protocol(&self) -> Protocol {
        match (self.counted, self.whoami) {
            (true, _) => Protocol::Counted,
            (_, true) => Protocol::Whoami,
            _ => Protocol::Echo,
        }
    }
}

/// The names of the clauses under test, the first two of them, with their place among all.
fn step(doing: &Doing) -> String {
    let Doing {
        names, number, of, ..
    } = doing;
    match &names[..] {
        [name] if *number == 0 => format!("{name} (experiment)"),
        [] => format!("clause {number} of {of}"),
        [name] => format!("{name} (clause {number} of {of})"),
        [name, other] => format!("{name} and {other} (of {of} clauses)"),
        [name, other, more @ ..] => {
            format!("{name}, {other} and {} more (of {of} clauses)", more.len())
        }
    }
}

/// How far they are, and how long it may take.
fn how_far(doing: &Doing) -> String {
    let seconds = |seconds| humantime::format_duration(Duration::from_secs(seconds));
    let elapsed = seconds(doing.elapsed.as_secs());
    match doing.lasts {
        Some(lasts) => format!("{elapsed} of {}", humantime::format_duration(lasts)),
        None => {
            let most = seconds(doing.at_most.as_secs_f64().round() as u64);
            format!("{elapsed} of at most {most}")
        }
    }
}

/// The exit code of a check.
fn verdict(report: &Report) -> Exit {
    match (report.failed, report.interrupted) {
        (1.., _) => Exit::Failure,
        (0, true) => Exit::Interrupted,
        // If every clause was skipped, a script must not read that as success.
        (0, false) if report.proves_nothing() => Exit::Failure,
        (0, false) => Exit::Success,
    }
}
