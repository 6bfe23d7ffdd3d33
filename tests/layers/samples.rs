//! Samples that break each rule, and some that keep them all.

use std::collections::{BTreeMap, BTreeSet};

use super::check;
use super::tree::Broken;

/// Asserts that the files of this tree, each after its name, break the rules on the lines
/// that say so, and on no other.
fn assert_broken(tree: &str) {
    let (mut sources, mut expected) = (BTreeMap::new(), BTreeSet::new());
    for (file, text) in tree.split("//= ").filter_map(|part| part.split_once('\n')) {
        sources.insert(file.to_owned(), text.to_owned());
        for (at, line) in text.lines().enumerate() {
            let rules = line.split("//~ ").skip(1).map(str::trim);
            expected.extend(rules.map(|rule| (file, at + 1, rule)));
        }
    }
    let found = check(&sources);
    let missing = expected.iter().find(|(file, line, rule)| {
        let same = |found: &&Broken| (found.0.as_str(), found.1) == (*file, *line);
        !found
            .iter()
            .filter(same)
            .any(|found| found.2.starts_with(rule))
    });
    assert!(
        missing.is_none() && found.len() == expected.len(),
        "{missing:#?}\n{found:#?}\n{tree}"
    );
}

#[test]
fn each_way_to_write_a_path_is_read() {
    let tree = r#"
//= src/lib.rs
pub mod base; pub mod pool; mod worker;
extern crate self as own; //~ a mod.rs or lib.rs only declares //~ call a crate by its name
//= src/base/mod.rs
pub mod sys;
//= src/base/sys.rs
//= src/pool.rs
pub(in crate::worker) struct Pool;
//= src/worker/conn.rs
pub use crate::pool::Pool; //~ worker may not import pool, only worker: proto base
use crate::{
    base::{self, sys},
    pool as workers, //~ worker may not
    pool::{
        self, //~ worker may not
        r#Pool, //~ worker may not
    },
};
use super::super::pool::*; //~ worker may not
use self::super::super::pool::{self as workers}; //~ worker may not
use echopool::pool::Pool; //~ worker may not
#[cfg(test)]
mod tests { use super::super::super::pool; } //~ worker may not
#[derive(crate::pool::Pooled)] //~ worker may not
struct Conn(#[serde(with = "crate::pool")] Vec<crate::base::sys::Call>); //~ worker may not
#[arg(value_parser = crate::pool::parse)] //~ worker may not
impl<T: super::super::pool::Run> Conn<T> { //~ worker may not
    const POOL: Pool = crate::pool::Pool::<u8>::new(); //~ worker may not
    fn run(pool: Vec<crate::pool::Pool>) { //~ worker may not
        use crate::pool; //~ worker may not
        if let crate::pool::MOST = <u8>::run() {} //~ worker may not
        <u8 as crate::pool::Run>::run(); //~ worker may not
        format!("{}", [{ crate::pool::start::<u8>() }]); //~ worker may not
        crate::pool::run!(use crate::base::sys; pub(in crate::pool) u8); //~ worker may not
        run!(pub use crate::{base, pool::Pool}; <crate::base::A as B>::c); //~ worker may not
    }
}
macro_rules! start { () => { $crate::pool::start() } } //~ worker may not
include!("../pool.rs"); //~ declare a module
#[path = "../pool.rs"]
mod copy; //~ a module's file is below its parent's
// What may be:
use crate::base::{self, sys::call}; use std::pool; use pool::Pool;
pub(in crate::pool) struct Own { /** [`crate::pool`] */ pub(super) at: &'static str }
fn f() { base::sys::call(); let pool = "crate::pool"; log!("crate::pool {}", pool) }
//= src/worker/mod.rs
mod conn; pub use conn::Conn;
mod one {} //~ a mod.rs or lib.rs only declares
//= src/worker/other.rs
use super::Conn; //~ import from the item's own file, not through src/worker/mod.rs above
use super::*; //~ import from
use crate::worker::{Conn as C}; //~ import from
type D = super::Conn; //~ import from
use crate::Server; //~ import from the item's own file, not through src/lib.rs above
//= src/new/run.rs
use crate::base::sys; //~ new is a new room: add it to tests/layers.rs
//= compare/src/main.rs
fn main() { echopool::worker::Conn::new(); crate::f() }
//= compare/src/bin/other.rs
fn main() { crate::f() }
"#;
    assert_broken(tree);
}

#[test]
fn each_room_knows_only_those_below_it() {
    let imports = "main pool, lib pool, server admin, admin probe, pool server, worker report, \
        report worker, bench ping, ping check, check client, client bench, probe bench, \
        proto probe, base proto, bench cli";
    for import in imports.split(", ") {
        let (from, to) = import.split_once(' ').unwrap();
        let text =
            format!("use echopool::{to}::deep; //~ {from} may not import {to}, only {from}:");
        assert_broken(&format!("//= src/{to}/deep.rs\n//= src/{from}.rs\n{text}"));
    }
}

#[test]
fn each_import_in_a_circle_is_named() {
    let trees = r#"
//= src/ping/link.rs
#[cfg(test)] mod tests { use super::super::run; }
use super::run; //~ a circle with src/ping/run.rs
//= src/ping/run.rs
use super::link::Link; //~ a circle with src/ping/link.rs
use super::link;
----
//= src/ping/link.rs
struct A { #[cfg(test)] a: super::run::Run,
    run: super::run::Run } //~ a circle with src/ping/run.rs
//= src/ping/run.rs
use super::link; //~ a circle with
---- a file and one below it
//= compare/src/load.rs
mod client;
fn f() { client::run() } //~ a circle with
//= compare/src/load/client.rs
use crate::load as all; //~ a circle with
fn f() { all::load() }
---- through a module that is imported further down
//= compare/src/load.rs
mod client;
//= compare/src/load/client.rs
use crate::run; //~ a circle with
//= compare/src/run.rs
use all::client; //~ a circle with compare/src/load/client.rs
use crate::load::{self as all};
----
//= compare/src/load/client.rs
use crate::run; //~ a circle with
//= compare/src/run.rs
use crate::load::{self};
fn f() { load::client::run() } //~ a circle with
//= compare/src/load.rs
---- a module whose file `#[path]` names is where that module is
//= src/server/mod.rs
#[cfg_attr(windows, path = "manager/none.rs")] mod manager;
//= src/server/manager/none.rs
use super::run::Run; //~ a circle with
//= src/server/run.rs
use super::manager::Manager; //~ a circle with src/server/manager/none.rs
----
//= src/ping/a.rs
use super::b; //~ a circle with
//= src/ping/b.rs
use super::c; //~ a circle with
//= src/ping/c.rs
use super::a; //~ a circle with
---- tests may form one
//= src/worker/conn.rs
#[cfg(all(test, unix))] mod tests;
use super::a;
//= src/worker/conn/tests/b.rs
use super::c;
//= src/worker/conn/tests/c.rs
use super::b;
//= src/worker/a.rs
#[cfg(test)] use super::conn::Conn;
#[test] fn f<A, B>() -> C<A, B> { super::conn::f() }
"#;
    trees.split("\n----").for_each(assert_broken);
}
