//! UDP echoes with one fault each, for `check --udp`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread::spawn;
use std::time::{Duration, Instant};

use super::datagrams::{Got, peer, socket};

/// Sends back what this makes of it.
fn making(make: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    peer(move |got| got.answer(&make(got.bytes)))
}

/// Sends back only what is wanted.
fn answering(is_wanted: impl FnMut(&Got<'_>) -> bool + Send + 'static) -> SocketAddr {
    let mut is_wanted = is_wanted;
    peer(move |got| {
        if is_wanted(got) {
            got.echo();
        }
    })
}

/// Clears the highest bit of each byte.
pub fn seven_bit() -> SocketAddr {
    making(|bytes| bytes.iter().map(|byte| byte & 0x7f).collect())
}

/// Makes letters capitals.
pub fn upper_case() -> SocketAddr {
    making(<[u8]>::to_ascii_uppercase)
}

/// Has a buffer of so many bytes, and sends back what fits.
pub fn cutting(bytes: usize) -> SocketAddr {
    making(move |sent| sent[..sent.len().min(bytes)].to_vec())
}

/// Answers nothing that is longer.
pub fn up_to(bytes: usize) -> SocketAddr {
    answering(move |got| got.bytes.len() <= bytes)
}

/// Speaks another protocol.
pub fn speaking(line: &'static [u8]) -> SocketAddr {
    peer(move |got| got.answer(line))
}

/// Takes everything and says nothing.
pub fn silent() -> SocketAddr {
    peer(|_| ())
}

/// Loses so many of 100, by chance.
pub fn losing(percent: u8) -> SocketAddr {
    answering(move |_| fastrand::u8(..100) >= percent)
}

/// Answers no source port that has this remainder of eight.
pub fn deaf_to(remainder: u16) -> SocketAddr {
    answering(move |got| got.from.port() % 8 != remainder)
}

/// Answers so many datagrams a second, after a burst of so many.
pub fn limited_to(per_s: f64) -> SocketAddr {
    let mut tokens = per_s;
    let mut last = Instant::now();
    answering(move |_| {
        tokens = (tokens + last.elapsed().as_secs_f64() * per_s).min(per_s);
        last = Instant::now();
        let has_one = tokens >= 1.0;
        tokens -= f64::from(u8::from(has_one));
        has_one
    })
}

/// Answers no socket any more that was silent for longer.
pub fn forgetting_after(silence: Duration) -> SocketAddr {
    let mut last = HashMap::new();
    answering(move |got| {
        let now = Instant::now();
        let before = *last.entry(got.from).or_insert(now);
        let is_known = now.duration_since(before) <= silence;
        if is_known {
            last.insert(got.from, now);
        }
        is_known
    })
}

/// Answers no socket any more that is older.
pub fn living_for(age: Duration) -> SocketAddr {
    let mut first = HashMap::new();
    answering(move |got| first.entry(got.from).or_insert_with(Instant::now).elapsed() <= age)
}

/// Answers from another address than it is asked at. Returns both.
pub fn answering_from_another_address() -> (SocketAddr, SocketAddr) {
    let other = UdpSocket::bind(("127.0.0.2", 0)).unwrap();
    let from = other.local_addr().unwrap();
    let asked = peer(move |got| {
        let _ = other.send_to(got.bytes, got.from);
    });
    (asked, from)
}

/// Sends back what comes at once in the reverse order.
pub fn reversing() -> SocketAddr {
    let socket = socket();
    let address = socket.local_addr().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(3)))
        .unwrap();
    spawn(move || {
        let mut block = vec![0; 64 * 1024];
        let mut held: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
        loop {
            match socket.recv_from(&mut block) {
                Ok((length, from)) => held.push((block[..length].to_vec(), from)),
                Err(error) if is_over(error.kind()) => {}
                // Of a client that is gone.
                Err(_) => continue,
            }
            if held.len() >= 4 || !held.is_empty() && !has_more(&socket) {
                for (bytes, to) in held.drain(..).rev() {
                    let _ = socket.send_to(&bytes, to);
                }
            }
        }
    });
    address
}

fn is_over(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether something comes within the socket's time-out.
fn has_more(socket: &UdpSocket) -> bool {
    socket.peek_from(&mut [0; 1]).is_ok()
}
