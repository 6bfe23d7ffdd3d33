//! The addresses that the connections of a run go to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bench::results::AddressCounts;
use crate::probe::addresses::Addresses;

/// One address, and what became of the connections to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) connected: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Target {
    fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            connected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }
}

/// The targets by what is known of them.
#[derive(Debug)]
struct Known {
    /// Those that have answered, and are among the server's addresses: new connections go
    /// to them in turn.
    answering: Vec<Arc<Target>>,
    /// Further addresses of the server: tried where those that have answered fail.
    others: Vec<Arc<Target>>,
    /// The server's addresses that these were made from.
    addresses: Arc<[SocketAddr]>,
    /// All targets that a connection was made to, or tried.
    all: Vec<Arc<Target>>,
}

/// The addresses that the connections of a run go to.
///
/// Without reconnection it is the first one that answered. With it every address is used in
/// turn; a connection that fails goes to the next address at once, and the name is resolved
/// again.
#[derive(Debug)]
pub(super) struct Targets {
    /// `None` where there is but one.
    rotation: Option<Addresses>,
    known: Mutex<Known>,
    /// The turn of the next slot that connects.
    turn: AtomicU32,
}

impl Targets {
    /// All connections go to one address.
    pub(super) fn one(address: SocketAddr) -> Self {
        Self::new(None, &[address])
    }

    /// Connections go to the `answering` addresses in turn, which are among `addresses`.
    pub(super) fn in_turn(addresses: &Addresses, answering: &[SocketAddr]) -> Self {
        Self::new(Some(addresses.clone()), answering)
    }

    fn new(rotation: Option<Addresses>, answering: &[SocketAddr]) -> Self {
        let mut known = Known {
            answering: answering.iter().copied().map(Target::new).collect(),
            others: Vec::new(),
            addresses: Arc::default(),
            all: Vec::new(),
        };
        known.all.clone_from(&known.answering);
        if let Some(addresses) = &rotation {
            known.update(&addresses.known());
        }
        Self {
            rotation,
            known: Mutex::new(known),
            // The first one is that of the connection that is made already.
            turn: AtomicU32::new(1),
        }
    }

    /// The turn of a slot that begins to connect: the slots share the addresses evenly.
    pub(super) fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The target for an attempt of the slot whose turn this is, after so many that failed.
    pub(super) fn choose(&self, turn: u32, failed: u32) -> Arc<Target> {
        let mut known = self.lock();
        if let Some(addresses) = &self.rotation {
            known.update(&addresses.known());
        }
        known.choose(turn, failed)
    }

    /// The target has answered.
    pub(super) fn answered(&self, target: &Arc<Target>) {
        if self.rotation.is_none() {
            return;
        }
        let mut known = self.lock();
        let place = known.others.iter().position(|at| Arc::ptr_eq(at, target));
        if let Some(place) = place {
            let target = known.others.remove(place);
            known.answering.push(target);
        }
    }

    /// A connection has failed: the name may have moved to another address.
    pub(super) fn resolve_again(&self) {
        if let Some(addresses) = &self.rotation {
            addresses.resolve_again();
        }
    }

    /// How many addresses an attempt can go to.
    pub(super) fn count(&self) -> u32 {
        let known = self.lock();
        let count = known.answering.len() + known.others.len();
        u32::try_from(count).unwrap_or(u32::MAX).max(1)
    }

    /// The address that answered first.
    pub(super) fn first(&self) -> SocketAddr {
        self.lock().all[0].address
    }

