//! What a path does to connections, told by plain sockets and not by `echopool check`: a
//! path whose claims don't hold proves nothing of what is said about it.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, scope, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::common::faulty::BLOCK;
use crate::common::{is_reset, keyed, read_to_end, reset};
use crate::connect_claims;
use crate::datagram_claims::Datagrams;
use crate::end_claims;
use crate::made::Made;
use crate::middlebox::Direction;
use crate::namespaces::{Network, server_ip};

/// What is awaited that must come; a busy machine is late.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long nothing has to come where nothing may: above every retransmission that
/// could still bring it, but for those of a SYN.
pub(crate) const SILENCE: Duration = Duration::from_millis(2500);

/// A connection that lives so long has no limit that a path here sets.
const AGE: Duration = Duration::from_secs(12);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By the server's FIN, after all.
    Whole,
    /// By the server's FIN, too early.
    Close,
    Reset,
    Silence,
    /// Other bytes came than were sent.
    Changed,
}

/// How a connect fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Refused,
    Unanswered,
    Unreachable,
    /// A firewall says so.
    Prohibited,
}

/// What makes a server pass on what it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Release {
    /// More bytes.
    Bytes(&'static [u8]),
    HalfClose,
    /// That time.
    Time(Duration),
}

/// What becomes of an urgent byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgent {
    Kept,
    TakenOut,
    Moved,
    /// Nothing comes any more.
    Stalls,
}

/// What happens to datagrams: bounds in percent of those sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packets {
    pub(crate) lost_to_server: (f64, f64),
    pub(crate) lost_to_client: (f64, f64),
    pub(crate) reordered: (f64, f64),
    pub(crate) duplicated: (f64, f64),
    /// The least round trip that any has.
    pub(crate) round_trip: Duration,
    /// How much longer the longest is than the least, at least.
    pub(crate) spread: Duration,
}

/// One thing that a path does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    /// So many bytes come back exactly, and the end behind them.
    Echoes(usize),
    /// No connection is made.
    Connect(Refusal),
    /// A connection is made and ended without a byte.
    ClosesAtOnce,
    /// The first bytes that come, with nothing or something sent before.
    Says {
        sent: &'static [u8],
        first: &'static [u8],
    },
    /// Packets of so many bytes pass, and one byte more does not, in that direction; in
    /// the other direction it does.
    LargestPacket {
        bytes: u32,
        direction: Direction,
    },
    /// An exchange of messages ends when so many bytes have come back.
    EndsAfterBytes {
        bytes: (usize, usize),
        by: End,
    },
    /// A connection that exchanges a byte all the time ends after so many seconds.
    LivesFor {
        seconds: (f64, f64),
        by: End,
    },
    /// A silent connection is alive after `alive` and not after `dead`.
    Idles {
        alive: Duration,
        dead: Duration,
        by: End,
    },
    /// So many connections are served at once, and the next are not.
    Connections {
        most: usize,
        by: End,
    },
    /// Of so many connects at once, at most `burst` and `per_s` are answered.
    ConnectRate {
        of: usize,
        burst: usize,
        per_s: f64,
    },
    /// What was sent right before a half-close does not come back.
    HalfClose(End),
    /// After so many connections at once none is served, and all are once that time is over.
    Bans {
        most: usize,
        time: Duration,
    },
    /// A connection ends so at these bytes, and not at others of the same length.
    EndsAt {
        bytes: &'static [u8],
        by: End,
    },
    /// What comes back for what was sent.
    Becomes {
        sent: &'static [u8],
        got: &'static [u8],
    },
    /// What is sent does not come back before it is released.
    Holds {
        sent: &'static [u8],
        until: Release,
    },
    /// The second of two small writes waits for a delayed acknowledgement.
    HoldsSmallWrites,
    Urgent(Urgent),
    Packets(Packets),
    /// A stream is not faster than so many Mbit/s.
    NotAbove {
        mbit_s: f64,
    },
    /// What `ss -oti` says of a connection, and does not.
    Options {
        has: &'static [&'static str],
        lacks: &'static [&'static str],
    },
    /// The client learns that packets of at most so many bytes pass.
    PathMtu(u32),
    /// The server sees another address than the client's.
    Rewrites,
    /// A client gets bytes of one that was reset.
    LeaksBytes,
    /// The server tells the client another address than its own.
    Translates,
    /// The server tells the client its own address.
    TellsOwnAddress,
    /// A client that sends without receiving, and receives so long after nothing more was taken,
    /// does not get all.
    EndsUnread {
        wait: Duration,
        by: End,
    },
    /// So many clients are served, and none after these.
    ServesOnly(usize),
    /// So many connections in 100 are made a second late.
    Late {
        percent: (f64, f64),
    },
    /// Of UDP.
    Datagrams(Datagrams),
}

