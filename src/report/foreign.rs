//! Text from result files, escaped: it is not trusted, wherever it is shown.

use super::run::Run;
use crate::base::escape::escape_line;
use crate::bench::datagram_counts::{Datagrams, FlowCounts};
use crate::bench::results::{AddressCounts, Expectation, Generator, Results, Suspicion};

/// The results with control characters, line ends and what reorders text made visible in
/// every text.
pub(super) fn escaped(results: &Results) -> Results {
    let text = |text: &String| escape_line(text.as_bytes());
    let address = |counts: &AddressCounts| AddressCounts {
        address: text(&counts.address),
        ..*counts
    };
    let generator = |generator: &Generator| Generator {
        version: text(&generator.version),
        host: text(&generator.host),
        system: text(&generator.system),
        address: text(&generator.address),
        addresses: generator.addresses.iter().map(address).collect(),
        started_at: text(&generator.started_at),
        ..*generator
    };
    let suspicion = |suspicion: &Suspicion| Suspicion {
        kind: suspicion.kind,
        seen: text(&suspicion.seen),
        advice: text(&suspicion.advice),
    };
    let expectation = |expectation: &Expectation| Expectation {
        text: text(&expectation.text),
        held: expectation.held,
        seen: text(&expectation.seen),
    };
    let flow = |flow: &FlowCounts| FlowCounts {
        source: text(&flow.source),
        ..flow.clone()
    };
    let datagrams = |datagrams: &Datagrams| Datagrams {
        flows: datagrams.flows.iter().map(flow).collect(),
        ..datagrams.clone()
    };
    Results {
        generators: results.generators.iter().map(generator).collect(),
        examples: results.examples.iter().map(text).collect(),
        suspicions: results.suspicions.iter().map(suspicion).collect(),
        expectations: results.expectations.iter().map(expectation).collect(),
        datagrams: results.datagrams.as_ref().map(datagrams),
        search_end: results.search_end.as_ref().map(text),
        ..results.clone()
    }
}

/// Runs with all their texts and their names escaped.
pub(super) fn escaped_runs(runs: &[Run]) -> Vec<Run> {
    let run = |run: &Run| Run {
        name: escape_line(run.name.as_bytes()),
        results: escaped(&run.results),
    };
    runs.iter().map(run).collect()
}
