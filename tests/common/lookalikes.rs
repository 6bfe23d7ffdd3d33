//! UDP servers whose faults look like others.

use std::net::SocketAddr;
use std::thread::spawn;

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
