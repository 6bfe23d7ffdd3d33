//! The fixed pool: spawn, dispatch, reap, report.
//!
//! The pool keeps a handle of every worker: its context, its channel and its thread.
//! The main thread hands each client to the worker with the fewest live connections. A
//! worker that panics is reaped, reported and replaced, and the clients that wait in
//! its channel are served by its successor.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use mio::Waker;

use crate::base::error::cause;
use crate::base::units;
use crate::worker::channel::{HandOverSender, hand_over_channel};
use crate::worker::context::{Accepted, Context, CountGuard, Drain, HandOver, Settings};
use crate::worker::datagrams::refusal::DatagramCounts;
use crate::worker::event_loop::Worker;
use crate::worker::eviction::{Counts, EvictionLog};
use crate::worker::metrics::WorkerMetrics;
use crate::worker::waker::MainWaker;

/// How many clients may wait in one worker's channel. A worker empties it on
/// every turn, so this fills only while one turn lasts.
const CHANNEL_CAPACITY: usize = 1024;

/// The most workers a pool has; far beyond the point where more of them help.
pub const MAX_WORKERS: usize = 1024;

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The worker served its last client and returned.
    Ok,
    /// The worker panicked, with this message; its connections were closed.
    Panicked(String),
    /// The worker's poller failed, with this cause; its connections were closed.
    Failed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("exited ok"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
        }
    }
}

/// The report on one worker, made when the pool is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// The worker's number, from 0.
    pub id: usize,
    /// How it ended.
    pub end: End,
    /// How many workers with this number died and were replaced before.
    pub replaced: u64,
    /// Connections served.
    pub connections: u64,
    /// Bytes sent back.
    pub bytes: u64,
    /// Connections cut when the grace period ran out.
    pub cut: u64,
    /// Connections ended by a limit.
    pub evicted: Counts,
    /// Datagrams.
    pub datagrams: DatagramCounts,
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {}: {}, {}, {} echoed{}{}",
            self.id,
            self.end,
            units::plain_count(self.connections, "connection", "connections"),
            units::plain_count(self.bytes, "byte", "bytes"),
            self.evicted,
            self.datagrams
        )?;
        match self.replaced {
            0 => Ok(()),
            times => write!(
                f,
                ", replaced {}",
                units::plain_count(times, "time", "times")
            ),
        }
    }
}

/// A worker as the pool sees it.
struct WorkerHandle {
    context: Context,
    sender: HandOverSender<HandOver>,
    thread: JoinHandle<End>,
    /// The thread has ended and was not joined yet.
    ended: Arc<AtomicBool>,
}

impl WorkerHandle {
    fn live(&self) -> usize {
        self.context.metrics.live.get()
    }

    /// Offers a client; one that does not fit comes back.
    fn offer(&mut self, accepted: Accepted) -> Result<(), Accepted> {
        let guard = CountGuard::new(&self.context.metrics);
        let hand_over = HandOver { accepted, guard };
        self.sender
            .push(hand_over)
            .map_err(|refused| refused.accepted)
    }
}

/// A fixed number of workers, all running.
pub(crate) struct Pool {
    workers: Vec<WorkerHandle>,
    /// The worker that gets the next client among equally loaded ones.
    turn: usize,
}

impl Pool {
    /// Spawns `count` threads and waits until each of them polls.
    pub(crate) fn spawn(
        count: usize,
        settings: &Settings,
        main_waker: &Arc<MainWaker>,
        evictions: &Arc<EvictionLog>,
    ) -> io::Result<Self> {
        let (ready, all_ready) = bounded(count);
        let drain = Arc::new(OnceLock::new());
        let mut pool = Self {
            workers: Vec::with_capacity(count),
            turn: 0,
        };
        for id in 0..count {
            let (sender, receiver) = hand_over_channel(CHANNEL_CAPACITY, main_waker);
            let context = Context {
                id,
                receiver,
                metrics: Arc::new(WorkerMetrics::new(main_waker)),
                main_waker: Arc::clone(main_waker),
                drain: Arc::clone(&drain),
                evictions: Arc::clone(evictions),
                settings: settings.clone(),
                turn_awaited: Arc::default(),
            };
            let ended = Arc::default();
            let (thread, waker) = start(&context, &ended, Some(ready.clone()))?;
            pool.workers.push(WorkerHandle {
                context,
                sender: HandOverSender::new(id, sender, waker),
                thread,
                ended,
            });
        }
        // Otherwise `recv` would block for ever if a worker dies before it polls.
        drop(ready);
        for _ in 0..count {
            all_ready
                .recv()
                .map_err(|_| io::Error::other("a worker died at its start"))?;
        }
        Ok(pool)
    }

