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

use crate::cpu;
use crate::machine::{self, Machine};
use crate::plot;
use crate::report;
use crate::results::Results;
use crate::roster::{Options, SERVERS, Server};
use crate::run::Plan;
use crate::scenario::{SCENARIOS, Scenario, Times};

/// Measure echopool beside its rivals, all in one run
///
/// Prints the tables and writes them with all values and two plots to the
/// folder of results.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub struct Cli {
    /// End in less than two minutes: fewer scenarios, rounds and seconds
    #[arg(long)]
    quick: bool,

    /// Only these scenarios, by name or the beginning of several names
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,

    /// Only these servers
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    servers: Vec<String>,

    /// How often every server is measured in every scenario [default: 3, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,

    /// The length of one measurement in seconds [default: 1, quick: 0.3]
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,

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

    /// List scenarios and servers
    #[arg(long)]
    list: bool,
}

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
    let start = Instant::now();
    let _only = only_run()?;
    let mut plan = cli.plan()?;
    let mut results = cli.describe(&plan);
    results.absent = plan.prepare();
    for (name, reason) in &results.absent {
        eprintln!("{name} is absent: {reason}");
    }
    for scenario in &plan.scenarios {
        let outcome = plan.run(scenario, &results.machine, progress);
        progress("");
        write!(io::stdout(), "{}", report::section(&outcome))?;
        results.scenarios.push(outcome);
    }
    let file = cli.write(&results)?;
    let seconds = start.elapsed().as_secs();
    eprintln!("results after {seconds} s: {}", file.display());
    Ok(())
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
        let (rounds, seconds) = if self.quick { (2, 0.3) } else { (3, 1.0) };
        let measure = Duration::from_secs_f64(self.seconds.unwrap_or(seconds));
        let own = env::current_exe()?;
        let programs = own.parent().unwrap_or(Path::new(".")).to_owned();
        let work = programs.join("compare-work");
        fs::create_dir_all(&work)?;
        let beside = || programs.join("echopool");
        Ok(Plan {
            scenarios: self.scenarios()?,
            servers: self.chosen_servers()?,
            rounds: self.rounds.map_or(rounds, usize::from),
            times: Times {
                warm_up: measure / 3,
                measure,
            },
            cpus: cpu::allowed()?,
            options: Options {
                echopool: self.echopool.clone().unwrap_or_else(beside),
                baseline: self.baseline.clone(),
                buffer: usize::try_from(self.buffer)?,
                programs,
                work,
            },
        })
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
        // Without a baseline it would be told to be absent in every run.
        let chosen = chosen.filter(|one| one.name != "baseline" || self.baseline.is_some());
        Ok(chosen.collect())
    }

    fn describe(&self, plan: &Plan) -> Results {
        let arguments: Vec<String> = env::args().skip(1).collect();
        Results {
            date: machine::date(),
            command: ["compare".to_owned(), arguments.join(" ")].join(" "),
            commit: machine::commit(),
            machine: Machine::here(plan.cpus.len()),
            versions: machine::versions(&plan.options),
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
        fs::write(file(".md"), report::markdown(results))?;
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
            ["stream-1", "stream-16", "stream-16-workers-2", "churn"]
        );
        assert!(names(&["--only", "pong"]).is_err());
    }

    #[test]
    fn the_quick_run_has_fewer_scenarios() {
        let quick = names(&["--quick"]).unwrap();
        assert!(quick.len() >= 6 && quick.len() < SCENARIOS.len());
        assert_eq!(names(&[]).unwrap().len(), SCENARIOS.len());
    }
}
