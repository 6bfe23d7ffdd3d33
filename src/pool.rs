//! The fixed pool: spawn, dispatch, reap, report.
//!
//! Every worker has a seat: its channel, its tally and its thread. The main
//! thread puts each client on the seat with the fewest live connections. A
//! worker that panics is reaped, reported and replaced, and the clients that
//! wait in its channel are served by its successor.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use mio::Waker;

use crate::proto::Protocol;
use crate::worker::channel::{Inbox, Outbox, mailbox};
use crate::worker::deadlines::TimeLimits;
use crate::worker::event_loop::Worker;
use crate::worker::eviction::{Counts, Notices};
use crate::worker::metrics::Tally;
use crate::worker::source::{Place, Sources};
use crate::worker::waker::Bell;

/// How many clients may wait in one worker's channel. A worker empties it on
/// every turn, so this fills only while one turn lasts.
const CHANNEL_CAPACITY: usize = 1024;

/// The most workers a pool has; far beyond the point where more of them help.
pub const MAX_WORKERS: usize = 1024;

/// One client's place on a worker: counted from the hand-over to the close,
/// whichever way the connection ends.
pub(crate) struct Lease(Arc<Tally>);

impl Lease {
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        tally.places.take();
        Self(Arc::clone(tally))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.places.give_back();
    }
}

/// A client as the main thread accepted it.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: Protocol,
    /// When it was accepted: no two have the same.
    pub(crate) at: Instant,
    /// `peer` is a load balancer, which names the client in a PROXY header.
    pub(crate) announced: bool,
    /// Where the clients of a source are counted.
    pub(crate) place: Option<Place>,
}

/// A client on its way through the channel. The stream is closed before the
/// lease is given back, so that whoever gets the room finds the descriptor free.
pub(crate) struct Handoff {
    pub(crate) accepted: Accepted,
    pub(crate) lease: Lease,
}

/// The order to stop, as the workers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// When it was given.
    pub(crate) since: Instant,
    /// When what is still connected is cut.
    pub(crate) deadline: Instant,
    /// How long a connection must be quiet to be let go.
    pub(crate) quiet: Duration,
}

/// What each worker is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long its connections may take for what.
    pub(crate) limits: TimeLimits,
    /// How long it polls after activity before it sleeps.
    pub(crate) busy_poll: Duration,
    /// How many pipes it may have.
    pub(crate) pipes: usize,
    /// How many clients a source may have, to be asked by who comes to know a client.
    pub(crate) sources: Option<Arc<Sources>>,
}

/// What a worker shares with the pool.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) id: usize,
    pub(crate) inbox: Inbox<Handoff>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) drain: Arc<OnceLock<Drain>>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) settings: Settings,
    /// It is asked whether it still takes its turns; its next one clears this.
    pub(crate) asked: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

#[cfg(test)]
impl Desk {
    /// Of a worker that no pool has. Nobody hears its bell.
    pub(crate) fn alone(settings: Settings) -> Self {
        let poller = mio::Poll::new().unwrap();
        let waker = Waker::new(poller.registry(), mio::Token(0)).unwrap();
        let bell = Arc::new(Bell::new(waker));
        Self {
            id: 0,
            inbox: mailbox(1, &bell).1,
            tally: Arc::new(Tally::new(&bell)),
            bell,
            drain: Arc::default(),
            notices: Arc::default(),
            settings,
            asked: Arc::default(),
            ended: Arc::default(),
        }
    }
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It served its last client and returned.
    Ok,
    /// It panicked, with this message; its connections were closed.
    Panicked(String),
    /// Its poller failed, with this cause; its connections were closed.
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

/// What one worker did, as told when the pool is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// The worker's number, from 0.
    pub id: usize,
    /// How it ended.
    pub end: End,
    /// How many workers on this seat died and were replaced before.
    pub replaced: u64,
    /// Connections served.
    pub connections: u64,
    /// Bytes sent back.
    pub bytes: u64,
    /// Connections cut when the grace period ran out.
    pub cut: u64,
    /// Connections ended by a limit.
    pub evicted: Counts,
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worker {}: {}, {} connections, {} bytes echoed{}",
            self.id, self.end, self.connections, self.bytes, self.evicted
        )?;
        match self.replaced {
            0 => Ok(()),
            times => write!(f, ", replaced {times} times"),
        }
    }
}

