//! UDP servers whose faults look like others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use super::datagrams::{peer, socket};

/// Answers so many datagrams and closes its socket then.
pub fn ending_after(number: usize) -> SocketAddr {
    let socket = socket();
    let address = socket.local_addr().unwrap();
    spawn(move || {
        let mut block = vec![0; 64 * 1024];
        for _ in 0..number {
            let Ok((length, from)) = socket.recv_from(&mut block) else {
                continue;
            };
            let _ = socket.send_to(&block[..length], from);
        }
    });
    address
}

/// Connects its socket to the first who sends.
pub fn connected_to_the_first() -> SocketAddr {
    peer(|got| {
        let _ = got.socket.connect(got.from);
        // An error here is of a client that is gone.
        let _ = got.socket.send(got.bytes);
    })
}

/// Adds a byte to each datagram.
pub fn lengthening() -> SocketAddr {
    peer(|got| got.answer(&[got.bytes, b"!"].concat()))
}

/// Answers a quarter of what comes within a millisecond of another.
pub fn answering_few_of_a_burst() -> SocketAddr {
    let mut last = Instant::now();
    let mut number = 0;
    peer(move |got| {
        let is_alone = last.elapsed() > Duration::from_micros(500);
        last = Instant::now();
        number += 1;
        if is_alone || number % 4 == 0 {
            got.echo();
        }
    })
}

/// Takes so long for each datagram, one after another.
pub fn taking(time: Duration) -> SocketAddr {
    peer(move |got| {
        sleep(time);
        got.echo();
    })
}

/// Answers the first datagrams of each client only.
pub fn answering_the_first(few: usize) -> SocketAddr {
    let mut counts = HashMap::new();
    peer(move |got| {
        let count = counts.entry(got.from).or_insert(0);
        *count += 1;
        if *count <= few {
            got.echo();
        }
    })
}

/// Drops what has this pair of bytes in it.
pub fn dropping_with(pair: [u8; 2]) -> SocketAddr {
    peer(move |got| {
        if !got.bytes.windows(2).any(|bytes| bytes == pair) {
            got.echo();
        }
    })
}

/// Answers nothing that has no byte.
pub fn dropping_empty() -> SocketAddr {
    peer(|got| {
        if !got.bytes.is_empty() {
            got.echo();
        }
    })
}

/// Answers nothing for so long from so many datagrams on, and then as before.
pub fn away(after: usize, time: Duration) -> SocketAddr {
    let mut since = None;
    peer(move |got| {
        if got.number >= after && since.get_or_insert_with(Instant::now).elapsed() < time {
            return;
        }
        got.echo();
    })
}

/// Answers nothing any more from so many datagrams on, and keeps its socket.
pub fn stopping_after(number: usize) -> SocketAddr {
    peer(move |got| {
        if got.number < number {
            got.echo();
        }
    })
}

/// Reflects test packets of STAMP, RFC 8762, whatever is in them.
pub fn reflecting() -> SocketAddr {
    peer(|got| {
        let mut answer = vec![0; 44];
        let sent = &got.bytes[..got.bytes.len().min(14)];
        answer[24..24 + sent.len()].copy_from_slice(sent);
        answer[3] = 7;
        got.answer(&answer);
    })
}

/// Refuses all that could be a request of DNS, for its format.
pub fn name_server() -> SocketAddr {
    peer(|got| {
        if let [one, other, _, ..] = got.bytes {
            let header = [*one, *other, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0];
            got.answer(&header);
        }
    })
}

/// Answers requests of NTP, and nothing else.
pub fn time_server() -> SocketAddr {
    peer(|got| {
        if got.bytes.len() == 48 && got.bytes[0] & 7 == 3 {
            let mut answer = vec![0; 48];
            answer[0] = 0x24;
            answer[24..32].copy_from_slice(&got.bytes[40..]);
            got.answer(&answer);
        }
    })
}
