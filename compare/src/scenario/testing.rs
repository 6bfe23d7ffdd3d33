//! What tests of scenarios share: servers in this process, and times.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;

use super::definition::Scenario;
use super::list::SCENARIOS;
use crate::load::times::Times;
use crate::rival::{Arguments, QUEUE};

pub(super) const BRIEF: Times = Times {
    warm_up: Duration::from_millis(20),
    measure: Duration::from_millis(50),
};

/// Long enough for a pinger to have an answer while other programs and a server
/// of 17 threads hold all CPUs.
pub(super) const LONG: Times = Times {
    measure: Duration::from_secs(1),
    ..BRIEF
};

pub(super) fn named(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|one| one.name == name).unwrap()
}

/// A free port of both transports, with room for all clients that connect.
pub(super) fn listen() -> (TcpListener, UdpSocket, SocketAddrV4) {
    let order = Arguments {
        port: 0,
        threads: 1,
        buffer: 1,
    };
    loop {
        let listener = order.listen_shared().unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("{} is of IPv4", Ipv4Addr::LOCALHOST);
        };
        // Another test may send from it.
        if let Ok(socket) = UdpSocket::bind(address) {
            sockopt::set_socket_recv_buffer_size(&socket, QUEUE).unwrap();
            return (listener, socket, address);
        }
    }
}

/// Serves every client in a thread of its own, until the test ends.
pub(super) fn serve(client: fn(TcpStream)) -> SocketAddrV4 {
    let (listener, _, address) = listen();
    accept(listener, client);
    address
}

/// Hands every datagram that comes to `datagram`, in a thread, until the test ends.
pub(super) fn serve_datagrams(datagram: impl Datagram) -> SocketAddrV4 {
    let (_, socket, address) = listen();
    receive(socket, datagram);
    address
}

/// Serves both.
pub(super) fn serve_both(client: fn(TcpStream), datagram: impl Datagram) -> SocketAddrV4 {
    let (listener, socket, address) = listen();
    accept(listener, client);
    receive(socket, datagram);
    address
}

/// What is done with a datagram: its socket, its bytes and its sender.
pub(super) trait Datagram:
    FnMut(&UdpSocket, &mut [u8], SocketAddr) + Send + 'static
{
}

impl<F: FnMut(&UdpSocket, &mut [u8], SocketAddr) + Send + 'static> Datagram for F {}

fn accept(listener: TcpListener, client: fn(TcpStream)) {
    listener.set_nonblocking(false).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || client(stream.unwrap()));
        }
    });
}

fn receive(socket: UdpSocket, mut datagram: impl Datagram) {
    thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut block) {
            datagram(&socket, &mut block[..length], client);
        }
    });
}

/// Sends a datagram back.
pub(super) fn echo(socket: &UdpSocket, bytes: &mut [u8], client: SocketAddr) {
    // The last one may find its client gone.
    let _ = socket.send_to(bytes, client);
}
