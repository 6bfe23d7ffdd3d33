//! The run: every scenario, every round, every server in rotated order.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use crate::load::times::Times;
use crate::results::metric::Sample;
use crate::results::outcome::{Outcome, ServerResults};
use crate::scenario::definition::{Kind, Scenario};
use crate::scenario::pace;
use crate::server::definition::{LOOP, Server};
use crate::server::list::SERVERS;
use crate::server::options::Options;
use crate::server::running::Running;
use crate::system::machine::Machine;
use crate::system::placement::Placement;

/// Descriptors that a process needs beside its connections.
const SPARE_FILES: u64 = 500;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the report.
    pub scenarios: Vec<&'static Scenario>,
    /// In the order of the tables; the order of running rotates.
    pub servers: Vec<&'static Server>,
    /// How often each is measured.
    pub rounds: usize,
    /// How long.
    pub times: Times,
    /// Threads of the load in all scenarios, instead of those that each has.
    pub load_threads: Option<usize>,
    /// What they are started with.
    pub options: Options,
    /// The CPUs to be used.
    pub cpus: Vec<usize>,
    /// No measurement begins after that.
    pub until: Option<Instant>,
}

/// Why something was not measured that would have begun after [`Plan::until`].
const OVER: &str = "the time for it was over";

impl Plan {
    /// Takes out the servers that can't take part. Returns them with the reason.
    pub fn prepare(&mut self) -> BTreeMap<String, String> {
        let mut absent = BTreeMap::new();
        self.servers.retain(|server| {
            let prepared = server.prepare(&self.options);
            if let Err(error) = &prepared {
                absent.insert(server.name.to_owned(), error.to_string());
            }
            prepared.is_ok()
        });
        absent
    }

    /// Runs one scenario; `progress` is called with what begins.
    #[must_use]
    pub fn run(
        &self,
        scenario: &Scenario,
        machine: &Machine,
        mut progress: impl FnMut(&str),
    ) -> Outcome {
        let scenario = &Scenario {
            load_threads: self.load_threads.unwrap_or(scenario.load_threads),
            ..*scenario
        };
        let placement = Placement::new(scenario.workers, scenario.load_threads, &self.cpus);
        let needed = scenario.clients as u64 + SPARE_FILES;
        let few_files = (needed > machine.open_files).then(|| {
            format!(
                "it needs {needed} open files and may have {}",
                machine.open_files
            )
        });
        let late = self.is_over().then(|| OVER.to_owned());
        let unfit = few_files.or(late);
        let paced = match scenario.kind {
            Kind::Paced(_) if unfit.is_none() => {
                progress(&format!("{}: the rate of {LOOP}", scenario.name));
                self.paced(scenario, &placement)
            }
            _ => Ok(*scenario),
        };
        let (scenario, unpaced) = match &paced {
            Ok(paced) => (paced, None),
            Err(error) => (scenario, Some(error.to_string())),
        };
        let mut outcome = Outcome {
            name: scenario.name.to_owned(),
            description: scenario.describe(),
            placement: placement.describe(),
            clients: scenario.clients,
            server_cpus: placement.server.len(),
            load_threads: scenario.load_threads,
            skipped: unfit.or(unpaced),
            servers: self.participants(scenario),
        };
        if outcome.skipped.is_some() {
            return outcome;
        }
        self.take_turns(&mut outcome.servers, |round, server| {
            progress(&format!(
                "{}, round {round}: {}",
                scenario.name, server.name
            ));
            if round == 1 {
                self.verify(scenario, server, &placement)?;
            }
            self.measure(scenario, server, &placement)
        });
        outcome.sum_up();
        outcome
    }