impl Claim {
    /// Whether it is true of a path with nothing between and the server at its default.
    pub(crate) fn is_of_any_path(self) -> bool {
        match self {
            Self::Echoes(_) | Self::TellsOwnAddress | Self::Urgent(Urgent::Kept) => true,
            Self::Options { has, lacks } => {
                let mut has = has.iter();
                lacks.is_empty() && has.all(|word| ["ts", "sack", "wscale"].contains(word))
            }
            Self::Datagrams(claim) => claim.is_of_any_path(),
            _ => false,
        }
    }
}

/// Sees whether a claim holds. Returns what was seen.
///
/// # Errors
/// What was seen instead.
pub(crate) fn prove(claim: Claim, made: &Made) -> Result<String, String> {
    let server = made.address;
    match claim {
        Claim::LargestPacket { bytes, direction } => largest_packet(made, bytes, direction),
        Claim::Packets(packets) => datagrams(made, &packets),
        Claim::Options { has, lacks } => options(made, has, lacks),
        Claim::PathMtu(bytes) => path_mtu(made, bytes),
        Claim::Rewrites => rewrites(made),
        _ => made.client().run(|| prove_here(claim, server)),
    }
}

/// Those that need to be nowhere but with the client.
fn prove_here(claim: Claim, server: SocketAddr) -> Result<String, String> {
    match claim {
        Claim::Echoes(bytes) => {
            let seen = stream(server, bytes, PATIENCE)?;
            expect(seen.end == End::Whole, format!("{seen:?}"))
        }
        Claim::Connect(refusal) => connect_fails(server, refusal),
        Claim::ClosesAtOnce => closes_at_once(server),
        Claim::Says { sent, first } => says(server, sent, first),
        Claim::EndsAfterBytes { bytes, by } => {
            let seen = exchange(server, 16 << 20)?;
            let is_it = seen.end == by && (bytes.0..=bytes.1).contains(&seen.bytes);
            expect(is_it, format!("{seen:?}"))
        }
        Claim::LivesFor { seconds, by } => lives_for(server, seconds, by),
        Claim::Idles { alive, dead, by } => idles(server, alive, dead, by),
        Claim::Connections { most, by } => connections(server, most, by),
        Claim::ConnectRate { of, burst, per_s } => connect_rate(server, of, burst, per_s),
        Claim::HalfClose(by) => half_close(server, by),
        Claim::Bans { most, time } => end_claims::bans(server, most, time),
        Claim::EndsAt { bytes, by } => end_claims::ends_at(server, bytes, by),
        Claim::Becomes { sent, got } => becomes(server, sent, got),
        Claim::Holds { sent, until } => holds(server, sent, until),
        Claim::HoldsSmallWrites => holds_small_writes(server),
        Claim::Urgent(outcome) => urgent(server, outcome),
        Claim::NotAbove { mbit_s } => not_above(server, mbit_s),
        Claim::LeaksBytes => leaks(server),
        Claim::Translates => own_address(server, false),
        Claim::TellsOwnAddress => own_address(server, true),
        Claim::EndsUnread { wait, by } => end_claims::ends_unread(server, wait, by),
        Claim::ServesOnly(number) => end_claims::serves_only(server, number),
        Claim::Late { percent } => connect_claims::late(server, percent),
        Claim::Datagrams(claim) => claim.prove(server),
        Claim::LargestPacket { .. }
        | Claim::Packets(_)
        | Claim::Options { .. }
        | Claim::PathMtu(_)
        | Claim::Rewrites => {
            unreachable!("it needs both ends")
        }
    }
}

