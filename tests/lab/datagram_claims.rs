//! What a path does to datagrams, told by plain sockets and not by `echopool check --udp`.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::net::sockopt::{set_ip_mtu_discover, set_ipv6_mtu_discover};

use crate::claims::Refusal;

/// So long nothing has to come where nothing may.
const SILENCE: Duration = Duration::from_millis(600);

/// How often one is sent that must not come back, or that may be lost.
const TRIES: usize = 4;

/// One thing that a path does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Datagrams {
    /// One of so many bytes comes back.
    Echoes(usize),
    /// One of so many bytes never does.
    Loses(usize),
    Refused(Refusal),
    /// A packet of so many bytes that must not be fragmented comes back, and one byte more does not.
    Packet(usize),
    /// What comes back for what was sent.
    Becomes {
        sent: &'static [u8],
        got: &'static [u8],
    },
    /// Another address answers.
    Elsewhere,
    /// Of 300 that are sent so far apart: what is lost, behind a later one, and too many, in
    /// percent.
    Share {
        every: Duration,
        lost: (f64, f64),
        late: (f64, f64),
        more: (f64, f64),
    },
    /// Source ports with this remainder of eight get nothing, and others do.
    Deaf(u16),
    /// A socket is answered after `alive` of silence, and not after `dead`.
    Idles {
        alive: Duration,
        dead: Duration,
    },
    /// So many bytes come for that, which are no echo.
    Answers {
        sent: &'static [u8],
        bytes: usize,
    },
    /// Source ports with this remainder of eight lose a part, and others do not.
    Partly(u16),
    /// No more than so many sockets get an echo.
    Flows(usize),
    /// These bytes never come back.
    Swallows(&'static [u8]),
    /// What is sent with that DSCP and ECN never comes back.
    Lost(u8),
    /// DSCP and ECN with which one sent with 0xba comes back.
    Marked(u8),
}

impl Datagrams {
    /// Whether it is true of a path with nothing between and the server at its default.
    pub(crate) const fn is_of_any_path(self) -> bool {
        matches!(self, Self::Echoes(_) | Self::Marked(0xba))
    }

    /// Sees whether it holds.
    ///
    /// # Errors
    /// What was seen instead.
    pub(crate) fn prove(self, server: SocketAddr) -> Result<String, String> {
        let words = |error: io::Error| error.to_string();
        let (is_it, seen) = match self {
            Self::Echoes(bytes) => {
                let socket = open(server, false).map_err(words)?;
                let came = ask(&socket, &vec![7; bytes]);
                (came == Some(vec![7; bytes]), length(came))
            }
            Self::Loses(bytes) => {
                let socket = open(server, false).map_err(words)?;
                let came = ask(&socket, &vec![7; bytes]);
                (came.is_none(), length(came))
            }
            Self::Refused(refusal) => refused(server, refusal).map_err(words)?,
            Self::Packet(bytes) => {
                let headers = if server.is_ipv4() { 28 } else { 48 };
                let socket = open(server, true).map_err(words)?;
                let fits = ask(&socket, &vec![7; bytes - headers]).is_some();
                let more = ask(&socket, &vec![7; bytes + 1 - headers]).is_some();
                (fits && !more, format!("{fits}, and {more} above"))
            }
            Self::Becomes { sent, got } => {
                let socket = open(server, false).map_err(words)?;
                let came = ask(&socket, sent);
                (came.as_deref() == Some(got), format!("{came:?}"))
            }
            Self::Elsewhere => elsewhere(server).map_err(words)?,
            Self::Share {
                every,
                lost,
                late,
                more,
            } => {
                let seen = shares(server, every).map_err(words)?;
                let bounds = [lost, late, more];
                let mut pairs = seen.iter().zip(bounds);
                let is_it = pairs.all(|(seen, (low, high))| (low..=high).contains(seen));
                (is_it, format!("{seen:.1?} % lost, late, more"))
            }
            Self::Deaf(remainder) => deaf(server, remainder).map_err(words)?,
            Self::Idles { alive, dead } => {
                let lives = |silence| -> io::Result<bool> {
                    let socket = open(server, false)?;
                    let first = ask(&socket, b"first").is_some();
                    std::thread::sleep(silence);
                    Ok(first && ask(&socket, b"again").is_some())
                };
                let (short, long) = (lives(alive).map_err(words)?, lives(dead).map_err(words)?);
                (short && !long, format!("{short}, and {long} later"))
            }
            Self::Answers { sent, bytes } => {
                let socket = open(server, false).map_err(words)?;
                let came = ask(&socket, sent);
                let is_it = |came: &Vec<u8>| came.len() == bytes && came != sent;
                (came.as_ref().is_some_and(is_it), format!("{came:?}"))
            }
            Self::Partly(remainder) => partly(server, remainder).map_err(words)?,
            Self::Flows(number) => {
                let mut served = 0;
                for _ in 0..number + 2 {
                    let socket = open(server, false).map_err(words)?;
                    served += usize::from(ask(&socket, b"hello").is_some());
                }
                (served == number, format!("{served} sockets served"))
            }
            Self::Swallows(bytes) => {
                let socket = open(server, false).map_err(words)?;
                let came = ask(&socket, bytes);
                (came.is_none(), format!("{came:?}"))
            }
            Self::Lost(byte) => {
                let came = marked(server, byte).map_err(words)?;
                (came.is_none(), format!("{came:02x?}"))
            }
            Self::Marked(byte) => {
                let came = marked(server, 0xba).map_err(words)?;
                (came == Some(byte), format!("{came:02x?}"))
            }
        };
        if is_it { Ok(seen) } else { Err(seen) }
    }
}

