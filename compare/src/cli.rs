//! The command line.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::fs::{FlockOperation, flock};

use crate::load::times::Times;
use crate::results::markdown;
use crate::results::outcome::Results;
use crate::results::plot;
use crate::results::versions;
use crate::run::Plan;
use crate::scenario::definition::Scenario;
use crate::scenario::list::SCENARIOS;
use crate::server::definition::{BASELINE, Server};
use crate::server::list::SERVERS;
use crate::server::options::Options;
use crate::system::machine::{self, Machine};
use crate::system::network;
use crate::system::placement;

/// Measure echopool beside its rivals, all in one run
///
/// Prints the tables and writes them with all values and two plots to the
/// folder of results.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// End in less than two minutes: fewer scenarios, rounds and seconds
    ///
    /// Each scenario has its share of 95 seconds; what would begin later is left
    /// out, and the report says so. Not with --only, --rounds or --seconds, which
    /// may ask for more.
    #[arg(long)]
    quick: bool,

    /// Only these scenarios, by name or the beginning of several names
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,

    /// Only these servers
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<String>,

    /// How often every server is measured in every scenario [default: 3, quick: 2,
    /// with --baseline: 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,

    /// The length of one measurement in seconds [default: 1, quick: 0.25]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,

    /// Threads of the load, each on a CPU of its own where there are enough
    /// [default: 1, and what a scenario that is named for it has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    load_threads: Option<u16>,

    /// The rivals' receive buffer in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024,
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    buffer: u32,

    /// The echopool binary [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    echopool: Option<PathBuf>,

    /// Another build of echopool, to be measured beside it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Where the results go
    #[arg(long, value_name = "FOLDER",
          default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"), hide_default_value = true)]
    results: PathBuf,

    /// Measure in the system's network, also where its congestion control paces
    ///
    /// BBR's timers take most of the CPU time of a stream on loopback. Without this option
    /// servers and load then have a network namespace with another congestion control.
    #[arg(long)]
    keep_pacing: bool,

    /// List scenarios and servers
    #[arg(long)]
    list: bool,
}

/// No measurement of a quick run begins later; the last one takes what is left of
/// two minutes at most.
const QUICK_TIME: Duration = Duration::from_secs(95);

/// A measurement takes at most a minute.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err(String::from("it must be a number from 0.05 to 60")),
    }
}

/// Parses the command line and does what it says.
///
/// # Errors
/// A name is unknown, or results could not be written.
pub fn run() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    if cli.list {
        return Ok(list()?);
    }
    let _only = only_run()?;
    let congestion_control = match cli.keep_pacing {
        true => network::congestion_control()?,
        false => network::leave_pacing()?,
    };
    let mut plan = cli.plan()?;
    let mut results = cli.describe(&plan, &congestion_control);
    results.absent = plan.prepare();
    for (name, reason) in &results.absent {
        eprintln!("{name} is absent: {reason}");
    }
    let start = Instant::now();
    let shares = cli.limit().map(|limit| shares(limit, plan.scenarios.len()));
    for (place, scenario) in plan.scenarios.clone().into_iter().enumerate() {
        plan.until = shares.as_ref().map(|shares| start + shares[place]);
        let outcome = plan.run(scenario, &results.machine, progress);
        progress("");
        write!(io::stdout(), "{}", markdown::section(&outcome))?;
        results.scenarios.push(outcome);
    }
    let file = cli.write(&results)?;
    let seconds = start.elapsed().as_secs();
    eprintln!("results after {seconds} s: {}", file.display());
    Ok(())
}

/// Until when each of so many scenarios may begin measurements: an equal share of
/// the limit, and what those before have left. So a slow machine has rounds less of
/// all rather than nothing of the last ones.
fn shares(limit: Duration, scenarios: usize) -> Vec<Duration> {
    let count = u32::try_from(scenarios).unwrap_or(u32::MAX);
    (1..=count).map(|place| limit * place / count).collect()
}