pub(crate) fn expect(is_it: bool, seen: String) -> Result<String, String> {
    if is_it { Ok(seen) } else { Err(seen) }
}

pub(crate) fn connect(server: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE);
    let stream = stream.map_err(|error| format!("could not connect: {error}"))?;
    await_for(&stream, PATIENCE);
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Sets how long a read may take.
pub(crate) fn await_for(stream: &TcpStream, time: Duration) {
    // No time at all would be without end.
    let time = time.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(time)).expect("not zero");
}

/// How a read that brought nothing ended.
pub(crate) fn end_of(read: &std::io::Result<usize>) -> End {
    match read {
        Ok(_) => End::Close,
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silence,
            _ => End::Reset,
        },
    }
}

/// How far a stream came.
#[derive(Debug)]
#[allow(dead_code)] // Fields are shown.
struct Seen {
    bytes: usize,
    end: End,
    took: Duration,
}

/// Sends so many bytes while it reads them back, and half-closes.
fn stream(server: SocketAddr, most: usize, patience: Duration) -> Result<Seen, String> {
    let mut client = connect(server)?;
    await_for(&client, patience);
    let mut sending = client.try_clone().map_err(|error| error.to_string())?;
    let sender = thread::spawn(move || {
        for at in (0..most).step_by(BLOCK) {
            let part = keyed(1, at, BLOCK.min(most - at));
            if sending.write_all(&part).is_err() {
                return;
            }
        }
        let _ = sending.shutdown(Shutdown::Write);
    });
    let started = Instant::now();
    let (mut block, mut bytes) = (vec![0; BLOCK], 0);
    let end = loop {
        let read = client.read(&mut block);
        match read {
            Ok(length @ 1..) if block[..length] == keyed(1, bytes, length) => bytes += length,
            Ok(1..) => break End::Changed,
            Ok(0) if bytes == most => break End::Whole,
            // The reset itself may have been told to the sender.
            Ok(0) if is_reset(&client) => break End::Reset,
            other => break end_of(&other),
        }
    };
    let took = started.elapsed();
    // Wakes the sender.
    let _ = client.shutdown(Shutdown::Both);
    reset(client);
    let _ = sender.join();
    Ok(Seen { bytes, end, took })
}

/// Sends so many bytes, a message of 4 KiB at a time that is read back before the next:
/// nothing is on its way when it ends, as much of a stream would be.
fn exchange(server: SocketAddr, most: usize) -> Result<Seen, String> {
    let mut client = connect(server)?;
    await_for(&client, SILENCE);
    let started = Instant::now();
    let (mut block, mut bytes) = (vec![0; 4096], 0);
    let end = loop {
        if bytes >= most {
            break End::Whole;
        }
        let message = keyed(1, bytes, block.len());
        let done = client.write_all(&message);
        let done = done.and_then(|()| client.read_exact(&mut block));
        match done {
            Ok(()) if block == message => bytes += block.len(),
            Ok(()) => break End::Changed,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break End::Close,
            Err(error) => break end_of(&Err(error)),
        }
    };
    let took = started.elapsed();
    reset(client);
    Ok(Seen { bytes, end, took })
}

fn connect_fails(server: SocketAddr, refusal: Refusal) -> Result<String, String> {
    // One more than the first retransmission of a SYN.
    let connected = TcpStream::connect_timeout(&server, Duration::from_millis(2500));
    let Err(error) = connected else {
        return Err("a connection is made".into());
    };
    let seen = match error.kind() {
        ErrorKind::ConnectionRefused => Refusal::Refused,
        ErrorKind::TimedOut => Refusal::Unanswered,
        ErrorKind::PermissionDenied => Refusal::Prohibited,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Refusal::Unreachable,
        _ => return Err(error.to_string()),
    };
    expect(seen == refusal, format!("{seen:?}"))
}

