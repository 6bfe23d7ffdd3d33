//! Sockets for datagrams: one bound address, with a socket for each worker.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::SockRef;

use super::error::{Error, failed_to};
use crate::base::address::Address;
use crate::base::datagram_sockets;
use crate::base::error::cause;
use crate::base::listening::Absent;
use crate::base::sys::addresses::own_addresses;
use crate::base::sys::datagram::{Wanted, receive_joined, request};
use crate::base::units;
use crate::worker::datagrams::protocol::DatagramProtocol;
use crate::worker::datagrams::setup::{Answered, Bound, Setup};

pub use crate::base::datagram_sockets::DEFAULT_UDP_BUFFER;

/// A bound address on which datagrams are answered.
#[derive(Debug)]
pub struct DatagramListener {
    protocol: DatagramProtocol,
    address: SocketAddr,
    /// One a worker, or one that all share.
    sockets: Vec<UdpSocket>,
    /// Keeps other programs off the port.
    guard: Option<UdpSocket>,
    is_handed_over: bool,
}

impl DatagramListener {
    /// Binds every address that `address` stands for, as
    /// [`Listener::bind`](super::Listener::bind) does, with a socket for each of so many
    /// workers and a receive buffer of `buffer` bytes.
    ///
    /// # Errors
    /// [`Error::Base`] for an unknown name, and when an address can't be had, also because
    /// another program has it.
    pub fn bind(
        protocol: DatagramProtocol,
        address: &Address,
        workers: usize,
        buffer: usize,
    ) -> Result<Vec<Self>, Error> {
        let made = (workers, buffer);
        let (mut listeners, mut absent) = Self::attempt(protocol, address, made)?;
        if listeners.is_empty() && !absent.is_empty() {
            return Err(absent.swap_remove(0).into_error().into());
        }
        for each in absent {
            listeners.extend(Self::early(protocol, each, made)?);
        }
        Ok(listeners)
    }

    /// Binds what this machine has of the addresses that `address` stands for, with so many
    /// sockets each, of this receive buffer. Returns what it does not have as well.
    pub(super) fn attempt(
        protocol: DatagramProtocol,
        address: &Address,
        (workers, buffer): (usize, usize),
    ) -> Result<(Vec<Self>, Vec<Absent>), Error> {
        let bound = datagram_sockets::bind(address, protocol.default_port(), workers, buffer)?;
        let adopt = |sockets| Self::adopt(protocol, sockets);
        let listeners: Result<_, _> = bound.groups.into_iter().map(adopt).collect();
        Ok((listeners?, bound.absent))
    }

    /// Binds an address that this machine does not have, where the system can; with a warning.
    pub(super) fn early(
        protocol: DatagramProtocol,
        absent: Absent,
        (workers, buffer): (usize, usize),
    ) -> Result<Option<Self>, Error> {
        let bind = |at| datagram_sockets::bind_early(at, workers, buffer);
        let sockets = absent.bind_early(bind);
        sockets.map(|its| Self::adopt(protocol, its)).transpose()
    }

    fn adopt(protocol: DatagramProtocol, shared: datagram_sockets::Shared) -> Result<Self, Error> {
        let operation = format!("set up a socket of {protocol}");
        let listener = Self::new(protocol, shared.sockets).map_err(failed_to(&operation))?;
        Ok(Self {
            guard: shared.guard,
            ..listener
        })
    }

    /// The same for a socket that a service manager has bound, which all workers share.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn handed_over(protocol: DatagramProtocol, socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let listener = Self::new(protocol, vec![socket])?;
        Ok(Self {
            is_handed_over: true,
            ..listener
        })
    }

    /// Warns where a socket that was handed over has less than this receive buffer. It is not
    /// set: the manager may have given it more than this process could.
    pub(crate) fn warn_of_smaller_buffer(&self, bytes: usize) {
        let smaller = |socket| datagram_sockets::smaller_buffer(&SockRef::from(socket), bytes);
        if let Some(has) = self.sockets.iter().find_map(smaller) {
            let has = units::plain_count(has as u64, "byte", "bytes");
            log::warn!(
                "{self} was handed over with a receive buffer of {has}, not {bytes} \
                 (ReceiveBuffer= in its .socket unit): more that come at once are lost"
            );
        }
    }

    fn new(protocol: DatagramProtocol, sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let first = sockets.first();
        let first = first.ok_or_else(|| io::Error::other("there is no socket"))?;
        let address = first.local_addr()?;
        let wanted = Wanted {
            destination: is_for_several(address.ip()),
            marks: true,
            hops: protocol == DatagramProtocol::Stamp,
            time: protocol == DatagramProtocol::Stamp,
            ..Wanted::default()
        };
        for socket in &sockets {
            request(socket, wanted)?;
            // Each packet of STAMP has a receive time of its own. An older server may have left a
            // socket of the service manager switched on.
            let joined = receive_joined(socket, protocol == DatagramProtocol::Echo);
            if let Err(error) = joined {
                log::debug!("datagrams come one by one: {}", cause(&error));
            }
        }
        Ok(Self {
            protocol,
            address,
            sockets,
            guard: None,
            is_handed_over: false,
        })
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many sockets it has.
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len() + usize::from(self.guard.is_some())
    }
}