/// Waits until no other run measures on this machine; none does while the file
/// that is returned is open.
fn only_run() -> io::Result<File> {
    let path = env::temp_dir().join("echopool-compare.lock");
    let file = File::create(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("waiting for another run to end");
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

fn list() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Scenarios:")?;
    for scenario in SCENARIOS {
        writeln!(out, "  {:24} {}", scenario.name, scenario.describe())?;
    }
    writeln!(out, "\nServers:")?;
    for server in SERVERS {
        writeln!(out, "  {:24} {}", server.name, server.about)?;
    }
    Ok(())
}

/// One line that the next one replaces, on a terminal only.
fn progress(line: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

impl Cli {
    fn plan(&self) -> Result<Plan, Box<dyn Error>> {
        let own = env::current_exe()?;
        let programs = own.parent().unwrap_or(Path::new(".")).to_owned();
        let work = programs.join("compare-work");
        fs::create_dir_all(&work)?;
        let beside = || programs.join("echopool");
        Ok(Plan {
            scenarios: self.scenarios()?,
            servers: self.chosen_servers()?,
            rounds: self.rounds(),
            times: self.times(),
            load_threads: self.load_threads.map(usize::from),
            cpus: placement::allowed()?,
            until: None,
            options: Options {
                echopool: self.echopool.clone().unwrap_or_else(beside),
                baseline: self.baseline.clone(),
                buffer: usize::try_from(self.buffer)?,
                programs,
                work,
            },
        })
    }

    fn rounds(&self) -> usize {
        // Two builds differ by less than a server and its rivals do.
        let usual = match (self.quick, &self.baseline) {
            (true, _) => 2,
            (false, Some(_)) => 7,
            (false, None) => 3,
        };
        self.rounds.map_or(usual, usize::from)
    }

    fn times(&self) -> Times {
        let usual = if self.quick { 0.25 } else { 1.0 };
        let measure = Duration::from_secs_f64(self.seconds.unwrap_or(usual));
        Times {
            warm_up: measure / 3,
            measure,
        }
    }

    /// How long measurements may begin, without what has to be built before.
    fn limit(&self) -> Option<Duration> {
        let asks_for_more =
            !self.only.is_empty() || self.rounds.is_some() || self.seconds.is_some();
        (self.quick && !asks_for_more).then_some(QUICK_TIME)
    }

    fn scenarios(&self) -> Result<Vec<&'static Scenario>, String> {
        if self.only.is_empty() {
            let all = SCENARIOS.iter();
            return Ok(all.filter(|one| one.quick || !self.quick).collect());
        }
        let mut chosen = Vec::new();
        for name in &self.only {
            let exact = SCENARIOS.iter().filter(|one| one.name == name);
            let mut found: Vec<_> = exact.collect();
            if found.is_empty() {
                let begin = SCENARIOS.iter().filter(|one| one.name.starts_with(name));
                found.extend(begin);
            }
            if found.is_empty() {
                return Err(format!("there is no scenario {name}; --list names them"));
            }
            chosen.extend(found);
        }
        Ok(chosen)
    }

    fn chosen_servers(&self) -> Result<Vec<&'static Server>, String> {
        for name in &self.servers {
            if SERVERS.iter().all(|server| server.name != name) {
                return Err(format!("there is no server {name}; --list names them"));
            }
        }
        let named = |server: &&Server| self.servers.iter().any(|name| name == server.name);
        let chosen = SERVERS
            .iter()
            .filter(|one| self.servers.is_empty() || named(one));
        // Without a baseline every run would report it as absent.
        let chosen = chosen.filter(|one| one.name != BASELINE || self.baseline.is_some());
        Ok(chosen.collect())
    }

    fn describe(&self, plan: &Plan, congestion_control: &str) -> Results {
        let arguments: Vec<String> = env::args().skip(1).collect();
        Results {
            date: machine::date(),
            command: ["compare".to_owned(), arguments.join(" ")].join(" "),
            commit: versions::commit(),
            machine: Machine::here(plan.cpus.len(), congestion_control),
            versions: versions::versions(&plan.options),
            rounds: plan.rounds,
            measure_s: plan.times.measure.as_secs_f64(),
            warm_up_s: plan.times.warm_up.as_secs_f64(),
            rival_buffer_bytes: plan.options.buffer,
            absent: BTreeMap::new(),
            scenarios: Vec::new(),
        }
    }

    /// Writes report, values and plots. Those of a part of the run have a name
    /// of their own, so that they never replace those of a whole one. Returns the
    /// report's.
    fn write(&self, results: &Results) -> Result<PathBuf, Box<dyn Error>> {
        fs::create_dir_all(&self.results)?;
        let mut stem = results.machine.stem(&results.date);
        if !self.only.is_empty() || !self.servers.is_empty() {
            stem += "-part";
        } else if self.quick {
            stem += "-quick";
        }
        let file = |end: &str| self.results.join(format!("{stem}{end}"));
        fs::write(file(".md"), markdown::markdown(results))?;
        let json = serde_json::to_string_pretty(results)?;
        fs::write(file(".json"), json + "\n")?;
        plot::cost_per_round_trip(&file("-round-trip.svg"), &results.scenarios)?;
        plot::cost_per_gb(&file("-stream.svg"), &results.scenarios)?;
        Ok(file(".md"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn names(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
        let cli = Cli::parse_from([&["compare"], arguments].concat());
        let scenarios = cli.scenarios()?;
        Ok(scenarios.into_iter().map(|one| one.name).collect())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scenarios_are_chosen_by_name_or_beginning() {
        assert_eq!(names(&["--only", "ping-64-1"]).unwrap(), ["ping-64-1"]);
        assert_eq!(
            names(&["--only", "stream,churn"]).unwrap(),
            [
                "stream-1",
                "stream-4",
                "stream-16",
                "stream-64",
                "stream-16-workers-2",
                "churn"
            ]
        );
        assert!(names(&["--only", "pong"]).is_err());
    }

    #[test]
    fn the_quick_run_has_fewer_scenarios() {
        let quick = names(&["--quick"]).unwrap();
        assert!(quick.len() >= 6 && quick.len() < SCENARIOS.len());
        assert_eq!(names(&[]).unwrap().len(), SCENARIOS.len());
    }

    fn quick(more: &[&str]) -> Cli {
        Cli::parse_from([&["compare", "--quick"], more].concat())
    }

    #[test]
    fn a_quick_run_ends_within_two_minutes_whatever_the_servers_do() {
        let cli = quick(&[]);
        let times = cli.times();
        let scenarios = cli.scenarios().unwrap();
        let last = scenarios.iter().map(|one| one.longest(times)).max();
        let shares = shares(cli.limit().unwrap(), scenarios.len());
        let most = *shares.last().unwrap() + last.unwrap();
        assert!(most < Duration::from_secs(120), "{most:?}");
    }

    #[test]
    fn a_quick_run_has_time_for_all_it_measures() {
        let cli = quick(&[]);
        let Times { warm_up, measure } = cli.times();
        let servers = cli.chosen_servers().unwrap();
        let able = |scenario: &&Scenario| {
            let takes_part = |server: &&&Server| {
                server.unable(scenario.clients, scenario.workers).is_none()
                    && !scenario.excludes(server)
            };
            servers.iter().filter(takes_part).count()
        };
        let scenarios = cli.scenarios().unwrap();
        let measurements: usize = scenarios.iter().map(able).sum::<usize>() * cli.rounds();
        let planned = (warm_up + measure) * u32::try_from(measurements).unwrap();
        // A third is left for starts, ends and servers that stall.
        assert!(planned < QUICK_TIME * 2 / 3, "{planned:?}");
    }

    #[test]
    fn a_build_is_compared_with_an_earlier_one_in_seven_rounds() {
        let scenarios = "ping-64-50,ping-64-1000,stream-1,churn";
        let cli = Cli::parse_from([
            "compare",
            "--only",
            scenarios,
            "--baseline",
            "OLD",
            "--servers",
            "echopool,baseline",
        ]);
        let names: Vec<_> = cli
            .scenarios()
            .unwrap()
            .iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names.join(","), scenarios);
        let servers = cli.chosen_servers().unwrap();
        let servers: Vec<_> = servers.iter().map(|one| one.name).collect();
        assert_eq!(servers, ["echopool", "baseline"]);
        assert_eq!(cli.rounds(), 7);
        assert_eq!(Cli::parse_from(["compare"]).rounds(), 3);
    }

    #[test]
    fn every_scenario_has_its_share_of_the_time() {
        let seconds = |seconds: &[u64]| -> Vec<_> {
            seconds.iter().copied().map(Duration::from_secs).collect()
        };
        assert_eq!(shares(QUICK_TIME, 5), seconds(&[19, 38, 57, 76, 95]));
        assert_eq!(shares(QUICK_TIME, 0), []);
    }

    #[test]
    fn only_a_quick_run_as_it_is_has_a_limit() {
        assert!(quick(&["--servers", "echopool"]).limit().is_some());
        for more in [["--only", "churn"], ["--rounds", "9"], ["--seconds", "9"]] {
            assert!(quick(&more).limit().is_none());
        }
        assert!(Cli::parse_from(["compare"]).limit().is_none());
    }
}
