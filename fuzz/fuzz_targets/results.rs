//! Parses a result file: every file that parses can be shown in every format, compared
//! with itself, merged, and written in a form that parses to the same results.
#![no_main]

use std::io::sink;

use echopool::report::read::parse;
use echopool::report::{Run, compare, csv, html, merge, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let results = match parse(file) {
        Ok(results) => results,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    text::write(&results, &mut sink()).unwrap();
    csv::write(&results, &mut sink()).unwrap();
    html::write(&results, &mut sink()).unwrap();
    let written = serde_json::to_vec(&results).unwrap();
    let again = parse(&written).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);

    let run = |name: &str| Run {
        name: name.to_owned(),
        results: results.clone(),
    };
    let mut other = run("other");
    for generator in &mut other.results.generators {
        generator.host.push('2');
    }
    let runs = [run("first"), other];
    compare::write(&runs, &mut sink()).unwrap();
    html::write_comparison(&runs, &mut sink()).unwrap();
    if let Ok(merged) = merge::merge(&runs) {
        text::write(&merged, &mut sink()).unwrap();
    }
});