/// Whether what comes to a socket that is bound to this address can have other destinations, or
/// be for other hosts as well: one that is bound to the address of a broadcast is no interface's.
/// Where it can't, to ask the kernel for the destination of each datagram would cost time only.
fn is_for_several(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_own = || own_addresses().is_some_and(|all| all.contains(&address));
    address.is_unspecified() || address.is_multicast() || !is_own()
}

/// As in the log: `udp://127.0.0.1:20162`, `stamp://127.0.0.1:862`.
impl fmt::Display for DatagramListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol, self.address)
    }
}

/// Gives each worker its sockets.
pub(super) fn distributed(
    listeners: Vec<DatagramListener>,
    workers: usize,
    answered: Answered,
) -> Arc<Setup> {
    let bound = listeners.into_iter().map(|listener| Bound {
        protocol: listener.protocol,
        address: listener.address,
        sockets: listener.sockets,
        guard: listener.guard,
        is_handed_over: listener.is_handed_over,
    });
    Arc::new(Setup::new(bound.collect(), workers, answered))
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::time::Duration;

    use socket2::{Domain, SockRef, Socket, Type};

    use super::*;
    use crate::base::sys::datagram::receive;
    use crate::server::config::Config;
    use crate::server::report::Report;
    use crate::server::run::Server;
    use crate::server::stop::Stop;
    use crate::worker::datagrams::refusal::Refusal;

    /// The marks of the answers to datagrams that are sent with these marks.
    fn answered(client: &str, server: SocketAddr, marks: &[u8]) -> Vec<u8> {
        let client = UdpSocket::bind(client).unwrap();
        let time = Some(Duration::from_secs(30));
        client.set_read_timeout(time).unwrap();
        let wanted = Wanted {
            marks: true,
            ..Wanted::default()
        };
        request(&client, wanted).unwrap();
        let exchange = |&marks: &u8| {
            let socket = SockRef::from(&client);
            match server.is_ipv4() {
                true => socket.set_tos_v4(marks.into()).unwrap(),
                false => socket.set_tclass_v6(marks.into()).unwrap(),
            }
            client.send_to(b"marked", server).unwrap();
            let answer = receive(&client, &mut [0; 10]).unwrap();
            assert_eq!((answer.source, answer.bytes), (server, 6));
            answer.marks.unwrap()
        };
        marks.iter().map(exchange).collect()
    }

    /// A server that runs, with one worker.
    fn running(listeners: Vec<DatagramListener>) -> (Stop, std::thread::JoinHandle<Report>) {
        let config = Config {
            workers: 1,
            ..Config::default()
        };
        let server = Server::start_with(Vec::new(), listeners, &config).unwrap();
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || server.run(&stop).unwrap()
        });
        (stop, running)
    }

    #[test]
    fn nothing_that_was_sent_to_a_broadcast_address_is_answered_also_where_it_is_bound() {
        let address = "127.255.255.255:0".parse().unwrap();
        let listeners = DatagramListener::bind(DatagramProtocol::Echo, &address, 1, 1).unwrap();
        let server = listeners[0].address();
        let (stop, running) = running(listeners);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.send_to(b"to many", server).unwrap();
        stop.request();
        // What has arrived before a stop is answered or refused.
        let counts = running.join().unwrap().workers[0].datagrams;
        assert_eq!(counts.refused(Refusal::Address), 1, "{counts:?}");
        assert_eq!(counts.answered, 0);
    }

    #[test]
    fn a_socket_of_all_mapped_addresses_answers_from_the_one_that_was_asked() {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let all: SocketAddr = "[::ffff:0.0.0.0]:0".parse().unwrap();
        if socket.bind(&all.into()).is_err() {
            return; // This system has no IPv6.
        }
        let listener =
            DatagramListener::handed_over(DatagramProtocol::Echo, socket.into()).unwrap();
        let port = listener.address().port();
        let (stop, running) = running(vec![listener]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let time = Some(Duration::from_secs(30));
        client.set_read_timeout(time).unwrap();
        let asked = SocketAddr::from(([127, 7, 7, 7], port));
        client.send_to(b"x", asked).unwrap();
        assert_eq!(client.recv_from(&mut [0; 2]).unwrap(), (1, asked));
        stop.request();
        assert_eq!(running.join().unwrap().workers[0].datagrams.answered, 1);
    }

    #[test]
    fn an_answer_has_the_dscp_and_the_ecn_bits_of_its_datagram() {
        let everywhere = "*:0".parse().unwrap();
        let listeners =
            DatagramListener::bind(DatagramProtocol::Echo, &everywhere, 2, 100_000).unwrap();
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let server = Server::start_with(Vec::new(), listeners, &config).unwrap();
        let port = server.datagram_addresses()[0].port();
        let stop = Stop::new();
        let running = std::thread::spawn({
            let stop = stop.clone();
            move || server.run(&stop)
        });
        // Each DSCP with each of ECN's values somewhere.
        let marks: Vec<u8> = (0..=255).collect();
        for host in ["127.0.0.1", "::1"] {
            let host: std::net::IpAddr = host.parse().unwrap();
            let any = SocketAddr::new(host, 0).to_string();
            if UdpSocket::bind(&any).is_ok() {
                assert_eq!(answered(&any, SocketAddr::new(host, port), &marks), marks);
            }
        }
        stop.request();
        assert!(running.join().unwrap().unwrap().all_well());
    }
}
