//! Sockets that probe others over loopback.

use super::*;
use crate::base::testing::wait_until;

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn server(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    request(&socket, WANTED).unwrap();
    let timeout = Some(Duration::from_secs(60));
    socket.set_read_timeout(timeout).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn incoming(socket: &mut ProbeSocket, block: &mut [u8]) -> Incoming {
    let mut found = None;
    wait_until(|| {
        found = socket.receive(block).unwrap();
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_wait_that_is_longer_than_the_socket_was_not_empty_is_of_a_clock_that_was_set() {
    let source = "192.0.2.1:7".parse().unwrap();
    let hour = Duration::from_secs(3600);
    let waited = |ago: Duration, longest| {
        let received = Received {
            at: Some(unix_now() - ago),
            ..Received::plain(4, false, source)
        };
        datagram_of(received, None, longest).waited
    };
    assert_eq!(waited(hour, Duration::from_secs(1)), None);
    assert!(waited(hour, 2 * hour).is_some_and(|waited| waited >= hour));
    let ahead = Received {
        at: Some(unix_now() + hour),
        ..Received::plain(4, false, source)
    };
    assert_eq!(datagram_of(ahead, None, 2 * hour).waited, None);
}

#[test]
fn marks_are_on_the_wire_and_an_echo_comes_with_what_the_kernel_says() {
    for address in LOOPBACKS {
        let (server, at) = server(address);
        let options = Options {
            tos: Some(0xba),
            ..Options::default()
        };
        let mut socket = ProbeSocket::new(at, options).unwrap();
        socket.send(b"four").unwrap();
        let mut block = [0; 100];
        let got = datagram::receive(&server, &mut block).unwrap();
        assert_eq!((got.marks, got.source.port()), (Some(0xba), socket.port));
        server.send_to(b"five!", got.source).unwrap();
        let Incoming::Datagram(echo) = incoming(&mut socket, &mut block) else {
            panic!("no datagram");
        };
        assert_eq!((echo.length, echo.stranger), (5, None));
        assert_eq!((echo.ttl, echo.tos), (Some(64), Some(0)));
        assert!(echo.waited.is_some());
    }
}

#[test]
fn another_address_is_heard_and_named() {
    for address in LOOPBACKS {
        let ((_server, at), (other, from)) = (server(address), server(address));
        let mut socket = ProbeSocket::new(at, Options::default()).unwrap();
        let to = SocketAddr::new(at.ip(), socket.port);
        other.send_to(b"hello", to).unwrap();
        let mut block = [0; 100];
        let Incoming::Datagram(datagram) = incoming(&mut socket, &mut block) else {
            panic!("no datagram");
        };
        assert_eq!(datagram.stranger, Some(from));
        assert_eq!(&block[..datagram.length], b"hello");
    }
}

#[test]
fn a_refusal_quotes_its_datagram_and_stops_no_other() {
    for address in LOOPBACKS {
        let (closed, at) = server(address);
        let mut socket = ProbeSocket::new(at, Options::default()).unwrap();
        drop(closed);
        let mut block = [0; 100];
        // The error of the first is what sending the second would return.
        for text in [b"one", b"two"] {
            socket.send(text).unwrap();
        }
        for text in [b"one", b"two"] {
            let Incoming::Error(error) = incoming(&mut socket, &mut block) else {
                panic!("no error");
            };
            assert_eq!(error.error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(
                (error.from, &block[..error.quoted]),
                (Some(at.ip()), &text[..])
            );
        }
    }
}

#[test]
fn the_port_is_not_left_to_share() {
    let (_server, at) = server("127.0.0.1:0");
    let socket = ProbeSocket::new(at, Options::default()).unwrap();
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    let taken = SocketAddr::from(([0, 0, 0, 0], socket.port));
    let error = other.bind(&taken.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn each_address_of_ours_has_ports_of_its_own_and_hears_others() {
    let ((_server, at), (other, _)) = (server("127.0.0.1:0"), server("127.0.0.1:0"));
    let from = |last: u8, port| Options {
        from: Some(IpAddr::from([127, 0, 0, last])),
        port,
        ..Options::default()
    };
    let first = ProbeSocket::new(at, from(1, None)).unwrap();
    let mut second = ProbeSocket::new(at, from(2, Some(first.port))).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 2], second.port));
    other.send_to(b"hello", to).unwrap();
    let Incoming::Datagram(datagram) = incoming(&mut second, &mut [0; 100]) else {
        panic!("no datagram");
    };
    assert_eq!(datagram.stranger, Some(other.local_addr().unwrap()));
}