fn open(server: SocketAddr, unfragmented: bool) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(SILENCE))?;
    match (unfragmented, server) {
        (false, _) => {}
        (true, SocketAddr::V4(_)) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
        (true, SocketAddr::V6(_)) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    socket.connect(server)?;
    Ok(socket)
}

/// What comes back, of one of several tries.
fn ask(socket: &UdpSocket, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut block = vec![0; 66_000];
    (0..TRIES).find_map(|_| {
        let _ = socket.send(bytes);
        let length = socket.recv(&mut block).ok()?;
        Some(block[..length].to_vec())
    })
}

fn length(came: Option<Vec<u8>>) -> String {
    match came {
        Some(bytes) => format!("{} bytes came", bytes.len()),
        None => String::from("nothing came"),
    }
}

fn refused(server: SocketAddr, refusal: Refusal) -> io::Result<(bool, String)> {
    let socket = open(server, false)?;
    socket.send(b"hello")?;
    let Err(error) = socket.recv(&mut [0; 64]) else {
        return Ok((false, String::from("an answer")));
    };
    let is_it = match refusal {
        Refusal::Refused => error.kind() == ErrorKind::ConnectionRefused,
        Refusal::Unanswered => {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        }
        Refusal::Unreachable => error.kind() == ErrorKind::HostUnreachable,
        Refusal::Prohibited => {
            let kinds = [ErrorKind::PermissionDenied, ErrorKind::HostUnreachable];
            kinds.contains(&error.kind())
        }
    };
    Ok((is_it, error.to_string()))
}

fn elsewhere(server: SocketAddr) -> io::Result<(bool, String)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send_to(b"hello", server)?;
    let (_, from) = socket.recv_from(&mut [0; 64])?;
    Ok((from != server, from.to_string()))
}

/// What is lost, behind a later one, and too many of those sent, in percent.
fn shares(server: SocketAddr, every: Duration) -> io::Result<[f64; 3]> {
    const ALL: usize = 300;

    let socket = open(server, false)?;
    let reader = socket.try_clone()?;
    let reader = std::thread::spawn(move || {
        let mut came = Vec::new();
        let mut block = [0; 64];
        while let Ok(length) = reader.recv(&mut block) {
            came.push(usize::from_le_bytes(
                block[..length].try_into().unwrap_or_default(),
            ));
        }
        came
    });
    let begun = Instant::now();
    for (number, due) in (0..ALL).zip(0..) {
        let due = begun + every * due;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        socket.send(&number.to_le_bytes())?;
    }
    let came = reader.join().expect("no panic");
    let each: HashSet<_> = came.iter().collect();
    let late = came.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let percent = |number: usize| 100.0 * number as f64 / ALL as f64;
    Ok([
        percent(ALL - each.len()),
        percent(late),
        percent(came.len() - each.len()),
    ])
}

fn deaf(server: SocketAddr, remainder: u16) -> io::Result<(bool, String)> {
    let mut seen = Vec::new();
    for _ in 0..200 {
        let socket = open(server, false)?;
        let port = socket.local_addr()?.port();
        if seen.iter().filter(|(of, _)| *of == port % 8).count() < 2 {
            seen.push((port % 8, ask(&socket, b"hello").is_some()));
        }
    }
    let is_it = seen
        .iter()
        .all(|(of, answered)| (*of == remainder) != *answered);
    Ok((
        is_it && seen.iter().any(|(of, _)| *of == remainder),
        format!("{seen:?}"),
    ))
}

fn partly(server: SocketAddr, remainder: u16) -> io::Result<(bool, String)> {
    const EACH: usize = 24;

    let mut lost = [0; 2];
    let mut ports = [0; 2];
    while ports.iter().any(|ports| *ports < 2) {
        let socket = open(server, false)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let is_it = usize::from(socket.local_addr()?.port() % 8 == remainder);
        if ports[is_it] == 2 {
            continue;
        }
        ports[is_it] += 1;
        for _ in 0..EACH {
            socket.send(b"hello")?;
            lost[is_it] += usize::from(socket.recv(&mut [0; 8]).is_err());
        }
    }
    let [others, these] = lost;
    let is_it = others <= 2 && (2 * EACH / 4..=2 * EACH * 3 / 4).contains(&these);
    Ok((
        is_it,
        format!("{these} lost, and of others {others}, of {}", 2 * EACH),
    ))
}

/// The byte of marks with which one that was sent with this one comes back.
fn marked(server: SocketAddr, byte: u8) -> io::Result<Option<u8>> {
    let socket = open(server, false)?;
    let reference = socket2::SockRef::from(&socket);
    match server {
        SocketAddr::V4(_) => reference.set_tos_v4(byte.into())?,
        SocketAddr::V6(_) => reference.set_tclass_v6(byte.into())?,
    }
    Ok(crate::sys::ask_for_marks(&socket, b"hello"))
}