    /// The metrics of each worker, by its number.
    pub(crate) fn metrics(&self) -> Arc<[Arc<WorkerMetrics>]> {
        let each = self.workers.iter();
        each.map(|worker| Arc::clone(&worker.context.metrics))
            .collect()
    }

    /// Connections open or waiting in a channel, of all workers.
    pub(crate) fn live(&self) -> usize {
        self.workers.iter().map(WorkerHandle::live).sum()
    }

    /// Bytes that clients of all workers have not accepted.
    pub(crate) fn held(&self) -> usize {
        let each = self.workers.iter();
        each.map(|worker| worker.context.metrics.held()).sum()
    }

    /// Orders the workers to check now how many bytes their clients hold; [`held`](Self::held)
    /// has the result of the last check.
    pub(crate) fn check_held(&self) {
        for worker in &self.workers {
            if worker.live() > 0 {
                worker.context.metrics.order_check();
                worker.sender.wake();
            }
        }
    }

    /// Whether workers have echoed so much since the last call that clients may hold much
    /// more than is known.
    pub(crate) fn take_echoed_much(&self) -> bool {
        self.take_from_each(WorkerMetrics::take_echoed_much)
    }

    /// Whether workers have checked what their clients hold since the last call.
    pub(crate) fn take_checked(&self) -> bool {
        self.take_from_each(WorkerMetrics::take_checked)
    }

    fn take_from_each(&self, take: fn(&WorkerMetrics) -> bool) -> bool {
        let each = self.workers.iter();
        each.fold(false, |any, worker| take(&worker.context.metrics) | any)
    }

    /// Orders the workers to shed `excess` of the `held` bytes, each in proportion to what its
    /// clients hold, from clients that accept nothing.
    pub(crate) fn shed(&self, excess: usize, held: usize) {
        self.order_shares(excess, held, WorkerMetrics::order_bytes);
    }

    /// Orders the workers to shed `excess` bytes at once, also from clients that have just
    /// accepted some.
    pub(crate) fn shed_soon(&self, excess: usize, held: usize) {
        self.order_shares(excess, held, WorkerMetrics::order_soon);
    }

    /// Orders the workers to shed `excess` bytes from the clients that hold the most, whether
    /// they accept some or not.
    pub(crate) fn shed_largest(&self, excess: usize, held: usize) {
        self.order_shares(excess, held, WorkerMetrics::order_largest);
    }

    fn order_shares(&self, excess: usize, held: usize, order: fn(&WorkerMetrics, usize)) {
        for worker in &self.workers {
            let metrics = &worker.context.metrics;
            let its = metrics.held() as u128;
            let share = (its * excess as u128).div_ceil(held.max(1) as u128);
            if share > 0 {
                order(metrics, usize::try_from(share).unwrap_or(usize::MAX));
                worker.sender.wake();
            }
        }
    }

    /// Orders every worker to shed up to this many clients that accept nothing.
    pub(crate) fn shed_clients(&self, clients: usize) {
        for worker in &self.workers {
            worker.context.metrics.order_clients(clients);
            worker.sender.wake();
        }
    }

    /// Whether some channel has room for another client.
    pub(crate) fn has_room(&self) -> bool {
        self.workers.iter().any(|worker| !worker.sender.is_full())
    }

    /// Hands a client to the worker with the fewest live connections, or, where
    /// that one's channel is full, to any other. Never blocks: when all are
    /// full the client comes back. The worker is woken at
    /// [`wake_handed`](Self::wake_handed).
    pub(crate) fn dispatch(&mut self, accepted: Accepted) -> Result<(), Accepted> {
        let count = self.workers.len();
        let turn = self.turn;
        let in_turn = (0..count).map(|step| (turn + step) % count);
        let first = in_turn
            .clone()
            .min_by_key(|&index| self.workers[index].live())
            .unwrap_or(0);
        self.turn = (first + 1) % count;
        let mut refused = match self.workers[first].offer(accepted) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        for index in in_turn {
            match self.workers[index].offer(refused) {
                Ok(()) => return Ok(()),
                Err(again) => refused = again,
            }
        }
        Err(refused)
    }

