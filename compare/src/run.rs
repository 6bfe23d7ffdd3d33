//! The run: every scenario, every round, every server in rotated order.

use std::collections::BTreeMap;
use std::io;

use crate::cpu::Layout;
use crate::machine::Machine;
use crate::metric::Sample;
use crate::results::{Outcome, Standing};
use crate::roster::{Options, Server};
use crate::scenario::{Scenario, Times};
use crate::server::Running;

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
    /// What they are started with.
    pub options: Options,
    /// The CPUs to be used.
    pub cpus: Vec<usize>,
}

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

    /// Runs one scenario; `progress` is told what begins.
    #[must_use]
    pub fn run(
        &self,
        scenario: &Scenario,
        machine: &Machine,
        mut progress: impl FnMut(&str),
    ) -> Outcome {
        let layout = Layout::new(scenario.workers, &self.cpus);
        let needed = scenario.clients as u64 + SPARE_FILES;
        let skipped = (needed > machine.open_files).then(|| {
            format!(
                "it needs {needed} open files and may have {}",
                machine.open_files
            )
        });
        let mut outcome = Outcome {
            name: scenario.name.to_owned(),
            description: scenario.describe(),
            placement: layout.describe(),
            clients: scenario.clients,
            skipped,
            servers: self.line_up(scenario),
        };
        if outcome.skipped.is_some() {
            return outcome;
        }
        for round in 0..self.rounds {
            for place in 0..self.servers.len() {
                let server = self.servers[(place + round) % self.servers.len()];
                let mut standings = outcome.servers.iter_mut();
                let standing = standings.find(|one| one.name == server.name);
                let Some(standing) = standing.filter(|one| one.note.is_none()) else {
                    continue;
                };
                let (scenario_name, name) = (scenario.name, server.name);
                progress(&format!("{scenario_name}, round {}: {name}", round + 1));
                match self.measure(scenario, server, &layout) {
                    Ok(sample) => standing.rounds.push(sample),
                    Err(error) => standing.note = Some(format!("failed: {error}")),
                }
            }
        }
        outcome.sum_up();
        outcome
    }

    /// The servers that have a part in a scenario; those that are not able to
    /// carry a note.
    fn line_up(&self, scenario: &Scenario) -> Vec<Standing> {
        let servers = self.servers.iter();
        servers
            .filter(|server| !scenario.leaves_out(server.name))
            .map(|server| Standing {
                note: server.unable(scenario.clients, scenario.workers),
                ..Standing::new(server.name, server.is_rival())
            })
            .collect()
    }

    fn measure(&self, scenario: &Scenario, server: &Server, layout: &Layout) -> io::Result<Sample> {
        let running = Running::start(server, &self.options, scenario.workers, layout)?;
        scenario.run(&running, self.times)
    }
}
