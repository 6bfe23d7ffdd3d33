//! The client of an admin socket that asks for the server's health.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::error::Error;
use super::thread::DEFAULT_PORT;
use crate::base::address::Address;
use crate::base::sys;

/// The most that is read of an answer, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

const REQUEST: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";

/// Asks the server whose admin socket listens on `address` for its health, within `time` in
/// all: `/healthz`, so a server that is full is healthy. Where the address stands for all
/// interfaces, or has no host, it asks on loopback.
///
/// # Errors
/// [`Error::Ask`] when there is no answer, [`Error::Unhealthy`] when it is another than "ok".
pub fn ask_health(address: &Address, time: Duration) -> Result<(), Error> {
    let until = Instant::now() + time;
    let mut error = None;
    for address in askable(address)? {
        match ask(address, until) {
            Ok(answer) => return judge(address, &answer),
            Err(source) => error = error.or(Some((address, source))),
        }
    }
    let (address, source) = error.expect("a name has an address, or it is not resolved");
    Err(Error::Ask { address, source })
}

/// Where a server can be asked that listens on `address`.
fn askable(address: &Address) -> Result<Vec<SocketAddr>, Error> {
    let port = address.port().unwrap_or(DEFAULT_PORT);
    let loopback = [("127.0.0.1", port), ("::1", port)];
    let loopback =
        loopback.map(|(host, port)| SocketAddr::new(host.parse().expect("it is an address"), port));
    if address.is_everywhere() {
        return Ok(loopback.to_vec());
    }
    let mut addresses = address.resolve("localhost", DEFAULT_PORT)?;
    for each in &mut addresses {
        if each.ip().is_unspecified() {
            *each = loopback[usize::from(each.is_ipv6())];
        }
    }
    Ok(addresses)
}

/// The answer, whole.
fn ask(address: SocketAddr, until: Instant) -> io::Result<String> {
    let mut poller = Poll::new()?;
    let mut stream = TcpStream::connect(address)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    poller.registry().register(&mut stream, Token(0), both)?;
    let (mut unsent, mut answer) = (REQUEST, Vec::new());
    while !advance(&mut stream, &mut unsent, &mut answer)? {
        wait(&mut poller, until)?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Waits for an event. What has happened by the time `until` is over counts, also where
/// this process was suspended and looks at it late.
fn wait(poller: &mut Poll, until: Instant) -> io::Result<()> {
    let mut events = Events::with_capacity(1);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        sys::poll(poller, &mut events, Some(left))?;
        if !events.is_empty() {
            return Ok(());
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Sends and reads what it can, and returns whether the answer is whole.
fn advance(stream: &mut TcpStream, unsent: &mut &[u8], answer: &mut Vec<u8>) -> io::Result<bool> {
    let mut block = [0; 4096];
    loop {
        let moved = match unsent.is_empty() {
            false => stream.write(unsent).map(|count| *unsent = &unsent[count..]),
            true => match stream.read(&mut block) {
                Ok(0) => return Ok(true),
                count => count.map(|count| answer.extend_from_slice(&block[..count])),
            },
        };
        match moved {
            Ok(()) if answer.len() >= ANSWER_LIMIT => return Ok(true),
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // Not connected: the connection is still being made.
                ErrorKind::WouldBlock | ErrorKind::NotConnected => return Ok(false),
                _ => return Err(stream.take_error()?.unwrap_or(error)),
            },
        }
    }
}

fn judge(address: SocketAddr, answer: &str) -> Result<(), Error> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    match (head.split(' ').nth(1), body.trim_end()) {
        (Some("200"), "ok") => Ok(()),
        (Some("503"), why) => Err(Error::Unhealthy {
            address,
            why: why.to_owned(),
        }),
        _ => {
            let source = io::Error::other("what answers there is no admin socket of echopool");
            Err(Error::Ask { address, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_it_can_be_reached() {
        for (text, want) in [
            ("20163", &["127.0.0.1:20163", "[::1]:20163"][..]),
            ("*:9", &["127.0.0.1:9", "[::1]:9"]),
            ("0.0.0.0:9", &["127.0.0.1:9"]),
            ("[::]:9", &["[::1]:9"]),
            ("[::ffff:0.0.0.0]", &["127.0.0.1:20163"]),
            ("192.0.2.1:9", &["192.0.2.1:9"]),
        ] {
            let found = askable(&text.parse().unwrap()).unwrap();
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn only_ok_is_healthy() {
        let address = "127.0.0.1:1".parse().unwrap();
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nok\n", ""),
            (
                "HTTP/1.1 503 no\r\n\r\nworker 1 does not respond\n",
                "worker 1 does not respond",
            ),
            ("HTTP/1.1 200 OK\r\n\r\nhello\n", "no admin socket"),
            ("HTTP/1.1 404 Not Found\r\n\r\nok\n", "no admin socket"),
            ("", "no admin socket"),
        ] {
            let error = judge(address, answer)
                .err()
                .map_or(String::new(), |e| e.to_string());
            assert_eq!(error.is_empty(), want.is_empty(), "{answer}: {error}");
            assert!(error.contains(want), "{answer}: {error}");
        }
    }
}