    /// Wakes every worker that got a client since the last call. Once for many
    /// clients, since a worker that is woken takes the processor from the thread
    /// that still accepts.
    pub(crate) fn wake_handed(&mut self) {
        for worker in &mut self.workers {
            worker.sender.wake_pushed();
        }
    }

    /// Starts a watchdog round: every worker has to take a turn.
    pub(crate) fn start_watchdog_round(&self) {
        for worker in &self.workers {
            worker.context.turn_awaited.store(true, Ordering::SeqCst);
            worker.sender.wake();
        }
    }

    /// A worker that has not taken a turn since the last watchdog round began.
    pub(crate) fn unresponsive(&self) -> Option<usize> {
        let is_awaited =
            |worker: &&WorkerHandle| worker.context.turn_awaited.load(Ordering::SeqCst);
        let worker = self.workers.iter().find(is_awaited)?;
        Some(worker.context.id)
    }

    /// Whether a worker has died since the last call of [`reap`](Self::reap).
    pub(crate) fn has_dead(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.ended.load(Ordering::SeqCst))
    }

    /// Joins every worker that has died since the last call, reports it and
    /// replaces it.
    ///
    /// # Errors
    /// A replacement could not be started; clients in the dead worker's channel are not served.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        for worker in &mut self.workers {
            if !worker.ended.swap(false, Ordering::SeqCst) {
                continue;
            }
            let (thread, waker) = start(&worker.context, &worker.ended, None)?;
            let end = join(std::mem::replace(&mut worker.thread, thread));
            worker.context.metrics.replaced.add(1);
            let id = worker.context.id;
            log::error!("worker {id}: {end}; its connections are closed, another takes its place");
            // Clients that were handed over in the meantime wait in the channel.
            worker.sender.reconnect(waker);
        }
        Ok(())
    }

    /// Orders every worker to drain, and joins them.
    pub(crate) fn stop(mut self, drain: Drain) -> Vec<WorkerReport> {
        self.order_drain(drain);
        let workers = std::mem::take(&mut self.workers);
        // One that died just before was not replaced. To join the others may take long.
        let ended = workers.iter().filter(|worker| worker.thread.is_finished());
        ended.for_each(|worker| worker.context.abandon_datagrams());
        let report = |worker: WorkerHandle| {
            let end = join(worker.thread);
            worker.context.abandon_datagrams();
            let metrics = worker.context.metrics;
            WorkerReport {
                id: worker.context.id,
                end,
                replaced: metrics.replaced.get(),
                connections: metrics.counters.connections.get(),
                bytes: metrics.counters.bytes.get(),
                cut: metrics.counters.cut.get(),
                evicted: metrics.counters.evicted.get(),
                datagrams: metrics.counters.datagrams.get(),
            }
        };
        workers.into_iter().map(report).collect()
    }

    fn order_drain(&self, drain: Drain) {
        for worker in &self.workers {
            // All contexts share one cell; the first order counts.
            let _ = worker.context.drain.set(drain);
            worker.sender.wake();
        }
    }
}

/// A pool that is dropped without a stop leaves no thread behind: its connections are
/// cut at once.
impl Drop for Pool {
    fn drop(&mut self) {
        let now = Instant::now();
        self.order_drain(Drain {
            since: now,
            deadline: now,
            quiet: Duration::ZERO,
        });
        for worker in self.workers.drain(..) {
            join(worker.thread);
        }
    }
}

/// Starts a worker, which reports to `ready` once it has polled.
fn start(
    context: &Context,
    ended: &Arc<AtomicBool>,
    ready: Option<Sender<()>>,
) -> io::Result<(JoinHandle<End>, Arc<Waker>)> {
    let (worker, waker) = Worker::new(context.clone())?;
    let ended = Arc::clone(ended);
    let context = context.clone();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", context.id))
        .spawn(move || {
            context.metrics.counters.begin();
            let end = match catch_unwind(AssertUnwindSafe(|| worker.run(ready))) {
                Ok(Ok(())) => End::Ok,
                Ok(Err(error)) => End::Failed(cause(&error)),
                Err(panic) => End::Panicked(panic_message(panic.as_ref())),
            };
            if context.drain.get().is_some() {
                context.abandon_datagrams();
            }
            ended.store(true, Ordering::SeqCst);
            context.main_waker.wake();
            end
        })?;
    // For its first turn.
    waker.wake()?;
    Ok((thread, waker))
}

