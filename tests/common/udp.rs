//! Servers that answer datagrams, and clients of them.

use std::net::{SocketAddr, UdpSocket};

use socket2::SockRef;

use super::{DEADLINE, Program};

/// Starts a server that answers datagrams on this address.
pub fn serve_on(address: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut program = Program::start([&["serve", "--udp", address], arguments].concat());
    let address = program.wait_for_listener("udp");
    (program, address)
}

pub fn serve(arguments: &[&str]) -> (Program, SocketAddr) {
    serve_on("127.0.0.1:0", arguments)
}

/// A client whose receive buffer holds what these tests send.
pub fn client(address: &str) -> UdpSocket {
    let client = UdpSocket::bind(address).unwrap();
    let time = Some(DEADLINE);
    client.set_read_timeout(time).unwrap();
    SockRef::from(&client)
        .set_recv_buffer_size(1 << 20)
        .unwrap();
    client
}

pub fn local() -> UdpSocket {
    client("127.0.0.1:0")
}

/// The next datagram, and its sender.
pub fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (bytes, from) = client.recv_from(&mut buffer).unwrap();
    buffer.truncate(bytes);
    (buffer, from)
}

/// Sends bytes and checks that they come back from where they were sent to.
pub fn round_trip(client: &UdpSocket, server: SocketAddr, bytes: &[u8]) {
    client.send_to(bytes, server).unwrap();
    let (echo, from) = receive(client);
    assert!(echo == bytes, "{} bytes of {}", echo.len(), bytes.len());
    assert_eq!(from, server);
}

/// Whether nothing more has come to a client once the server has answered this one.
pub fn has_no_more(client: &UdpSocket, server: SocketAddr) -> bool {
    let mark = b"the last one of this client";
    client.send_to(mark, server).unwrap();
    receive(client).0 == mark
}

/// `::1`, if this machine has IPv6.
pub fn v6() -> Option<UdpSocket> {
    UdpSocket::bind("[::1]:0")
        .is_ok()
        .then(|| client("[::1]:0"))
}