fn closes_at_once(server: SocketAddr) -> Result<String, String> {
    let mut client = connect(server)?;
    let read = client.read(&mut [0]);
    let is_it = matches!(end_of(&read), End::Close | End::Reset) && !matches!(read, Ok(1..));
    expect(is_it, format!("{read:?}"))
}

fn says(server: SocketAddr, sent: &[u8], first: &[u8]) -> Result<String, String> {
    let mut client = connect(server)?;
    client.write_all(sent).map_err(|error| error.to_string())?;
    if first.is_empty() {
        await_for(&client, SILENCE);
        let read = client.read(&mut [0]);
        return expect(end_of(&read) == End::Silence, format!("{read:?}"));
    }
    let mut came = vec![0; first.len()];
    let read = client.read_exact(&mut came);
    expect(came == first, format!("{} {read:?}", came.escape_ascii()))
}

fn lives_for(server: SocketAddr, seconds: (f64, f64), by: End) -> Result<String, String> {
    let mut client = connect(server)?;
    let started = Instant::now();
    let mut last = Duration::ZERO;
    await_for(&client, SILENCE);
    let end = loop {
        if client.write_all(&[1]).is_err() {
            break End::Reset;
        }
        match client.read(&mut [0]) {
            Ok(1) => last = started.elapsed(),
            other => break end_of(&other),
        }
        if last > AGE {
            break End::Whole;
        }
        sleep(Duration::from_millis(10));
    };
    // A close may be followed by a reset of what was on its way to it.
    let is_end = end == by || (by == End::Close && end == End::Reset);
    let is_it = is_end && last.as_secs_f64() >= seconds.0 - 0.2 && last.as_secs_f64() <= seconds.1;
    expect(is_it, format!("{end:?} after {last:?}"))
}

/// Whether a byte comes back, or what comes instead.
pub(crate) fn alive(client: &mut TcpStream) -> Result<(), End> {
    await_for(client, SILENCE);
    if client.write_all(&[1]).is_err() {
        return Err(End::Reset);
    }
    match client.read(&mut [0]) {
        Ok(1) => Ok(()),
        other => Err(end_of(&other)),
    }
}

fn idles(server: SocketAddr, lives: Duration, dead: Duration, by: End) -> Result<String, String> {
    let after = |time: Duration| {
        let mut client = connect(server)?;
        let first = alive(&mut client);
        first.map_err(|end| format!("at first: {end:?}"))?;
        sleep(time);
        Ok::<_, String>(alive(&mut client))
    };
    let (early, late) = scope(|scope| {
        let early = scope.spawn(|| after(lives));
        (early.join().expect("no panic"), after(dead))
    });
    let (early, late) = (early?, late?);
    expect(
        early.is_ok() && late == Err(by),
        format!("{early:?}, {late:?}"),
    )
}

fn connections(server: SocketAddr, most: usize, by: End) -> Result<String, String> {
    let one = || {
        let time = Duration::from_millis(2000);
        let connected = TcpStream::connect_timeout(&server, time);
        let mut client = match connected {
            Ok(client) => client,
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(End::Silence),
            Err(_) => return Err(End::Reset),
        };
        alive(&mut client).map(|()| client)
    };
    let first: Vec<_> = (0..most).map(|_| one()).collect();
    let served = first.iter().filter(|client| client.is_ok()).count();
    let next: Vec<_> = (0..2).map(|_| one()).collect();
    let next: Vec<_> = next.iter().map(|client| client.as_ref().err()).collect();
    let is_it = served == most && next.iter().all(|end| *end == Some(&by));
    let seen = format!("{served} of {most} served, then {next:?}");
    for client in first.into_iter().flatten() {
        reset(client);
    }
    expect(is_it, seen)
}

