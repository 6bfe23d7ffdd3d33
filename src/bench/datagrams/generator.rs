//! The threads of a load of datagrams: the address that they send to, and their flows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::event_loop::Generator;
use super::flow::{Flow, Remembered};
use super::port::{Memory, Port};
use super::sizes::Sizes;
use crate::bench::clock::nanoseconds;
use crate::bench::plan::Plan;
use crate::bench::recorder::{PartsChannel, Recorder};
use crate::bench::source;
use crate::bench::thread::shared::{Shared, Work, share};
use crate::bench::thread::waiter::Waiter;
use crate::probe::datagram::checksums::Checksums;
use crate::probe::datagram::choose::choose;
use crate::probe::datagram::conventions::HELLO;

/// So many datagrams of all flows of a thread are remembered once it is known what became of
/// them, 32 bytes each: four seconds at 250,000 a second.
const REMEMBERED: usize = 1 << 20;

/// The fewest that a flow remembers.
const LEAST_REMEMBERED: usize = 256;

/// So many of all flows are remembered from the oldest on that each awaits, 32 bytes each, and
/// then sending waits: 128 MiB, and as much again while a queue grows. It is sixteen seconds at
/// 250,000 a second.
const AWAITED: usize = 1 << 22;

/// What a flow remembers, of a thread with so many and of so many threads.
fn remembered(flows: usize, threads: usize) -> Remembered {
    let flows = flows.max(1);
    let awaited = AWAITED / threads.max(1) / flows;
    Remembered {
        over: (REMEMBERED / flows).max(LEAST_REMEMBERED),
        awaited: awaited.max(LEAST_REMEMBERED) as u64,
    }
}

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
    let checksums = Arc::new(Checksums::new(shared.targets.first()));
    let memory = || Memory::new(Arc::clone(&checksums));
    (0..shared.plan.threads)
        .map(|thread| work(shared, thread, memory(), channel.clone()))
        .collect()
}

fn work<'a>(
    shared: &'a Shared<'a>,
    thread: usize,
    memory: Memory,
    channel: PartsChannel,
) -> io::Result<Work<'a>> {
    let plan = shared.plan;
    let flows = share(plan.connections as u64, thread, plan.threads);
    let flows = usize::try_from(flows).unwrap_or(usize::MAX);
    let budget = plan
        .count
        .map_or(u64::MAX, |count| share(count, thread, plan.threads));
    let waiter = Waiter::new()?;
    let each_remembers = remembered(flows, plan.threads);
    let open = |key| {
        let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
        let sizes = Sizes::new(&plan.size_bytes, plan.seed, number);
        let timeout = nanoseconds(plan.timeout);
        let flow = Flow::new((plan.seed, number), sizes, timeout, each_remembers);
        let to = shared.targets.first();
        let from = source::choose(&plan.sources, number, to)?;
        Port::open(to, from, flow, (waiter.registry(), key))
    };
    let ports = (0..flows).map(open).collect::<io::Result<Vec<_>>>()?;
    let recorder = Recorder::new(thread, true, false, channel);
    let generator = Generator::new(shared, (thread, budget), (ports, memory), waiter, recorder);
    Ok(Box::new(move |ready, starts| generator.run(ready, starts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_flows_remember_is_bounded() {
        for (flows, threads) in [(0, 1), (1, 1), (1, 8), (50, 1), (1000, 4), (10_000, 2)] {
            let of_one = remembered(flows, threads);
            let awaited = of_one.awaited as usize * flows * threads;
            let most = AWAITED.max(LEAST_REMEMBERED * flows * threads);
            assert!(awaited <= most, "{flows} {threads}: {awaited}");
            assert!(of_one.awaited >= 256, "{of_one:?}");
        }
        // A second of the highest rate has room on one flow.
        assert!(remembered(1, 4).awaited > 250_000);
    }
}
