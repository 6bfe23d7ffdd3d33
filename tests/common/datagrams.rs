//! UDP echoes of the tests' own, good and bad.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use socket2::SockRef;

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A datagram that a peer got: its number from 0, its bytes, and who sent it.
pub struct Got<'a> {
    pub number: usize,
    pub bytes: &'a [u8],
    pub from: SocketAddr,
    pub socket: &'a UdpSocket,
}

impl Got<'_> {
    /// Sends it back.
    pub fn echo(&self) {
        self.answer(self.bytes);
    }

    /// Sends these bytes back.
    pub fn answer(&self, bytes: &[u8]) {
        // Its client may be gone.
        let _ = self.socket.send_to(bytes, self.from);
    }

    /// The bytes, with this one turned over.
    pub fn changed(&self, offset: usize) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        bytes[offset] ^= 0xff;
        bytes
    }
}

/// A socket on a free port.
pub fn socket() -> UdpSocket {
    UdpSocket::bind((LOCALHOST, 0)).unwrap()
}

/// A peer that has each datagram. It is there for as long as the test's program. Its queue holds
/// what a load that waited for a processor sends at once then.
pub fn peer(behave: impl FnMut(&Got<'_>) + Send + 'static) -> SocketAddr {
    let socket = socket();
    // The system may allow less, which is enough on a machine that is not busy.
    let _ = SockRef::from(&socket).set_recv_buffer_size(4 << 20);
    serve(socket, behave)
}

/// The same on a socket that is there already.
pub fn serve(socket: UdpSocket, mut behave: impl FnMut(&Got<'_>) + Send + 'static) -> SocketAddr {
    let address = socket.local_addr().unwrap();
    spawn(move || {
        let mut block = vec![0; 64 * 1024];
        for number in 0.. {
            // An error here is one that came by ICMP, for a client that is gone.
            let Ok((length, from)) = socket.recv_from(&mut block) else {
                continue;
            };
            behave(&Got {
                number,
                bytes: &block[..length],
                from,
                socket: &socket,
            });
        }
    });
    address
}

/// Sends everything back.
pub fn echo() -> SocketAddr {
    peer(|got| got.echo())
}

/// Sends everything back after this time.
pub fn delayed(time: Duration) -> SocketAddr {
    let (sender, waiting) = channel::<(Instant, UdpSocket, Vec<u8>, SocketAddr)>();
    spawn(move || {
        for (at, socket, bytes, to) in waiting {
            sleep((at + time).saturating_duration_since(Instant::now()));
            let _ = socket.send_to(&bytes, to);
        }
    });
    peer(move |got| {
        let socket = got.socket.try_clone().unwrap();
        let _ = sender.send((Instant::now(), socket, got.bytes.to_vec(), got.from));
    })
}

/// Sends everything back but each third, from the third on.
pub fn losing_every_third() -> SocketAddr {
    peer(|got| {
        if got.number % 3 != 2 {
            got.echo();
        }
    })
}

/// Sends everything back twice.
pub fn doubling() -> SocketAddr {
    peer(|got| {
        got.echo();
        got.echo();
    })
}

/// Sends pairs back in the reverse order.
pub fn swapping() -> SocketAddr {
    let mut held = Vec::new();
    peer(move |got| match got.number % 2 {
        0 => held = got.bytes.to_vec(),
        _ => {
            got.echo();
            got.answer(&held);
        }
    })
}

/// Sends everything back with its byte at `offset` turned over.
pub fn changing(offset: usize) -> SocketAddr {
    peer(move |got| got.answer(&got.changed(offset)))
}

/// Sends everything back with a wrong checksum; `None` where this user may not.
pub fn with_wrong_checksums() -> Option<SocketAddr> {
    use socket2::{Domain, Protocol, Socket, Type};

    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).ok()?;
    Some(peer(move |got| {
        let port = |address: SocketAddr| address.port().to_be_bytes();
        let from = got.socket.local_addr().unwrap();
        let length = (got.bytes.len() as u16 + 8).to_be_bytes();
        let header = [port(from), port(got.from), length, [0, 0]].concat();
        let mut datagram = [&header, got.bytes].concat();
        // The pseudo-header of RFC 768, and the datagram.
        let ip = Ipv4Addr::LOCALHOST.octets();
        let pseudo = [&ip[..], &ip, &[0, 17], &length, &datagram].concat();
        let words = pseudo.chunks(2).map(|word| {
            let [high, low] = [word[0], word.get(1).copied().unwrap_or(0)];
            u32::from(u16::from_be_bytes([high, low]))
        });
        let sum = words.sum::<u32>();
        let right = !((sum % 0xffff) as u16);
        // Neither the right one, nor 0, which says that there is none.
        let wrong = if right == 1 { 2_u16 } else { 1 };
        datagram[6..8].copy_from_slice(&wrong.to_be_bytes());
        let _ = raw.send_to(&datagram, &got.from.into());
    }))
}

/// Refuses everything by ICMP port unreachable, which quotes no more than the header of UDP, as
/// many routers do, each when so many more have come; `None` where this user may not.
pub fn refusing_with_few_bytes(later: usize) -> Option<SocketAddr> {
    use socket2::{Domain, Protocol, Socket, Type};

    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).ok()?;
    let mut held = VecDeque::new();
    Some(peer(move |got| {
        let ip = Ipv4Addr::LOCALHOST.octets();
        let port = |address: SocketAddr| address.port().to_be_bytes();
        let length = got.bytes.len() as u16 + 8;
        let total = (length + 20).to_be_bytes();
        // The datagram's headers: RFC 791, RFC 768.
        let of_ip = [
            &[0x45, 0],
            &total[..],
            &[0, 0, 0, 0, 64, 17, 0, 0],
            &ip,
            &ip,
        ]
        .concat();
        let to = got.socket.local_addr().unwrap();
        let of_udp = [port(got.from), port(to), length.to_be_bytes(), [0, 0]].concat();
        // Destination unreachable, port unreachable: RFC 792.
        let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0], &of_ip[..], &of_udp].concat();
        let words = message.chunks(2);
        let sum: u32 = words
            .map(|it| u32::from(u16::from_be_bytes([it[0], it[1]])))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        held.push_back(message);
        if held.len() > later
            && let Some(message) = held.pop_front()
        {
            let _ = raw.send_to(&message, &SocketAddr::new(LOCALHOST, 0).into());
        }
    }))
}

/// Answers from another port than it is asked at. Returns both.
pub fn answering_elsewhere() -> (SocketAddr, SocketAddr) {
    let other = socket();
    let from = other.local_addr().unwrap();
    let asked = peer(move |got| {
        let _ = other.send_to(got.bytes, got.from);
    });
    (asked, from)
}

/// An address at which nobody is: what is sent there is refused while the socket lives that is
/// returned, since that has another peer.
pub fn refusing() -> (UdpSocket, SocketAddr) {
    let (socket, peer) = (socket(), self::socket());
    socket.connect(peer.local_addr().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