fn connect_rate(server: SocketAddr, of: usize, burst: usize, per_s: f64) -> Result<String, String> {
    let started = Instant::now();
    let sockets: Vec<_> = (0..of)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket.set_nonblocking(true).expect("it is open");
            let _ = socket.connect(&server.into());
            socket
        })
        .collect();
    // Before a lost SYN is sent again.
    sleep(Duration::from_millis(700).saturating_sub(started.elapsed()));
    let made = sockets.iter().filter(|one| one.peer_addr().is_ok()).count();
    let took = started.elapsed();
    for socket in sockets {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    let bound = burst as f64 + per_s * took.as_secs_f64() + 1.0;
    let is_it = made > 0 && (made as f64) <= bound;
    expect(
        is_it,
        format!("{made} of {of} made within {took:?}, of at most {bound:.0}"),
    )
}

fn half_close(server: SocketAddr, by: End) -> Result<String, String> {
    let sent = keyed(1, 0, 1000);
    let mut seen = Vec::new();
    for _ in 0..10 {
        let mut client = connect(server)?;
        await_for(&client, SILENCE);
        client.write_all(&sent).map_err(|error| error.to_string())?;
        let _ = client.shutdown(Shutdown::Write);
        let (mut block, mut came) = ([0; 2000], 0);
        let end = loop {
            match client.read(&mut block) {
                Ok(length @ 1..) => came += length,
                Ok(0) if came == sent.len() => break End::Whole,
                other => break end_of(&other),
            }
        };
        reset(client);
        // Which one wins is a race in some.
        if end == by {
            return Ok(format!("{end:?} after {came} of {} bytes", sent.len()));
        }
        seen.push(end);
    }
    Err(format!("{seen:?}"))
}

fn becomes(server: SocketAddr, sent: &[u8], got: &[u8]) -> Result<String, String> {
    let mut client = connect(server)?;
    client.write_all(sent).map_err(|error| error.to_string())?;
    let _ = client.shutdown(Shutdown::Write);
    let mut came = Vec::new();
    let read = client.read_to_end(&mut came);
    expect(came == got, format!("{} {read:?}", came.escape_ascii()))
}

fn holds(server: SocketAddr, sent: &[u8], until: Release) -> Result<String, String> {
    let mut client = connect(server)?;
    let started = Instant::now();
    client.write_all(sent).map_err(|error| error.to_string())?;
    let mut all = sent.to_vec();
    if !matches!(until, Release::Time(_)) {
        await_for(&client, Duration::from_millis(700));
        let read = client.read(&mut [0]);
        if end_of(&read) != End::Silence {
            return Err(format!("before it is released: {read:?}"));
        }
    }
    match until {
        Release::Bytes(more) => {
            all.extend(more);
            client.write_all(more).map_err(|error| error.to_string())?;
        }
        Release::HalfClose => drop(client.shutdown(Shutdown::Write)),
        Release::Time(_) => {}
    }
    await_for(&client, PATIENCE);
    let mut came = vec![0; all.len()];
    let read = client.read_exact(&mut came);
    let took = started.elapsed();
    let is_late = !matches!(until, Release::Time(time) if took < time);
    expect(
        read.is_ok() && came == all && is_late,
        format!("{read:?} after {took:?}"),
    )
}

fn holds_small_writes(server: SocketAddr) -> Result<String, String> {
    const TRIES: usize = 20;
    let mut client = connect(server)?;
    let mut late = 0;
    for _ in 0..TRIES {
        let started = Instant::now();
        let _ = SockRef::from(&client).set_tcp_quickack(false);
        let sent = keyed(1, 0, 20);
        let mut came = [0; 20];
        let done = client.write_all(&sent);
        let done = done.and_then(|()| client.read_exact(&mut came));
        done.map_err(|error| error.to_string())?;
        late += usize::from(started.elapsed() >= Duration::from_millis(30));
    }
    expect(late >= TRIES / 4, format!("{late} of {TRIES} late"))
}

