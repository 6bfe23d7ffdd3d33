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