struct Seat {
    desk: Desk,
    outbox: Outbox<Handoff>,
    thread: JoinHandle<End>,
}

impl Seat {
    fn live(&self) -> usize {
        self.desk.tally.places.taken()
    }

    /// Offers a client; one that does not fit comes back.
    fn offer(&mut self, accepted: Accepted) -> Result<(), Accepted> {
        let lease = Lease::new(&self.desk.tally);
        let handoff = Handoff { accepted, lease };
        self.outbox
            .push(handoff)
            .map_err(|refused| refused.accepted)
    }
}

/// A fixed number of workers, all running.
pub(crate) struct Pool {
    seats: Vec<Seat>,
    /// The seat that gets the next client among equally loaded ones.
    turn: usize,
}

impl Pool {
    /// Spawns `workers` threads and waits until each of them polls.
    pub(crate) fn spawn(
        workers: usize,
        settings: &Settings,
        bell: &Arc<Bell>,
        notices: &Arc<Notices>,
    ) -> io::Result<Self> {
        let (ready, all_ready) = bounded(workers);
        let drain = Arc::new(OnceLock::new());
        let seat = |id| {
            let (sender, inbox) = mailbox(CHANNEL_CAPACITY, bell);
            let desk = Desk {
                id,
                inbox,
                tally: Arc::new(Tally::new(bell)),
                bell: Arc::clone(bell),
                drain: Arc::clone(&drain),
                notices: Arc::clone(notices),
                settings: settings.clone(),
                asked: Arc::default(),
                ended: Arc::default(),
            };
            let (thread, waker) = start(&desk, Some(ready.clone()))?;
            Ok(Seat {
                desk,
                outbox: Outbox::new(id, sender, waker),
                thread,
            })
        };
        let seats = (0..workers).map(seat).collect::<io::Result<Vec<_>>>()?;
        // Of a worker that dies before nothing else would tell.
        drop(ready);
        for _ in 0..workers {
            all_ready
                .recv()
                .map_err(|_| io::Error::other("a worker died at its start"))?;
        }
        Ok(Self { seats, turn: 0 })
    }

    /// What each worker counts, by its number.
    pub(crate) fn tallies(&self) -> Arc<[Arc<Tally>]> {
        let each = self.seats.iter().map(|seat| Arc::clone(&seat.desk.tally));
        each.collect()
    }

    /// Connections open or waiting in a channel, of all workers.
    pub(crate) fn live(&self) -> usize {
        self.seats.iter().map(Seat::live).sum()
    }

    /// Bytes that clients of all workers hold and do not take.
    pub(crate) fn held(&self) -> usize {
        self.seats.iter().map(|seat| seat.desk.tally.held()).sum()
    }

    /// Whether clients may hold more than that, unseen.
    pub(crate) fn has_touched(&self) -> bool {
        let mut tallies = self.seats.iter().map(|seat| &seat.desk.tally);
        tallies.any(|tally| tally.has_touched())
    }

    /// Has the workers see now what they hold.
    pub(crate) fn look_at_touched(&self) {
        for seat in &self.seats {
            if seat.desk.tally.has_touched() {
                seat.desk.tally.order_look();
                seat.outbox.wake();
            }
        }
    }

    /// Has `excess` of the `held` bytes shed, of each worker in proportion, by clients
    /// that take nothing.
    pub(crate) fn shed(&self, excess: usize, held: usize) {
        self.order_shares(excess, held, Tally::order_bytes);
    }

    /// The same by those that hold the most, whether they take some or not.
    pub(crate) fn shed_largest(&self, excess: usize, held: usize) {
        self.order_shares(excess, held, Tally::order_largest);
    }

    fn order_shares(&self, excess: usize, held: usize, order: fn(&Tally, usize)) {
        for seat in &self.seats {
            let tally = &seat.desk.tally;
            let its = tally.held() as u128;
            let share = (its * excess as u128).div_ceil(held.max(1) as u128);
            if share > 0 {
                order(tally, usize::try_from(share).unwrap_or(usize::MAX));
                seat.outbox.wake();
            }
        }
    }

