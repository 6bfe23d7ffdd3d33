//! Runs of `echopool check`, read back from their JSON.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Ended, finish};

/// One check that came to its end.
#[derive(Debug)]
pub struct Checked {
    pub report: Value,
    pub code: Option<i32>,
}

/// Checks `server`.
#[track_caller]
pub fn check(server: SocketAddr, options: &str) -> Checked {
    let all = format!("check {server} --json {options}");
    read(finish(all.split_whitespace(), ""))
}

/// The report on standard output, on which nothing else may be.
#[track_caller]
pub fn read(ended: Ended) -> Checked {
    let report = serde_json::from_slice(&ended.stdout);
    let report = report.unwrap_or_else(|error| panic!("no report: {error}: {ended:?}"));
    assert_eq!(ended.stderr, "");
    Checked {
        report,
        code: ended.code,
    }
}

/// What is wrong with a report, by its schema.
pub fn faults(report: &Value) -> Vec<String> {
    let schema = include_str!("../../docs/check.schema.json");
    let schema = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors = validator.iter_errors(report);
    errors
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect()
}

impl Checked {
    /// The clauses with that verdict.
    pub fn names(&self, verdict: &str) -> Vec<&str> {
        let clauses = self.report["clauses"].as_array().unwrap().iter();
        let some = clauses.filter(|clause| clause["verdict"] == verdict);
        some.map(|clause| clause["name"].as_str().unwrap())
            .collect()
    }

    /// What was seen of a clause.
    #[track_caller]
    pub fn seen(&self, name: &str) -> &str {
        let mut clauses = self.report["clauses"].as_array().unwrap().iter();
        let clause = clauses.find(|clause| clause["name"] == name);
        clause.expect(name)["seen"].as_str().unwrap()
    }

    /// Checks that no clause failed, and that just these were skipped.
    #[track_caller]
    pub fn assert_passed(&self, skipped: &[&str]) {
        assert_eq!(self.names("fail"), [""; 0], "{self:#?}");
        assert_eq!(self.names("skip"), skipped, "{self:#?}");
        assert_eq!(self.code, Some(0), "{self:#?}");
    }

    /// Checks that just these clauses failed.
    #[track_caller]
    pub fn assert_failed(&self, names: &[&str]) {
        assert_eq!(self.names("fail"), names, "{self:#?}");
        assert_eq!(self.code, Some(1), "{self:#?}");
    }
}
