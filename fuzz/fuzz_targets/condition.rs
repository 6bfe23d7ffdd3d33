//! Parses a condition that a user sets for a run: every condition that parses is
//! displayed in a form that parses to the same condition, and can be checked on a run
//! without messages.
#![no_main]

use std::sync::LazyLock;

use echopool::bench::expect::Condition;
use echopool::bench::results::Results;
use echopool::report::read::parse;
use libfuzzer_sys::fuzz_target;

static RUN: LazyLock<Results> =
    LazyLock::new(|| parse(include_bytes!("../corpus/results/closed")).unwrap());

fuzz_target!(|text: &str| {
    match text.parse::<Condition>() {
        Ok(condition) => {
            assert_eq!(condition.to_string().parse(), Ok(condition.clone()));
            let judged = condition.check(&RUN);
            assert!(!judged.seen.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
