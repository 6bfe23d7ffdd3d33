//! The sockets of each worker, and the rules that all of them follow.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::buckets::Buckets;
use super::log::DatagramLog;
use super::own::OwnAddresses;
use super::protocol::DatagramProtocol;
use super::reflector::Reflector;
use super::rules::Rules;
use crate::base::sys::datagram::receive_joined;

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
    /// It is bound to all addresses, so an answer must name the one that it is from.
    pub(super) is_everywhere: bool,
    /// Other workers have it as well.
    pub(super) is_shared: bool,
    /// This worker counts what the kernel drops of the socket's: one that several share is
    /// counted once.
    pub(super) counts_drops: bool,
    /// No other process has the socket, so what is in its queue when it is closed is lost.
    pub(super) is_ours: bool,
    /// The guard of its port, open for as long as any of the address's sockets.
    _guard: Option<Arc<UdpSocket>>,
}

/// As in the log: `udp://127.0.0.1:20162`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

/// What a worker leaves of a socket to its successor.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The kernel's count of drops when it was last read; `None` if it never was.
    pub(super) dropped: Option<u32>,
    pub(super) reflector: Reflector,
}

/// What the workers have of datagrams. A worker that is replaced leaves its sockets, and what
/// is queued in them, to its successor. The default has no sockets.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    /// Of each worker, by its number. Locked when a worker starts and when it ends.
    endpoints: Vec<Mutex<Vec<(Endpoint, State)>>>,
    pub(super) rules: Rules,
    pub(super) log: Arc<DatagramLog>,
}

impl Setup {
    /// Distributes sockets over `workers`, at least 1.
    pub(crate) fn new(bound: Vec<Bound>, workers: usize, answered: Answered) -> Self {
        let mut each: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let own_ports = bound.iter().map(|bound| bound.address.port()).collect();
        for (index, bound) in bound.into_iter().enumerate() {
            let Bound {
                protocol,
                address,
                sockets,
                guard,
                is_handed_over,
            } = bound;
            let guard = guard.map(Arc::new);
            let is_one = sockets.len() == 1;
            // A session of STAMP has one count, so one worker has them all.
            let is_shared = is_one && workers > 1 && protocol == DatagramProtocol::Echo;
            let first = if is_one && !is_shared { index } else { 0 };
            for (number, socket) in sockets.into_iter().enumerate() {
                let endpoint = Endpoint {
                    protocol,
                    socket: Arc::new(socket),
                    address,
                    is_everywhere: address.ip().to_canonical().is_unspecified(),
                    is_shared,
                    counts_drops: true,
                    is_ours: !is_handed_over,
                    _guard: guard.clone(),
                };
                each[(first + number) % workers].push((endpoint.clone(), State::default()));
                if is_shared {
                    let other = Endpoint {
                        counts_drops: false,
                        ..endpoint
                    };
                    for its in &mut each[1..] {
                        its.push((other.clone(), State::default()));
                    }
                }
            }
        }
        Self {
            endpoints: each.into_iter().map(Mutex::new).collect(),
            rules: Rules {
                answers_low_ports: answered.low_ports,
                own_ports,
                own: OwnAddresses::default(),
                buckets: answered.rate.map(|rate| Buckets::new(rate, Instant::now())),
            },
            log: Arc::default(),
        }
    }

    /// The log, which outlives the workers.
    pub(crate) fn log(&self) -> Arc<DatagramLog> {
        Arc::clone(&self.log)
    }

    /// The sockets of one worker, with what its predecessor left.
    pub(super) fn take(&self, worker: usize) -> Vec<(Endpoint, State)> {
        let Some(mut its) = self.lock(worker) else {
            return Vec::new();
        };
        let taken = its
            .iter_mut()
            .map(|(endpoint, state)| (endpoint.clone(), std::mem::take(state)));
        taken.collect()
    }

    /// Leaves the state of a worker's socket to its successor.
    pub(super) fn give(&self, worker: usize, endpoint: &Endpoint, state: State) {
        if let Some(mut its) = self.lock(worker)
            && let Some((_, kept)) = its.iter_mut().find(|(other, _)| is_same(other, endpoint))
        {
            *kept = state;
        }
    }

    /// Gives a socket of a worker up. It is closed once the worker has dropped its own.
    pub(super) fn give_up(&self, worker: usize, endpoint: &Endpoint) {
        if let Some(mut its) = self.lock(worker) {
            its.retain(|(other, _)| !is_same(other, endpoint));
        }
        let is_last = !(0..self.endpoints.len()).any(|worker| {
            let its = self.lock(worker);
            its.is_some_and(|its| its.iter().any(|(other, _)| is_same(other, endpoint)))
        });
        if is_last && !endpoint.is_ours {
            // Whoever has it next may not expect several datagrams as one.
            let _ = receive_joined(&*endpoint.socket, false);
        }
    }

    /// Gives all sockets of a worker up that has died while the server stops: nobody takes its
    /// place. What waits in their queues is lost.
    pub(crate) fn abandon(&self, worker: usize) {
        for (endpoint, _) in self.take(worker) {
            self.give_up(worker, &endpoint);
            log::warn!(
                "worker {worker} died while the server stops: what waits on {endpoint} is left \
                 to the other workers, and lost where they don't share its socket"
            );
        }
    }

    /// A panic can't leave the list inconsistent, so a poisoned lock is usable.
    fn lock(&self, worker: usize) -> Option<MutexGuard<'_, Vec<(Endpoint, State)>>> {
        let endpoints = self.endpoints.get(worker)?.lock();
        Some(endpoints.unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    Arc::ptr_eq(&one.socket, &other.socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many workers of three have a socket of this protocol that is alone on its address.
    fn sharing(protocol: DatagramProtocol) -> usize {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = Bound {
            protocol,
            address: socket.local_addr().unwrap(),
            sockets: vec![socket],
            guard: None,
            is_handed_over: true,
        };
        let answered = Answered {
            low_ports: false,
            rate: None,
        };
        let setup = Setup::new(vec![bound], 3, answered);
        (0..3).map(|worker| setup.take(worker).len()).sum()
    }

    #[test]
    fn all_workers_have_a_socket_alone_and_one_worker_where_it_counts_sessions() {
        assert_eq!(sharing(DatagramProtocol::Echo), 3);
        assert_eq!(sharing(DatagramProtocol::Stamp), 1);
    }
}