fn urgent(server: SocketAddr, outcome: Urgent) -> Result<String, String> {
    const AROUND: usize = 1000;
    let (before, after) = (keyed(1, 0, AROUND), keyed(2, 0, AROUND));
    let mut client = connect(server)?;
    let _ = SockRef::from(&client).set_out_of_band_inline(true);
    await_for(&client, SILENCE);
    let failed = |error: std::io::Error| error.to_string();
    client.write_all(&before).map_err(failed)?;
    let mut came = vec![0; AROUND];
    client.read_exact(&mut came).map_err(failed)?;
    let sent = SockRef::from(&client).send_out_of_band(b"!");
    sent.map_err(failed)?;
    // So that it is read by itself.
    sleep(Duration::from_millis(50));
    client.write_all(&after).map_err(failed)?;
    let _ = client.shutdown(Shutdown::Write);
    let mut came = Vec::new();
    let read = client.read_to_end(&mut came);
    let whole: Vec<u8> = std::iter::once(b'!').chain(after.iter().copied()).collect();
    let mut sorted = (whole.clone(), came.clone());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    let seen = match &read {
        Ok(_) if came == whole => Urgent::Kept,
        Ok(_) if came == after => Urgent::TakenOut,
        Ok(_) if sorted.0 == sorted.1 => Urgent::Moved,
        Err(error) if came.is_empty() && error.kind() == ErrorKind::WouldBlock => Urgent::Stalls,
        _ => return Err(format!("{} bytes came, {read:?}", came.len())),
    };
    expect(seen == outcome, format!("{seen:?}"))
}

fn not_above(server: SocketAddr, mbit_s: f64) -> Result<String, String> {
    // Two seconds' worth.
    let bytes = (mbit_s * 1e6 / 8.0 * 2.0) as usize;
    let seen = stream(server, bytes, PATIENCE)?;
    let rate = bytes as f64 * 8.0 / 1e6 / seen.took.as_secs_f64();
    let is_it = seen.end == End::Whole && rate < mbit_s * 1.2;
    expect(is_it, format!("{rate:.1} Mbit/s, {seen:?}"))
}

fn leaks(server: SocketAddr) -> Result<String, String> {
    const TRIES: usize = 20;
    for attempt in 1..=TRIES {
        let mut first = connect(server)?;
        let _ = first.set_write_timeout(Some(Duration::from_millis(300)));
        let mut at = 0;
        while at < 32 << 20 && first.write_all(&keyed(1, at, BLOCK)).is_ok() {
            at += BLOCK;
        }
        reset(first);
        let seen = stream(server, 1 << 20, SILENCE)?;
        if seen.end == End::Changed {
            return Ok(format!("in attempt {attempt}"));
        }
    }
    Err(format!("in none of {TRIES} attempts"))
}

fn own_address(server: SocketAddr, is_told: bool) -> Result<String, String> {
    let mut client = connect(server)?;
    let own = client.local_addr().map_err(|error| error.to_string())?;
    let told = read_to_end(&mut client);
    let told = String::from_utf8_lossy(&told);
    let told = told.trim_end();
    let is_it = !told.is_empty() && told.contains(&own.to_string()) == is_told;
    expect(is_it, format!("{own} is told {told}"))
}

/// Sends segments of packets of so many bytes in one direction, between sockets that do
/// nothing else. Returns whether they came.
fn one_way(network: &Network, is_v6: bool, packet: u32, to_server: bool) -> bool {
    const LENGTH: usize = 64 * 1024;
    let listener = network
        .server
        .run(|| TcpListener::bind((server_ip(is_v6), 0)));
    let listener = listener.expect("an address of the server");
    let address = listener.local_addr().expect("it is bound");
    let client = network.client.run(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        let headers = if is_v6 { 60 } else { 40 };
        socket.set_tcp_mss(packet - headers)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    });
    let client = client.expect("small packets pass");
    let (server, _) = listener.accept().expect("it is connected");
    let (mut from, mut to) = match to_server {
        true => (client, server),
        false => (server, client),
    };
    let bytes = keyed(1, 0, LENGTH);
    let sender = thread::spawn(move || {
        let _ = from.set_write_timeout(Some(SILENCE));
        let _ = from.write_all(&bytes);
        from
    });
    await_for(&to, SILENCE);
    let mut came = vec![0; LENGTH];
    let worked = to.read_exact(&mut came).is_ok();
    reset(to);
    drop(sender.join().map(reset));
    worked
}

