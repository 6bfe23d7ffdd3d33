//! Models of how the threads talk to each other: the server's own files, run
//! through every order of the steps that its threads can take.
//!
//! What is sequentially consistent in the server is so in the models, and nothing
//! that these files share between threads is weaker. The channel and the waker
//! are stand-ins, with the promises of crossbeam-channel and of mio.
#![cfg(test)]

// The folders are those of the server, so that the files find each other.
mod base;
#[path = "../../src/server/stop.rs"]
mod stop;
mod worker;

mod hand_over;
mod room;
mod stopping;

use shuttle::scheduler::DfsScheduler;
use shuttle::{Config, Runner};

/// Runs `model` through every order of its threads' steps. A thread that waits
/// for ever, in any of them, is a failure.
fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let scheduler = DfsScheduler::new(None, false);
    let orders = Runner::new(scheduler, Config::default()).run(model);
    println!("{orders} orders");
    assert!(orders > 1, "there is but one order");
}