    /// Measures every server in every round, in rotated order, until it fails or
    /// the time is over. Rounds count from 1.
    fn take_turns(
        &self,
        results: &mut [ServerResults],
        mut measure: impl FnMut(usize, &Server) -> io::Result<Sample>,
    ) {
        for round in 0..self.rounds {
            for place in 0..self.servers.len() {
                let server = self.servers[(place + round) % self.servers.len()];
                let result = results.iter_mut().find(|one| one.name == server.name);
                let Some(result) = result.filter(|one| one.note.is_none()) else {
                    continue;
                };
                if self.is_over() {
                    result.note = Some(format!("not measured from round {} on: {OVER}", round + 1));
                    continue;
                }
                match measure(round + 1, server) {
                    Ok(sample) => result.rounds.push(sample),
                    Err(error) => result.note = Some(format!("failed: {error}")),
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// The servers that have a part in a scenario; those that are not able to
    /// carry a note.
    fn participants(&self, scenario: &Scenario) -> Vec<ServerResults> {
        let servers = self.servers.iter();
        servers
            .filter(|server| !scenario.excludes(server))
            .map(|server| ServerResults {
                note: server.unable(scenario.clients, scenario.workers),
                ..ServerResults::new(server.name, server.is_rival())
            })
            .collect()
    }

    /// The same scenario with the rate at which the plain loop loses nothing.
    fn paced(&self, scenario: &Scenario, placement: &Placement) -> io::Result<Scenario> {
        let reference = SERVERS.iter().find(|server| server.name == LOOP);
        let reference = reference.ok_or_else(|| io::Error::other("there is no such server"))?;
        reference.prepare(&self.options)?;
        let running = self.start(scenario, reference, placement)?;
        let times = Times {
            warm_up: self.times.warm_up / 2,
            measure: self.times.measure / 2,
        };
        match pace::highest(|rate| scenario.keeps_up(&running, rate, times))? {
            0 => Err(io::Error::other(format!("{LOOP} loses at every rate"))),
            rate => Ok(Scenario {
                kind: Kind::Paced(rate),
                ..*scenario
            }),
        }
    }

    fn start(
        &self,
        scenario: &Scenario,
        server: &Server,
        placement: &Placement,
    ) -> io::Result<Running> {
        let how = (scenario.workers, scenario.transport());
        Running::start(server, &self.options, how, placement)
    }

    /// Compares every byte of streams once, with a process of its own.
    fn verify(
        &self,
        scenario: &Scenario,
        server: &Server,
        placement: &Placement,
    ) -> io::Result<()> {
        if scenario.streams() == 0 {
            return Ok(());
        }
        let running = self.start(scenario, server, placement)?;
        scenario.verify(&running, self.times)
    }

    fn measure(
        &self,
        scenario: &Scenario,
        server: &Server,
        placement: &Placement,
    ) -> io::Result<Sample> {
        let running = self.start(scenario, server, placement)?;
        scenario.run(&running, self.times)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::results::markdown;
    use crate::results::metric::Metric;
    use crate::scenario::list::SCENARIOS;
    use crate::server::list::SERVERS;

    fn plan(until: Option<Instant>) -> Plan {
        Plan {
            scenarios: vec![&SCENARIOS[0]],
            servers: SERVERS.iter().take(3).collect(),
            rounds: 2,
            times: Times {
                warm_up: Duration::ZERO,
                measure: Duration::ZERO,
            },
            options: Options {
                echopool: PathBuf::new(),
                baseline: None,
                buffer: 1,
                programs: PathBuf::new(),
                work: PathBuf::new(),
            },
            load_threads: None,
            cpus: vec![0],
            until,
        }
    }

    fn outcome(plan: &Plan) -> Outcome {
        let scenario = plan.scenarios[0];
        Outcome {
            name: scenario.name.to_owned(),
            description: scenario.describe(),
            placement: String::new(),
            clients: scenario.clients,
            server_cpus: 1,
            load_threads: 1,
            skipped: None,
            servers: plan.participants(scenario),
        }
    }

    #[test]
    fn a_server_that_failed_is_named_and_not_tried_again() {
        let plan = plan(None);
        let mut outcome = outcome(&plan);
        let turns = RefCell::new(Vec::new());
        plan.take_turns(&mut outcome.servers, |round, server| {
            turns.borrow_mut().push((round, server.name));
            match server.name {
                "echopool-busy" => Err(io::Error::other("given up, it stalled")),
                _ => Ok(Sample::from([(Metric::RoundTrips, 1.0)])),
            }
        });
        let expected = [
            (1, "echopool"),
            (1, "echopool-busy"),
            (1, "baseline"),
            (2, "baseline"),
            (2, "echopool"),
        ];
        assert_eq!(turns.into_inner(), expected);
        outcome.sum_up();
        let text = markdown::section(&outcome);
        assert!(
            text.ends_with("\n- echopool-busy: failed: given up, it stalled\n"),
            "{text}"
        );
        assert!(!text.contains("| echopool-busy |"), "{text}");
    }

    #[test]
    fn nothing_begins_after_its_time_and_the_report_says_so() {
        let mut plan = plan(None);
        let mut outcome = outcome(&plan);
        plan.take_turns(&mut outcome.servers, |_, _| Ok(Sample::new()));
        assert!(
            outcome
                .servers
                .iter()
                .all(|server| server.rounds.len() == 2)
        );

        plan.until = Some(Instant::now());
        let mut late = self::outcome(&plan);
        plan.take_turns(&mut late.servers, |_, server| panic!("{}", server.name));
        late.sum_up();
        let text = markdown::section(&late);
        let note = "- echopool: not measured from round 1 on: the time for it was over\n";
        assert!(text.contains(note), "{text}");
    }
}
