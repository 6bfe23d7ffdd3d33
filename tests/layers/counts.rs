//! A number before a plural noun in a text is written by `base/units.rs`, so that nobody
//! reads `1 connections`.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use super::read_sources;

/// What is counted in messages, log lines and reports.
const NOUNS: [&str; 23] = [
    "addresses",
    "answers",
    "attempts",
    "bytes",
    "clients",
    "connections",
    "CPUs",
    "datagrams",
    "echoes",
    "errors",
    "failures",
    "lines",
    "messages",
    "more clients",
    "ports",
    "replies",
    "runs",
    "seconds",
    "segments",
    "streams",
    "threads",
    "times",
    "workers",
];

/// The clauses of a check name sizes and counts of their own, which are far above 1.
const LARGE: &str = "src/check/";

/// Each text of these files that puts a number before a plural.
fn plurals(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let is_test = file.ends_with("/tests.rs") || file.contains("/tests/");
        if is_test || !file.starts_with("src/") || file.starts_with(LARGE) {
            continue;
        }
        let (text, _) = text.split_once("#[cfg(test)]\nmod ").unwrap_or((text, ""));
        let tokens: TokenStream = text.parse().expect(file);
        for literal in literals(tokens) {
            let bad = NOUNS.iter().filter(|noun| counts(&literal, noun));
            found.extend(bad.map(|noun| format!("{file}: {noun}: {literal}")));
        }
    }
    found
}

/// The string literals, except those of documentation.
fn literals(tokens: TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_doc = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => found.extend(literals(group.stream())),
            TokenTree::Literal(literal) if !is_doc => found.push(literal.to_string()),
            TokenTree::Ident(name) => is_doc = name == "doc",
            _ => {}
        }
    }
    found.retain(|text| text.starts_with('"'));
    found
}

/// Whether a placeholder stands before this noun. One in capitals is a constant.
fn counts(literal: &str, noun: &str) -> bool {
    let begin = format!("}} {noun}");
    literal.match_indices(&begin).any(|(at, _)| {
        let name = literal[..at].rsplit('{').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default();
        let is_constant = !name.is_empty() && name.chars().all(|c| !c.is_ascii_lowercase());
        let rest = &literal[at + begin.len()..];
        !is_constant && !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[test]
fn a_count_in_a_text_has_its_singular() {
    let found = plurals(&read_sources());
    assert!(
        found.is_empty(),
        "write them with units::count or units::plain_count:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_plural_behind_a_number_is_found() {
    let sources =
        |text: &str| BTreeMap::from([(String::from("src/server/sample.rs"), text.to_owned())]);
    for bad in [
        r#"fn f(n: u8) { log::info!("{} clients left", n) }"#,
        r#"fn f(n: u8) -> String { format!("after {n} bytes") }"#,
        r#"fn f(n: u8) -> String { format!("{n:>3} times") }"#,
    ] {
        assert_eq!(plurals(&sources(bad)).len(), 1, "{bad}");
    }
    for good in [
        r#"fn f() -> String { format!("at most {MOST} bytes") }"#,
        r#"fn f(n: u8) -> String { format!("{n} bytes-like") }"#,
        "/// Has `{n} bytes`.\nfn f() {}",
        "fn f() {}\n#[cfg(test)]\nmod tests { fn g(n: u8) { println!(\"{n} bytes\") } }",
    ] {
        assert_eq!(plurals(&sources(good)), [""; 0], "{good}");
    }
}
