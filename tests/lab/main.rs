//! The laboratory: broken and healthy paths, and whether `echopool check` tells what is
//! the matter with each of them.
//!
//! It needs root, or `unshare --map-root-user`, and nft; what the machine can't do is
//! skipped by name. It runs only when asked for: `make lab`.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod claims;
mod connect_claims;
mod datagram_claims;
mod datagram_kinds;
mod datagram_paths;
mod end_claims;
mod far;
mod faulty;
mod kernel;
mod made;
mod middlebox;
mod namespaces;
mod path;
mod paths;
mod proxies;
mod quick;
mod relay;
mod runner;
mod server;
mod sys;

use std::collections::HashSet;

#[test]
fn every_path_has_a_name_of_its_own_and_a_claim() {
    let paths = paths::paths();
    let names: HashSet<_> = paths.iter().map(|path| path.name).collect();
    assert_eq!(names.len(), paths.len());
    let unproved = paths.iter().filter(|path| path.claims.is_empty());
    assert_eq!(unproved.map(|path| path.name).collect::<Vec<_>>(), [""; 0]);
}

#[test]
#[ignore = "needs root, nft, haproxy, socat and nginx: make lab"]
fn every_path_is_as_broken_as_it_says() {
    runner::prove_all();
}

#[test]
#[ignore = "needs root, nft, haproxy, socat and nginx: make lab"]
fn no_path_is_broken_that_should_not_be() {
    runner::disprove_all();
}

#[test]
#[ignore = "needs root and nft: make lab"]
fn what_tcp_knows_of_a_path_is_what_was_done_to_it() {
    if let Err(lacking) = kernel::prove_all() {
        println!("skipped: {lacking}");
    }
}

#[test]
#[ignore = "needs root: make lab"]
fn a_path_of_600_ms_is_checked_to_the_end_and_never_taken_for_full() {
    if let Err(lacking) = far::prove_all() {
        println!("skipped: {lacking}");
    }
}

#[test]
#[ignore = "needs root, nft, haproxy, socat and nginx: make lab"]
fn every_path_is_diagnosed() {
    runner::check_all();
}

#[test]
#[ignore = "needs root and nft: make lab-udp"]
fn every_path_of_datagrams_is_diagnosed() {
    runner::check_datagrams();
}
