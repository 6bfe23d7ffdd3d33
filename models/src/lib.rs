//! Models of the communication between the server's threads: the server's own files,
//! run through every order of the steps that its threads can take.
//!
//! The models treat every atomic operation as sequentially consistent; the files that
//! they include use no weaker order for what they share between threads. The channel
//! and the waker are stand-ins with the guarantees of crossbeam-channel and of mio.
#![cfg(test)]

// The modules are laid out as in the server, so that the included files' imports resolve.
mod base;
#[path = "../../src/server/stop.rs"]
mod stop;
mod worker;

mod hand_over;
mod room;
mod stopping;

use shuttle::scheduler::DfsScheduler;
use shuttle::{Config, Runner};

/// Runs `model` through every order of its threads' steps. It fails if a thread waits
/// for ever in any of them.
fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let scheduler = DfsScheduler::new(None, false);
    let orders = Runner::new(scheduler, Config::default()).run(model);
    println!("{orders} orders");
    assert!(orders > 1, "the model has only one order");
}