    /// Has every worker shed up to so many clients that take nothing.
    pub(crate) fn shed_places(&self, clients: usize) {
        for seat in &self.seats {
            seat.desk.tally.order_places(clients);
            seat.outbox.wake();
        }
    }

    /// Whether some channel takes another client.
    pub(crate) fn has_room(&self) -> bool {
        self.seats.iter().any(|seat| !seat.outbox.is_full())
    }

    /// Hands a client to the worker with the fewest live connections, or, where
    /// that one's channel is full, to any other. Never blocks: when all are
    /// full the client comes back. The worker hears of it at
    /// [`wake_handed`](Self::wake_handed).
    pub(crate) fn dispatch(&mut self, accepted: Accepted) -> Result<(), Accepted> {
        let count = self.seats.len();
        let turn = self.turn;
        let in_turn = (0..count).map(|step| (turn + step) % count);
        let first = in_turn
            .clone()
            .min_by_key(|&index| self.seats[index].live())
            .unwrap_or(0);
        self.turn = (first + 1) % count;
        let mut refused = match self.seats[first].offer(accepted) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        for index in in_turn {
            match self.seats[index].offer(refused) {
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
        for seat in &mut self.seats {
            seat.outbox.wake_pushed();
        }
    }

    /// Asks every worker whether it still takes its turns.
    pub(crate) fn call_roll(&self) {
        for seat in &self.seats {
            seat.desk.asked.store(true, Ordering::SeqCst);
            seat.outbox.wake();
        }
    }

    /// A worker that has not taken a turn since it was last asked.
    pub(crate) fn silent(&self) -> Option<usize> {
        let is_silent = |seat: &&Seat| seat.desk.asked.load(Ordering::SeqCst);
        self.seats.iter().find(is_silent).map(|seat| seat.desk.id)
    }

    /// Whether a worker has died since the last call of [`reap`](Self::reap).
    pub(crate) fn has_dead(&self) -> bool {
        let mut desks = self.seats.iter().map(|seat| &seat.desk);
        desks.any(|desk| desk.ended.load(Ordering::SeqCst))
    }

    /// Joins every worker that has died since the last call, reports it and
    /// puts another in its place.
    ///
    /// # Errors
    /// A replacement could not be started; the seat is vacant then.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        for seat in &mut self.seats {
            if !seat.desk.ended.swap(false, Ordering::SeqCst) {
                continue;
            }
            let (thread, waker) = start(&seat.desk, None)?;
            let end = join(std::mem::replace(&mut seat.thread, thread));
            seat.desk.tally.replaced.add(1);
            let id = seat.desk.id;
            log::error!("worker {id}: {end}; its connections are closed, another takes its place");
            // Whoever came while nobody sat here waits in the channel.
            seat.outbox.hand_on(waker);
        }
        Ok(())
    }

    /// Tells every worker to serve what it has until `drain`, and joins them.
    pub(crate) fn stop(self, drain: Drain) -> Vec<WorkerReport> {
        for seat in &self.seats {
            // Each desk shares one cell; the first set counts.
            let _ = seat.desk.drain.set(drain);
            seat.outbox.wake();
        }
        let report = |seat: Seat| {
            let end = join(seat.thread);
            let tally = seat.desk.tally;
            WorkerReport {
                id: seat.desk.id,
                end,
                replaced: tally.replaced.get(),
                connections: tally.work.connections.get(),
                bytes: tally.work.bytes.get(),
                cut: tally.work.cut.get(),
                evicted: tally.work.evicted.get(),
            }
        };
        self.seats.into_iter().map(report).collect()
    }
}

