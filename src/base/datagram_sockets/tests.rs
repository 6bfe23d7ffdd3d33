use std::io::ErrorKind;

use super::*;

fn bound(address: &str, count: usize) -> Result<Vec<Shared>, Error> {
    bind(&address.parse().unwrap(), 0, count, 100_000).map(|bound| bound.groups)
}

fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

#[test]
fn each_worker_has_a_socket_on_the_port_and_another_program_can_not_have_it() {
    for address in ["127.0.0.1:0", "[::1]:0", "*:0"] {
        for count in [1, 3] {
            let shared = &bound(address, count).unwrap()[0];
            let sockets = &shared.sockets;
            assert_eq!(sockets.len(), count);
            let at = sockets[0].local_addr().unwrap();
            assert!(sockets.iter().all(|each| each.local_addr().unwrap() == at));
            let again = match address {
                "*:0" => format!("*:{}", at.port()),
                _ => at.to_string(),
            };
            for second in [1, 2] {
                let error = bound(&again, second).unwrap_err();
                assert!(is_in_use(&error), "{again}: {error}");
            }
        }
    }
}

#[test]
fn a_port_that_another_program_shares_is_not_joined() {
    let other = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    other.set_reuse_port(true).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    other.bind(&any.into()).unwrap();
    let at = other.local_addr().unwrap().as_socket().unwrap();
    for count in [1, 2] {
        assert!(is_in_use(&bound(&at.to_string(), count).unwrap_err()));
    }
}

#[test]
fn a_later_program_that_shares_the_port_is_refused() {
    for address in ["127.0.0.1:0", "[::1]:0", "*:0"] {
        for count in [1, 2, 3] {
            let shared = &bound(address, count).unwrap()[0];
            let at = shared.sockets[0].local_addr().unwrap();
            let own = [at, SocketAddr::from(([127, 0, 0, 1], at.port()))];
            let own = own
                .into_iter()
                .filter(|it| at.ip().is_unspecified() || *it == at);
            for at in own {
                let domain = Domain::for_address(at);
                let other = Socket::new(domain, Type::DGRAM, None).unwrap();
                other.set_reuse_port(true).unwrap();
                let error = other.bind(&at.into()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AddrInUse, "{at}, {count}");
            }
        }
    }
}

#[test]
fn a_socket_that_receives_no_more_answers_what_it_has() {
    for (address, host) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("*:0", "127.0.0.1"),
    ] {
        let shared = &bound(address, 1).unwrap()[0];
        let socket = &shared.sockets[0];
        let at = SocketAddr::new(host.parse().unwrap(), socket.local_addr().unwrap().port());
        let client = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        client.connect(at).unwrap();
        client.send(b"early").unwrap();
        receive_no_more(socket).unwrap();
        client.send(b"late").unwrap();
        let mut block = [0; 10];
        let refused = client.recv(&mut block).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{address}");
        let (length, from) = socket.recv_from(&mut block).unwrap();
        assert_eq!(&block[..length], b"early");
        socket.send_to(&block[..length], from).unwrap();
        assert_eq!(client.recv(&mut block).unwrap(), 5);
        let none = socket.recv_from(&mut block).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn the_clients_are_distributed_over_the_sockets() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        are_distributed(address);
    }
}

fn are_distributed(address: &str) {
    let shared = &bound(address, 2).unwrap()[0];
    let sockets = &shared.sockets;
    let at = sockets[0].local_addr().unwrap();
    let clients: Vec<_> = (0..64).map(|_| UdpSocket::bind(address).unwrap()).collect();
    for client in &clients {
        client.send_to(b"x", at).unwrap();
    }
    let count = |socket: &UdpSocket| {
        let mut byte = [0];
        (0..64)
            .filter(|_| socket.recv_from(&mut byte).is_ok())
            .count()
    };
    let counts: Vec<_> = sockets.iter().map(count).collect();
    assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}