fn join(thread: JoinHandle<End>) -> End {
    thread
        .join()
        .unwrap_or_else(|panic| End::Panicked(panic_message(panic.as_ref())))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    use mio::{Poll, Token};

    use super::*;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    use crate::base::sys::datagram::{receive_joined, send_segmented};
    use crate::base::testing::wait_until;
    use crate::proto::Protocol;
    use crate::worker::context::TimeLimits;
    use crate::worker::datagrams::protocol::DatagramProtocol;
    use crate::worker::datagrams::setup::{Answered, Bound, Setup};

    fn pool(workers: usize) -> (Pool, Poll) {
        pool_with(workers, Setup::default(), Duration::from_secs(5))
    }

    /// One that answers datagrams, with this limit on the time of a PROXY header.
    fn pool_with(workers: usize, datagrams: Setup, header: Duration) -> (Pool, Poll) {
        let poller = Poll::new().unwrap();
        let waker = Waker::new(poller.registry(), Token(0)).unwrap();
        let main_waker = Arc::new(MainWaker::new(waker));
        let settings = Settings {
            limits: TimeLimits {
                header,
                message: Duration::from_secs(30),
                idle: None,
                stall: None,
                lifetime: None,
            },
            busy_poll: Duration::ZERO,
            check_after: usize::MAX,
            whoami_tcp: false,
            pipes: 1,
            sources: None,
            datagrams: Arc::new(datagrams),
        };
        let pool = Pool::spawn(workers, &settings, &main_waker, &Arc::default()).unwrap();
        (pool, poller)
    }

    fn client(listener: &TcpListener) -> (TcpStream, Accepted) {
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let protocol = Protocol::Echo;
        let accepted = Accepted {
            stream,
            peer,
            protocol,
            at: Instant::now(),
            behind_proxy: false,
            source_guard: None,
        };
        (ours, accepted)
    }

    fn stop(pool: Pool) -> Vec<WorkerReport> {
        pool.stop(Drain {
            since: Instant::now(),
            deadline: Instant::now() + Duration::from_secs(30),
            quiet: Duration::ZERO,
        })
    }

    #[test]
    fn the_worker_with_the_fewest_clients_gets_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(3);
        let mut clients = Vec::new();
        for _ in 0..30 {
            let (ours, accepted) = client(&listener);
            assert!(pool.dispatch(accepted).is_ok());
            clients.push(ours);
        }
        assert_eq!(pool.live(), 30);
        let report = stop(pool);
        assert!(
            report.iter().all(|worker| worker.connections == 10),
            "{report:?}"
        );
    }

    #[test]
    fn fewer_clients_count_before_the_order_of_turns() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(2);
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (ours, accepted) = client(&listener);
            assert!(pool.dispatch(accepted).is_ok());
            clients.push(ours);
        }
        pool.wake_handed();
        // It is the first worker's turn, but the second has no client any more.
        clients.pop();
        wait_until(|| pool.live() == 1);
        let (_third, accepted) = client(&listener);
        assert!(pool.dispatch(accepted).is_ok());
        assert_eq!(pool.workers[1].live(), 1);
        stop(pool);
    }

    #[test]
    fn clients_that_connect_and_leave_one_by_one_are_spread_evenly() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(3);
        for _ in 0..9 {
            let (ours, accepted) = client(&listener);
            assert!(pool.dispatch(accepted).is_ok());
            pool.wake_handed();
            drop(ours);
            wait_until(|| pool.live() == 0);
        }
        let report = stop(pool);
        assert!(
            report.iter().all(|worker| worker.connections == 3),
            "{report:?}"
        );
    }

    #[test]
    fn each_worker_is_ordered_to_shed_its_share_of_the_bytes_held() {
        let (mut pool, _poller) = pool(3);
        for (worker, held) in pool.workers.iter_mut().zip([0, 100, 201]) {
            // Metrics that the worker does not have.
            worker.context.metrics = Arc::new(WorkerMetrics::new(&worker.context.main_waker));
            worker.context.metrics.publish_held(held);
        }
        assert_eq!(pool.held(), 301);
        pool.shed(30, 301);
        let orders = |pool: &Pool| {
            let orders = pool
                .workers
                .iter()
                .map(|worker| worker.context.metrics.take_order());
            orders.collect::<Vec<_>>()
        };
        assert_eq!(orders(&pool), [(0, 0), (10, 0), (21, 0)]);
        pool.shed_clients(2);
        assert_eq!(orders(&pool), [(0, 2), (0, 2), (0, 2)]);
        stop(pool);
    }

    /// The sockets of one worker: one of the server's own, and one of the service manager's,
    /// which receives several datagrams as one.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sockets() -> (Setup, SocketAddr, UdpSocket) {
        let [ours, managers] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let (address, kept) = (ours.local_addr().unwrap(), managers.try_clone().unwrap());
        receive_joined(&managers, true).unwrap();
        assert!(receives_joined(&managers));
        let bound = [(ours, false), (managers, true)].map(|(socket, is_handed_over)| Bound {
            protocol: DatagramProtocol::Echo,
            address: socket.local_addr().unwrap(),
            sockets: vec![socket],
            guard: None,
            is_handed_over,
        });
        let answered = Answered {
            low_ports: false,
            rate: None,
        };
        (Setup::new(bound.into(), 1, answered), address, kept)
    }

    /// Whether a message of two datagrams comes as one.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn receives_joined(socket: &UdpSocket) -> bool {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        send_segmented(&client, 1).unwrap();
        client.send_to(b"ab", socket.local_addr().unwrap()).unwrap();
        let bytes = socket.recv(&mut [0; 2]).unwrap();
        if bytes == 1 {
            assert_eq!(socket.recv(&mut [0; 2]).unwrap(), 1);
        }
        bytes == 2
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_worker_that_dies_in_a_stop_leaves_no_port_taken_and_no_socket_changed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (datagrams, address, managers) = sockets();
        // A time that has no end makes the worker panic which adds it to the present.
        let (mut pool, _poller) = pool_with(1, datagrams, Duration::MAX);
        let (_client, accepted) = client(&listener);
        let accepted = Accepted {
            behind_proxy: true,
            ..accepted
        };
        assert!(UdpSocket::bind(address).is_err());
        // The worker is woken for it by the stop.
        assert!(pool.dispatch(accepted).is_ok());
        let settings = pool.workers[0].context.settings.clone();
        let report = stop(pool);
        assert!(matches!(&report[0].end, End::Panicked(_)), "{report:?}");
        assert!(UdpSocket::bind(address).is_ok());
        assert!(!receives_joined(&managers));
        // Until here others have the sockets' owner as well.
        drop(settings);
    }

    #[test]
    fn the_message_of_a_panic_is_kept() {
        assert_eq!(panic_message(&"a text"), "a text");
        assert_eq!(panic_message(&String::from("a string")), "a string");
        assert_eq!(panic_message(&7), "no message");
    }

    #[test]
    fn a_worker_that_takes_no_turn_in_a_watchdog_round_is_unresponsive() {
        let (mut pool, _poller) = pool(3);
        pool.start_watchdog_round();
        wait_until(|| pool.unresponsive().is_none());
        // A flag that this worker does not have and never clears.
        pool.workers[1].context.turn_awaited = Arc::default();
        pool.start_watchdog_round();
        wait_until(|| pool.unresponsive() == Some(1));
        stop(pool);
    }

    #[test]
    fn a_client_comes_back_when_no_channel_has_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(2);
        // Each worker's channel is replaced by one of capacity 1 that is not emptied.
        let idle = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(idle.registry(), Token(0)).unwrap());
        let stuck = pool.workers.iter_mut().map(|worker| {
            let (sender, receiver) = bounded(1);
            let sender = HandOverSender::new(worker.context.id, sender, Arc::clone(&waker));
            (std::mem::replace(&mut worker.sender, sender), receiver)
        });
        let stuck: Vec<_> = stuck.collect();
        let (_first, accepted) = client(&listener);
        assert!(pool.dispatch(accepted).is_ok());
        assert!(pool.has_room());
        let (_second, accepted) = client(&listener);
        assert!(pool.dispatch(accepted).is_ok());
        assert!(!pool.has_room());
        let (third, accepted) = client(&listener);
        let Err(back) = pool.dispatch(accepted) else {
            panic!("no channel had room");
        };
        assert_eq!(back.peer, third.local_addr().unwrap());
        assert_eq!(pool.live(), 2, "a client that came back is not counted");
        for (worker, (sender, _)) in pool.workers.iter_mut().zip(stuck) {
            worker.sender = sender;
        }
        stop(pool);
    }
}