/// Starts a worker at `desk`, which tells `ready` once it has polled.
fn start(desk: &Desk, ready: Option<Sender<()>>) -> io::Result<(JoinHandle<End>, Arc<Waker>)> {
    let (worker, waker) = Worker::new(desk.clone())?;
    let ended = Arc::clone(&desk.ended);
    let tally = Arc::clone(&desk.tally);
    let bell = Arc::clone(&desk.bell);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{}", desk.id))
        .spawn(move || {
            tally.work.begin();
            let end = match catch_unwind(AssertUnwindSafe(|| worker.run(ready))) {
                Ok(Ok(())) => End::Ok,
                Ok(Err(error)) => End::Failed(crate::base::error::cause(&error)),
                Err(panic) => End::Panicked(panic_message(panic.as_ref())),
            };
            ended.store(true, Ordering::SeqCst);
            bell.ring();
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
    use std::net::TcpListener;

    use mio::{Poll, Token};

    use super::*;
    use crate::worker::conn::tests::wait_until;

    fn pool(workers: usize) -> (Pool, Poll) {
        let poller = Poll::new().unwrap();
        let waker = Waker::new(poller.registry(), Token(0)).unwrap();
        let bell = Arc::new(Bell::new(waker));
        let settings = Settings {
            limits: TimeLimits {
                header: Duration::from_secs(5),
                message: Duration::from_secs(30),
                idle: None,
                stall: None,
                lifetime: None,
            },
            busy_poll: Duration::ZERO,
            pipes: 1,
            sources: None,
        };
        let pool = Pool::spawn(workers, &settings, &bell, &Arc::default()).unwrap();
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
            announced: false,
            place: None,
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
    fn the_fewest_clients_come_before_whose_turn_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(2);
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (ours, accepted) = client(&listener);
            assert!(pool.dispatch(accepted).is_ok());
            clients.push(ours);
        }
        pool.wake_handed();
        // It would be the first worker's turn, and the second has none any more.
        clients.pop();
        wait_until(|| pool.live() == 1);
        let (_third, accepted) = client(&listener);
        assert!(pool.dispatch(accepted).is_ok());
        assert_eq!(pool.seats[1].live(), 1);
        stop(pool);
    }

    #[test]
    fn those_that_come_and_go_one_by_one_are_spread_as_well() {
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
    fn each_worker_is_to_shed_its_part_of_what_is_held() {
        let (mut pool, _poller) = pool(3);
        for (seat, held) in pool.seats.iter_mut().zip([0, 100, 201]) {
            // A page that the worker never sees.
            seat.desk.tally = Arc::new(Tally::new(&seat.desk.bell));
            seat.desk.tally.tell_held(held);
        }
        assert_eq!(pool.held(), 301);
        pool.shed(30, 301);
        let orders = |pool: &Pool| {
            let orders = pool.seats.iter().map(|seat| seat.desk.tally.take_order());
            orders.collect::<Vec<_>>()
        };
        assert_eq!(orders(&pool), [(0, 0), (10, 0), (21, 0)]);
        pool.shed_places(2);
        assert_eq!(orders(&pool), [(0, 2), (0, 2), (0, 2)]);
        stop(pool);
    }

    #[test]
    fn what_a_panic_said_is_kept() {
        assert_eq!(panic_message(&"a text"), "a text");
        assert_eq!(panic_message(&String::from("a string")), "a string");
        assert_eq!(panic_message(&7), "no message");
    }

    #[test]
    fn a_worker_that_takes_no_turn_after_it_was_asked_is_silent() {
        let (mut pool, _poller) = pool(3);
        pool.call_roll();
        wait_until(|| pool.silent().is_none());
        // A question that worker never sees.
        pool.seats[1].desk.asked = Arc::default();
        pool.call_roll();
        wait_until(|| pool.silent() == Some(1));
        stop(pool);
    }

    #[test]
    fn a_client_that_no_channel_has_room_for_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut pool, _poller) = pool(2);
        // A channel of one, which nobody empties, in the place of each.
        let nobody = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(nobody.registry(), Token(0)).unwrap());
        let stuck = pool.seats.iter_mut().map(|seat| {
            let (sender, receiver) = bounded(1);
            let outbox = Outbox::new(seat.desk.id, sender, Arc::clone(&waker));
            (std::mem::replace(&mut seat.outbox, outbox), receiver)
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
            panic!("there was no room");
        };
        assert_eq!(back.peer, third.local_addr().unwrap());
        assert_eq!(pool.live(), 2, "a client that came back holds no lease");
        for (seat, (outbox, _)) in pool.seats.iter_mut().zip(stuck) {
            seat.outbox = outbox;
        }
        stop(pool);
    }
}