    /// The counts of all addresses that were connected to, or tried.
    pub(super) fn counts(&self) -> Vec<AddressCounts> {
        let known = self.lock();
        let counts = known.all.iter().map(|target| AddressCounts {
            address: target.address.to_string(),
            connected: target.connected.load(Ordering::Relaxed),
            failed: target.failed.load(Ordering::Relaxed),
            lost: target.lost.load(Ordering::Relaxed),
        });
        let is_used = |at: &AddressCounts| at.connected + at.failed + at.lost > 0;
        counts.filter(is_used).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes over the server's addresses, if they have changed.
    fn update(&mut self, addresses: &Arc<[SocketAddr]>) {
        if *addresses == self.addresses {
            return;
        }
        self.addresses = Arc::clone(addresses);
        let is_current = |target: &Arc<Target>| addresses.contains(&target.address);
        self.answering.retain(is_current);
        self.others.retain(is_current);
        for &address in addresses.iter() {
            let is_here = |target: &Arc<Target>| target.address == address;
            if self.answering.iter().any(is_here) || self.others.iter().any(is_here) {
                continue;
            }
            let target = match self.all.iter().find(|target| target.address == address) {
                Some(target) => Arc::clone(target),
                None => Target::new(address),
            };
            if !self.all.iter().any(is_here) {
                self.all.push(Arc::clone(&target));
            }
            self.others.push(target);
        }
    }

    fn choose(&self, turn: u32, failed: u32) -> Arc<Target> {
        let (answering, others) = (self.answering.len(), self.others.len());
        let place = failed as usize % (answering + others).max(1);
        let in_turn = |number: usize| (turn as usize).wrapping_add(place) % number;
        let target = match place < answering {
            true => self.answering.get(in_turn(answering)),
            false => self.others.get(place - answering),
        };
        // There is always one: an answer of the resolver is never empty.
        Arc::clone(target.unwrap_or(&self.all[0]))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], number))
    }

    fn ports(targets: &Targets, turns: std::ops::Range<u32>, failed: u32) -> Vec<u16> {
        turns
            .map(|turn| targets.choose(turn, failed).address.port())
            .collect()
    }

    #[test]
    fn connections_go_to_each_address_that_answers_in_turn() {
        let addresses = Addresses::from([address(1), address(2), address(3)]);
        let targets = Targets::in_turn(&addresses, &[address(3), address(1)]);
        assert_eq!(ports(&targets, 0..4, 0), [3, 1, 3, 1]);
        // After a failure the next one, and only then the one that has never answered.
        assert_eq!(ports(&targets, 0..4, 1), [1, 3, 1, 3]);
        assert_eq!(ports(&targets, 0..4, 2), [2, 2, 2, 2]);
        assert_eq!(ports(&targets, 0..4, 3), [3, 1, 3, 1]);
        assert_eq!(targets.count(), 3);
        targets.answered(&targets.choose(0, 2));
        assert_eq!(ports(&targets, 0..4, 0), [3, 1, 2, 3]);
    }

    #[test]
    fn without_rotation_all_go_to_one() {
        let targets = Targets::one(address(7));
        assert_eq!(ports(&targets, 0..3, 0), [7, 7, 7]);
        assert_eq!(ports(&targets, 0..3, 5), [7, 7, 7]);
        assert_eq!(targets.count(), 1);
    }

    #[test]
    fn a_name_that_moves_is_followed_and_its_old_counts_stay() {
        let mut answers = vec![vec![address(2)], vec![address(1)]];
        let moved = Addresses::resolved_by(move || Ok(answers.pop().unwrap())).unwrap();
        let targets = Targets::in_turn(&moved, &[address(1)]);
        let old = targets.choose(0, 0);
        old.connected.fetch_add(1, Ordering::Relaxed);
        targets.resolve_again();
        let until = Instant::now() + Duration::from_secs(60);
        while targets.choose(0, 0).address != address(2) {
            assert!(Instant::now() < until, "it stays at the old address");
            std::thread::sleep(Duration::from_millis(1));
        }
        targets
            .choose(0, 0)
            .connected
            .fetch_add(2, Ordering::Relaxed);
        let counts = targets.counts().into_iter();
        let counts: Vec<_> = counts.map(|at| (at.address, at.connected)).collect();
        let want = [(address(1).to_string(), 1), (address(2).to_string(), 2)];
        assert_eq!(counts, want);
    }
}