fn largest_packet(made: &Made, bytes: u32, direction: Direction) -> Result<String, String> {
    let (network, is_v6) = (made.network(), made.address.is_ipv6());
    let pass = |packet| {
        scope(|scope| {
            let to_server = scope.spawn(move || one_way(network, is_v6, packet, true));
            let to_client = one_way(network, is_v6, packet, false);
            (to_server.join().expect("no panic"), to_client)
        })
    };
    let (as_large, larger) = (pass(bytes), pass(bytes + 1));
    let expected = (
        direction == Direction::ToClient,
        direction == Direction::ToServer,
    );
    let is_it = as_large == (true, true) && larger == expected;
    let seen = format!("of {bytes} bytes: {as_large:?}, one more: {larger:?} (to server, client)");
    expect(is_it, seen)
}

/// What `ss -oti` says of a connection that has carried so many bytes.
fn socket_statistics(made: &Made, bytes: usize) -> Result<String, String> {
    let server = made.address;
    let stream = made.client().run(|| {
        let mut stream = connect(server)?;
        let mut sending = stream.try_clone().map_err(|error| error.to_string())?;
        let sent = keyed(1, 0, bytes);
        let sender = thread::spawn(move || sending.write_all(&sent));
        let mut came = vec![0; bytes];
        let read = stream.read_exact(&mut came);
        read.map_err(|error| error.to_string())?;
        let _ = sender.join();
        Ok::<_, String>(stream)
    })?;
    let address = stream.local_addr().map_err(|error| error.to_string())?;
    let filter = format!("sport = :{}", address.port());
    let said = made.client().feed(&["ss", "-otinH", &filter], "")?;
    Ok(said.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn options(made: &Made, has: &[&str], lacks: &[&str]) -> Result<String, String> {
    let said = socket_statistics(made, 0)?;
    let has_it = |word: &&str| {
        let mut words = said.split(' ');
        words.any(|one| one == *word || one.split(':').next() == Some(word))
    };
    let is_it = has.iter().all(has_it) && !lacks.iter().any(has_it);
    expect(is_it, said.clone())
}

fn path_mtu(made: &Made, bytes: u32) -> Result<String, String> {
    let said = socket_statistics(made, 64 * 1024)?;
    let word = format!("pmtu:{bytes}");
    expect(said.split(' ').any(|one| one == word), said.clone())
}

fn rewrites(made: &Made) -> Result<String, String> {
    let network = made.network();
    let listener = network
        .server
        .run(|| TcpListener::bind((server_ip(false), 0)));
    let listener = listener.map_err(|error| error.to_string())?;
    let server = listener.local_addr().map_err(|error| error.to_string())?;
    let client = network.client.run(|| connect(server))?;
    let own = client.local_addr().map_err(|error| error.to_string())?;
    let (_, seen) = listener.accept().map_err(|error| error.to_string())?;
    expect(seen.ip() != own.ip(), format!("{own} is seen as {seen}"))
}

/// How many datagrams are sent, and how often.
const DATAGRAMS: usize = 2000;
const PACE: Duration = Duration::from_millis(1);

/// For those that come while a busy machine does something else; the kernel gives less.
const BUFFER: usize = 4 << 20;

/// What was seen of one that came back.
struct Back {
    number: usize,
    round_trip: Duration,
}

fn datagrams(made: &Made, bounds: &Packets) -> Result<String, String> {
    let network = made.network();
    let ip = server_ip(made.address.is_ipv6());
    let socket = network.server.run(|| UdpSocket::bind((ip, 0)));
    let socket = socket.map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    let arrived = Arc::new(AtomicUsize::new(0));
    let echo = thread::spawn({
        let arrived = Arc::clone(&arrived);
        move || echo_datagrams(&socket, &arrived)
    });
    let back = network.client.run(|| exchange_datagrams(address))?;
    let _ = echo.join();
    judge(bounds, arrived.load(Ordering::SeqCst), &back)
}

/// Echoes each datagram once, and counts those that are not duplicates, until none comes.
fn echo_datagrams(socket: &UdpSocket, arrived: &AtomicUsize) {
    let _ = socket.set_read_timeout(Some(SILENCE));
    let _ = SockRef::from(socket).set_recv_buffer_size(BUFFER);
    let (mut seen, mut block) = (HashSet::new(), [0; 1500]);
    while let Ok((length, from)) = socket.recv_from(&mut block) {
        let number = block[..8].to_vec();
        if seen.insert(number) {
            arrived.fetch_add(1, Ordering::SeqCst);
            let _ = socket.send_to(&block[..length], from);
        }
    }
}

fn exchange_datagrams(server: SocketAddr) -> Result<Vec<Back>, String> {
    let any = match server.is_ipv6() {
        true => "[::]:0",
        false => "0.0.0.0:0",
    };
    let socket = UdpSocket::bind(any).map_err(|error| error.to_string())?;
    socket.connect(server).map_err(|error| error.to_string())?;
    let _ = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
    let sending = socket.try_clone().map_err(|error| error.to_string())?;
    let epoch = Instant::now();
    let sender = thread::spawn(move || {
        let mut times = Vec::new();
        for number in 0..DATAGRAMS {
            sleep((epoch + PACE * number as u32).saturating_duration_since(Instant::now()));
            times.push(Instant::now());
            let mut datagram = [0; 100];
            datagram[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let _ = sending.send(&datagram);
        }
        times
    });
    let _ = socket.set_read_timeout(Some(SILENCE));
    let (mut block, mut came) = ([0; 1500], Vec::new());
    while socket.recv(&mut block).is_ok() {
        let number = block[..8].try_into().expect("eight bytes");
        came.push((u64::from_le_bytes(number) as usize, Instant::now()));
    }
    let times = sender.join().expect("no panic");
    let back = came.into_iter().map(|(number, at)| Back {
        number,
        round_trip: at - times[number],
    });
    Ok(back.collect())
}

fn judge(bounds: &Packets, arrived: usize, back: &[Back]) -> Result<String, String> {
    let numbers: HashSet<_> = back.iter().map(|back| back.number).collect();
    let percent = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    let mut highest = 0;
    let mut overtaken = 0;
    for one in back {
        overtaken += usize::from(one.number < highest);
        highest = highest.max(one.number);
    }
    let to_server = percent(DATAGRAMS - arrived, DATAGRAMS);
    let to_client = percent(arrived.saturating_sub(numbers.len()), arrived);
    let reordered = percent(overtaken, back.len());
    let duplicated = percent(back.len() - numbers.len(), numbers.len());
    let least = back.iter().map(|back| back.round_trip).min();
    let most = back.iter().map(|back| back.round_trip).max();
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    let within = |value: f64, (low, high): (f64, f64)| (low..=high).contains(&value);
    let is_it = within(to_server, bounds.lost_to_server)
        && within(to_client, bounds.lost_to_client)
        && within(reordered, bounds.reordered)
        && within(duplicated, bounds.duplicated)
        && least >= bounds.round_trip
        && most - least >= bounds.spread;
    let seen = format!(
        "lost {to_server:.1} % and {to_client:.1} %, {reordered:.1} % late, {duplicated:.1} % \
         twice, round trips of {least:?} to {most:?}"
    );
    expect(is_it, seen)
}
