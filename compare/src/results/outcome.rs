//! All that was measured, as it goes to JSON. Keys carry their unit.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::results::limit::LimitedBy;
use crate::results::metric::{Metric, Sample};
use crate::results::stats::Summary;
use crate::server::definition::{ECHOPOOL, FLOOR, SPLICE_FLOORS};
use crate::system::machine::Machine;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The day, UTC.
    pub date: String,
    /// The command line.
    pub command: String,
    /// The commit that was measured; a `+` marks changes on top of it.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// What took part.
    pub versions: BTreeMap<String, String>,
    /// How often every server was measured in every scenario.
    pub rounds: usize,
    /// The length of one measurement.
    pub measure_s: f64,
    /// What comes before it.
    pub warm_up_s: f64,
    /// The receive buffer of the rivals.
    pub rival_buffer_bytes: usize,
    /// Servers that could not take part at all, and why.
    pub absent: BTreeMap<String, String>,
    /// The scenarios, in the order they were run.
    pub scenarios: Vec<Outcome>,
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What it was.
    pub description: String,
    /// Which CPUs were used by whom.
    pub placement: String,
    /// How many clients there were at once.
    pub clients: usize,
    /// CPUs that the server could use.
    pub server_cpus: usize,
    /// Threads of the load.
    pub load_threads: usize,
    /// Why it was not run, if so.
    pub skipped: Option<String>,
    /// The servers, in the order of the roster.
    pub servers: Vec<ServerResults>,
}

/// One server in one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct ServerResults {
    /// The server's name.
    pub name: String,
    /// Whether echopool is to be compared with it.
    pub rival: bool,
    /// Why there are no or fewer values, if so.
    pub note: Option<String>,
    /// The values of each round, under the metrics' keys.
    #[serde(serialize_with = "keyed_samples")]
    pub rounds: Vec<Sample>,
    /// Median and spread over the rounds.
    #[serde(serialize_with = "keyed")]
    pub summary: BTreeMap<Metric, Summary>,
    /// The side that limited it, where CPU time was measured.
    pub limited_by: Option<LimitedBy>,
    /// The values as multiples of echopool's in the same round.
    #[serde(serialize_with = "keyed")]
    pub ratio_to_echopool: BTreeMap<Metric, Summary>,
}

fn keyed<S: serde::Serializer, T: Serialize>(
    values: &BTreeMap<Metric, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(metric, value)| (metric.key(), value)))
}

fn keyed_samples<S: serde::Serializer>(
    samples: &[Sample],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(samples.iter().map(|sample| {
        let values = sample.iter().map(|(metric, value)| (metric.key(), value));
        values.collect::<BTreeMap<_, _>>()
    }))
}

impl ServerResults {
    /// A server of which nothing is known yet.
    #[must_use]
    pub fn new(name: &str, rival: bool) -> Self {
        Self {
            name: name.to_owned(),
            rival,
            note: None,
            rounds: Vec::new(),
            summary: BTreeMap::new(),
            limited_by: None,
            ratio_to_echopool: BTreeMap::new(),
        }
    }

    /// The median of a metric.
    #[must_use]
    pub fn median(&self, metric: Metric) -> Option<f64> {
        self.summary.get(&metric).map(|summary| summary.median)
    }

    /// The values of a metric, in the order of the rounds.
    fn values(&self, metric: Metric) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .filter_map(|round| round.get(&metric).copied())
            .collect()
    }

    fn sum_up(&mut self, server_cpus: f64) {
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        for (metric, value) in self.rounds.iter().flatten() {
            values.entry(*metric).or_default().push(*value);
        }
        self.summary = values
            .into_iter()
            .filter_map(|(metric, values)| Some((metric, Summary::of(&values)?)))
            .collect();
        let busy = |metric| Some(self.median(metric)? / 100.0);
        self.limited_by = busy(Metric::ServerCpu)
            .zip(busy(Metric::LoadBusy))
            .map(|(server, load)| LimitedBy::of(server / server_cpus, load));
    }
}

impl Outcome {
    /// Fills in medians, spreads, ratios and what limited each.
    #[expect(clippy::cast_precision_loss, reason = "there are not so many CPUs")]
    pub fn sum_up(&mut self) {
        let cpus = self.server_cpus as f64;
        self.servers.iter_mut().for_each(|one| one.sum_up(cpus));
        let ratios = |server: &ServerResults| {
            let metrics = server.summary.keys();
            metrics
                .filter_map(|&metric| Some((metric, self.ratio(&server.name, ECHOPOOL, metric)?)))
                .collect()
        };
        let ratios: Vec<_> = self.servers.iter().map(ratios).collect();
        for (server, ratios) in self.servers.iter_mut().zip(ratios) {
            server.ratio_to_echopool = ratios;
        }
    }

    /// A metric of one server as multiples of that of another in the same round.
    #[must_use]
    pub fn ratio(&self, own: &str, other: &str, metric: Metric) -> Option<Summary> {
        let [own, other] = [own, other].map(|name| Some(self.server(name)?.values(metric)));
        Summary::of_ratios(&own?, &other?)
    }

