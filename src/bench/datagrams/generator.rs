//! The threads of a load of datagrams: the address that they send to, and their flows.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::event_loop::Generator;
use super::flow::Flow;
use super::port::Port;
use super::sizes::Sizes;
use crate::bench::clock::nanoseconds;
use crate::bench::plan::Plan;
use crate::bench::recorder::{PartsChannel, Recorder};
use crate::bench::source;
use crate::bench::thread::shared::{Shared, Work, share};
use crate::bench::thread::waiter::Waiter;
use crate::probe::datagram::choose::choose;
use crate::probe::datagram::conventions::HELLO;

/// So many datagrams of all flows of a thread are remembered once it is known what became of
/// them, 32 bytes each: four seconds at 250,000 a second.
const REMEMBERED: usize = 1 << 20;

/// The fewest that a flow remembers.
const LEAST_REMEMBERED: usize = 256;

/// The address that datagrams go to: the first that answers one ahead, or the only one.
///
/// # Errors
/// The system's, that are no errors of the path.
pub(in crate::bench) fn address(addresses: &[SocketAddr], plan: &Plan) -> io::Result<SocketAddr> {
    // Where all are refused, each datagram of the run tells.
    let chosen = choose(addresses, HELLO, plan.timeout)?;
    Ok(chosen.unwrap_or(addresses[0]))
}

/// The work of each thread, with its share of the flows and of the datagrams.
///
/// # Errors
/// Those of the poller and of the sockets.
pub(in crate::bench) fn works<'a>(
    shared: &'a Shared<'a>,
    channel: PartsChannel,
) -> io::Result<Vec<Work<'a>>> {
    (0..shared.plan.threads)
        .map(|thread| work(shared, thread, channel.clone()))
        .collect()
}

fn work<'a>(shared: &'a Shared<'a>, thread: usize, channel: PartsChannel) -> io::Result<Work<'a>> {
    let plan = shared.plan;
    let flows = share(plan.connections as u64, thread, plan.threads);
    let flows = usize::try_from(flows).unwrap_or(usize::MAX);
    let budget = plan
        .count
        .map_or(u64::MAX, |count| share(count, thread, plan.threads));
    let waiter = Waiter::new()?;
    let memory = (REMEMBERED / flows.max(1)).max(LEAST_REMEMBERED);
    let open = |key| {
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let sizes = Sizes::new(&plan.size_bytes, plan.seed, number);
        let timeout = nanoseconds(plan.timeout);
        let flow = Flow::new((plan.seed, number), sizes, timeout, memory);
        let to = shared.targets.first();
        let from = source::choose(&plan.sources, number, to)?;
        Port::open(to, from, flow, (waiter.registry(), key))
    };
    let ports = (0..flows).map(open).collect::<io::Result<Vec<_>>>()?;
    let recorder = Recorder::new(thread, true, false, channel);
    let generator = Generator::new(shared, (thread, budget), ports, waiter, recorder);
    Ok(Box::new(move |ready, starts| generator.run(ready, starts)))
}
