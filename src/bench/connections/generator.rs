//! The threads of a load on connections: the addresses that they go to, the first connection,
//! and the share of each thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::event_loop::Generator;
use crate::base::units;
use crate::bench::clock::nanoseconds;
use crate::bench::error::{Error, failed};
use crate::bench::plan::Plan;
use crate::bench::progress::Watch;
use crate::bench::recorder::PartsChannel;
use crate::bench::source;
use crate::bench::targets::Targets;
use crate::bench::thread::shared::{Shared, Work, share};
use crate::probe;
use crate::probe::addresses::Addresses;
use crate::probe::connect::{Connected, Connecting, NotConnected, refuse_reached_itself};
use crate::probe::race::ATTEMPT_DELAY;

/// Makes the first connection: it shows which of the addresses answers.
pub(in crate::bench) fn first(
    addresses: &[SocketAddr],
    plan: &Plan,
    stop: &AtomicBool,
    watch: &mut dyn Watch,
) -> Result<Connected, Error> {
    let begun = Instant::now();
    let names: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let watch = RefCell::new(watch);
    let is_stopped = || {
        let waited = units::duration(begun.elapsed());
        let how_far = format!("no answer from {names} for {waited}");
        watch.borrow_mut().connecting(&how_far);
        stop.load(Ordering::Relaxed)
    };
    let connected = connect(addresses, plan, plan.timeout, &is_stopped);
    Ok(connected.map_err(probe::error::Error::from)?)
}

fn connect(
    addresses: &[SocketAddr],
    plan: &Plan,
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Connected, NotConnected> {
    let connecting = Connecting {
        timeout,
        begin: &mut |address| source::begin(&plan.sources, 0, address),
        accept: &refuse_reached_itself,
        is_stopped,
    };
    connecting.first_of(addresses)
}

/// The addresses of the run: with reconnection all that answer, tried here once, else the one
/// that was first. And how long each has to answer.
pub(in crate::bench) fn targets(
    addresses: &Addresses,
    first: &Connected,
    plan: &Plan,
    stop: &AtomicBool,
) -> (Targets, Duration) {
    let patience = patience(first.took);
    if !plan.reconnect {
        return (Targets::one(first.address), patience);
    }
    let known = addresses.known();
    let others: Vec<_> = known.iter().filter(|at| **at != first.address).collect();
    let timeout = patience.min(plan.timeout);
    let is_stopped = || stop.load(Ordering::Relaxed);
    let answers = |address: &SocketAddr| connect(&[*address], plan, timeout, &is_stopped).is_ok();
    let answers = &answers;
    let mut answering = vec![first.address];
    std::thread::scope(|scope| {
        let start = |address| {
            let ask = move || answers(address).then_some(*address);
            std::thread::Builder::new().spawn_scoped(scope, ask).ok()
        };
        let asked: Vec<_> = others.into_iter().filter_map(start).collect();
        for thread in asked {
            answering.extend(thread.join().ok().flatten());
        }
    });
    (Targets::in_turn(addresses, &answering), patience)
}

/// How long one of several addresses has to answer, where the first one took so long.
fn patience(took: Duration) -> Duration {
    ATTEMPT_DELAY.max(took * 4)
}

/// The work of each thread, with its share of the connections and messages. The first
/// connection is that of the first thread.
///
/// # Errors
/// Those of the pollers, and of the connection.
pub(in crate::bench) fn works<'a>(
    shared: &'a Shared<'a>,
    first: Connected,
    channel: PartsChannel,
) -> Result<Vec<Work<'a>>, Error> {
    let mut generators = generators(shared, channel)?;
    let Connected { stream, took, .. } = first;
    stream.set_nonblocking(true).map_err(failed("connect"))?;
    generators[0].set_first(mio::net::TcpStream::from_std(stream), nanoseconds(took));
    let work = |generator: Generator<'a>| -> Work<'a> {
        Box::new(move |ready, starts| generator.run(ready, starts))
    };
    Ok(generators.into_iter().map(work).collect())
}

/// One generator a thread, with its share of the connections and messages.
fn generators<'a>(
    shared: &'a Shared<'a>,
    channel: PartsChannel,
) -> Result<Vec<Generator<'a>>, Error> {
    let plan = shared.plan;
    let generator = |thread| {
        let connections = share(plan.connections as u64, thread, plan.threads);
        let budget = plan
            .count
            .map_or(u64::MAX, |count| share(count, thread, plan.threads));
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let generator = Generator::new(shared, thread, connections, budget, channel.clone());
        generator.map_err(failed("make a poller"))
    };
    (0..plan.threads).map(generator).collect()
}