    /// A server by its name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerResults> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The rival with the best median, and `own` as a multiple of it in each round.
    #[must_use]
    pub fn best_rival(&self, own: &str, metric: Metric) -> Option<(&str, Summary)> {
        self.best(own, metric, |server| server.rival)
    }

    /// The same of the floors.
    #[must_use]
    pub fn best_floor(&self, own: &str, metric: Metric) -> Option<(&str, Summary)> {
        let is_floor = |name: &str| name == FLOOR || SPLICE_FLOORS.contains(&name);
        self.best(own, metric, |server| is_floor(server.name.as_str()))
    }

    fn best(
        &self,
        own: &str,
        metric: Metric,
        counts: impl Fn(&ServerResults) -> bool,
    ) -> Option<(&str, Summary)> {
        let more_is_better = metric.more_is_better()?;
        let others = self.servers.iter().filter(|server| counts(server));
        let known =
            others.filter_map(|server| Some((server.name.as_str(), server.median(metric)?)));
        let (name, _) = known.min_by(|(_, a), (_, b)| match more_is_better {
            true => b.total_cmp(a),
            false => a.total_cmp(b),
        })?;
        Some((name, self.ratio(own, name, metric)?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn result(name: &str, rival: bool, cpu: &[f64]) -> ServerResults {
        let rounds = cpu
            .iter()
            .map(|cpu| Sample::from([(Metric::CpuPerRoundTrip, *cpu)]));
        ServerResults {
            rounds: rounds.collect(),
            ..ServerResults::new(name, rival)
        }
    }

    /// echopool at 8, the floor at 4, rivals at 10 and 16 µs a round trip, and one
    /// that was skipped.
    pub(crate) fn outcome() -> Outcome {
        let skipped = ServerResults {
            note: Some(String::from("it has one thread only")),
            ..ServerResults::new("mio", true)
        };
        let mut outcome = Outcome {
            name: String::from("ping-64-50"),
            description: String::from("Ping-pong."),
            placement: String::from("server on CPU 0, load on CPU 1"),
            clients: 50,
            server_cpus: 1,
            load_threads: 1,
            skipped: None,
            servers: vec![
                result(ECHOPOOL, false, &[9.0, 8.0, 7.0]),
                result("floor", false, &[4.0; 3]),
                result("threads", true, &[16.0, 15.0, 1234.0]),
                result("tokio-multi", true, &[10.0, 11.0, 9.0]),
                skipped,
            ],
        };
        outcome.sum_up();
        outcome
    }

    #[test]
    fn rounds_are_compared_with_echopools() {
        let outcome = outcome();
        let ratio = |name| {
            let server = outcome.server(name).unwrap();
            let ratio = server.ratio_to_echopool.get(&Metric::CpuPerRoundTrip)?;
            Some((ratio.min, ratio.median, ratio.max))
        };
        assert_eq!(ratio(ECHOPOOL), Some((1.0, 1.0, 1.0)));
        assert_eq!(ratio("floor"), Some((4.0 / 9.0, 0.5, 4.0 / 7.0)));
        assert_eq!(ratio("threads"), Some((16.0 / 9.0, 1.875, 1234.0 / 7.0)));
        assert_eq!(ratio("mio"), None);
    }

    #[test]
    fn the_best_rival_is_the_cheapest_that_is_not_the_floor() {
        let outcome = outcome();
        let best = |own| {
            let (name, ratio) = outcome.best_rival(own, Metric::CpuPerRoundTrip).unwrap();
            (name, ratio.min, ratio.median, ratio.max)
        };
        assert_eq!(best(ECHOPOOL), ("tokio-multi", 8.0 / 11.0, 7.0 / 9.0, 0.9));
        assert_eq!(best("floor").0, "tokio-multi");
        let (name, ratio) = outcome
            .best_floor(ECHOPOOL, Metric::CpuPerRoundTrip)
            .unwrap();
        assert_eq!((name, ratio.median), ("floor", 2.0));
        assert_eq!(outcome.best_rival(ECHOPOOL, Metric::RoundTrips), None);
    }

    #[test]
    fn the_limit_is_that_of_the_medians_and_of_all_cpus_of_the_server() {
        let sides =
            |server, load| Sample::from([(Metric::ServerCpu, server), (Metric::LoadBusy, load)]);
        let mut results = ServerResults {
            rounds: vec![sides(97.0, 40.0), sides(30.0, 99.0), sides(95.0, 50.0)],
            ..ServerResults::new("mio", true)
        };
        results.sum_up(1.0);
        assert_eq!(results.limited_by, Some(LimitedBy::Server));
        results.sum_up(2.0);
        assert_eq!(results.limited_by, Some(LimitedBy::Neither));
        assert_eq!(outcome().server(ECHOPOOL).unwrap().limited_by, None);
    }

    #[test]
    fn json_has_the_metrics_under_their_keys() {
        let json = serde_json::to_value(outcome()).unwrap();
        let echopool = &json["servers"][0];
        assert_eq!(echopool["rounds"][1]["server_cpu_us_per_round_trip"], 8.0);
        assert_eq!(
            echopool["summary"]["server_cpu_us_per_round_trip"]["max"],
            9.0
        );
        let threads = &json["servers"][2]["ratio_to_echopool"];
        assert_eq!(threads["server_cpu_us_per_round_trip"]["median"], 1.875);
    }
}
