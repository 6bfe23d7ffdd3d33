//! The sockets of each worker, and the rules that all of them follow.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::buckets::Buckets;
use super::protocol::DatagramProtocol;
use super::rules::Rules;

/// Who is answered; the server's configuration says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// Source ports below 1024 as well.
    pub(crate) low_ports: bool,
    /// How many tokens a second each source has; `None` for no limit.
    pub(crate) rate: Option<u32>,
}

/// A bound address, with a socket for each worker or one that all share.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) protocol: DatagramProtocol,
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<UdpSocket>,
    /// Keeps other programs off the port while it is open.
    pub(crate) guard: Option<UdpSocket>,
    /// The service manager has the socket, too, and hands it to the next start.
    pub(crate) is_handed_over: bool,
}

/// A socket as a worker has it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) protocol: DatagramProtocol,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) address: SocketAddr,
    /// This worker counts what the kernel drops of the socket's: one that several share is
    /// counted once.
    pub(super) counts_drops: bool,
    /// No other process has the socket, so what is in its queue when it is closed is lost.
    pub(super) is_ours: bool,
}

/// As in the log: `udp://127.0.0.1:20162`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

/// What the workers have of datagrams. A worker that is replaced leaves its sockets, and what
/// is queued in them, to its successor. The default has no sockets.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Of each worker, by its number. Locked when a worker starts and when it ends.
    endpoints: Vec<Mutex<Vec<Endpoint>>>,
    /// Open for as long as this is there; nothing is done with them.
    _guards: Vec<UdpSocket>,
    pub(super) rules: Rules,
}

impl Setup {
    /// Distributes sockets over `workers`, at least 1.
    pub(crate) fn new(bound: Vec<Bound>, workers: usize, answered: Answered) -> Self {
        let mut each: Vec<Vec<Endpoint>> = vec![Vec::new(); workers];
        let mut guards = Vec::new();
        let own_ports = bound.iter().map(|bound| bound.address.port()).collect();
        for Bound {
            protocol,
            address,
            sockets,
            guard,
            is_handed_over,
        } in bound
        {
            guards.extend(guard);
            let is_shared = sockets.len() == 1;
            for (number, socket) in sockets.into_iter().enumerate() {
                let endpoint = Endpoint {
                    protocol,
                    socket: Arc::new(socket),
                    address,
                    counts_drops: true,
                    is_ours: !is_handed_over,
                };
                each[number % workers].push(endpoint.clone());
                if is_shared {
                    let other = Endpoint {
                        counts_drops: false,
                        ..endpoint
                    };
                    each[1..].iter_mut().for_each(|its| its.push(other.clone()));
                }
            }
        }
        Self {
            endpoints: each.into_iter().map(Mutex::new).collect(),
            _guards: guards,
            rules: Rules {
                answers_low_ports: answered.low_ports,
                own_ports,
                buckets: answered.rate.map(|rate| Buckets::new(rate, Instant::now())),
            },
        }
    }

    /// The sockets of one worker.
    pub(super) fn endpoints(&self, worker: usize) -> Vec<Endpoint> {
        self.lock(worker).map_or_else(Vec::new, |its| its.clone())
    }

    /// Gives a socket of a worker up. It is closed once the worker has dropped its own.
    pub(super) fn give_up(&self, worker: usize, endpoint: &Endpoint) {
        if let Some(mut its) = self.lock(worker) {
            its.retain(|other| !Arc::ptr_eq(&other.socket, &endpoint.socket));
        }
    }

    /// A panic can't leave the list inconsistent, so a poisoned lock is usable.
    fn lock(&self, worker: usize) -> Option<MutexGuard<'_, Vec<Endpoint>>> {
        let endpoints = self.endpoints.get(worker)?.lock();
        Some(endpoints.unwrap_or_else(PoisonError::into_inner))
    }
}
