//! A connection of an experiment: sends and receives any bytes, and tells how it ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::left_behind::LeftBehind;
use crate::base::kernel::KernelView;
use crate::base::pacing;
use crate::check::context::TICK;
use crate::check::findings::{Denied, Ending};
use crate::check::observation::NotMade;
use crate::probe::connect::refuse_self;
use crate::probe::exchange::is_timeout;

/// The least time that a read is given.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Whether to stop.
pub(super) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Why there is no connection, or none that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// None was made: refused, without an answer, by ICMP that says so, or something else
    /// that says nothing of the path.
    Refused,
    Unanswered,
    Prohibited,
    Here,
    /// It was made, and ended so before anything came back.
    Ended(Ending),
}

impl Failed {
    /// How the server, or what is before it, denied the connection, if one did.
    pub(super) const fn denied(self) -> Option<Denied> {
        match self {
            Self::Here => None,
            Self::Refused => Some(Denied::Ended(Ending::Reset)),
            Self::Unanswered => Some(Denied::Ended(Ending::Silence)),
            Self::Prohibited => Some(Denied::Prohibited),
            Self::Ended(end) => Some(Denied::Ended(end)),
        }
    }
}

/// A connection, which is reset when dropped.
pub(super) struct Connection<'a> {
    stream: TcpStream,
    pub(super) connect_time: Duration,
    pub(super) made: Instant,
    stop: Stop<'a>,
    left_behind: LeftBehind,
}

impl<'a> Connection<'a> {
    pub(super) fn open(
        address: SocketAddr,
        patience: Duration,
        stop: Stop<'a>,
        left_behind: &LeftBehind,
    ) -> Result<Self, Failed> {
        Self::made(address, Wish::default(), patience, stop, left_behind)
    }

    /// The same with no more than so many bytes in a segment, either way: TCP_MAXSEG of tcp(7).
    pub(super) fn open_small(
        address: SocketAddr,
        bytes: u32,
        patience: Duration,
        stop: Stop<'a>,
        left_behind: &LeftBehind,
    ) -> Result<Self, Failed> {
        let wish = Wish {
            segment: Some(bytes),
            ..Wish::default()
        };
        Self::made(address, wish, patience, stop, left_behind)
    }

    /// The same from a port of ours, where one is given.
    pub(super) fn open_from(
        address: SocketAddr,
        port: Option<u16>,
        patience: Duration,
        stop: Stop<'a>,
        left_behind: &LeftBehind,
    ) -> Result<Self, Failed> {
        let wish = Wish {
            port,
            ..Wish::default()
        };
        Self::made(address, wish, patience, stop, left_behind)
    }

    fn made(
        address: SocketAddr,
        wish: Wish,
        patience: Duration,
        stop: Stop<'a>,
        left_behind: &LeftBehind,
    ) -> Result<Self, Failed> {
        let started = Instant::now();
        let connected = connect(address, wish, patience);
        let connected = connected.map_err(|error| match NotMade::of(&error, address.ip()) {
            NotMade::Refused => Failed::Refused,
            // It was made, and ended before we were told so.
            NotMade::Reset => Failed::Ended(Ending::Reset),
            NotMade::Unanswered => Failed::Unanswered,
            NotMade::Unreachable(_) | NotMade::Forbidden { or_icmp: true } => Failed::Prohibited,
            _ => Failed::Here,
        })?;
        Ok(Self {
            stream: connected,
            connect_time: started.elapsed(),
            made: Instant::now(),
            stop,
            left_behind: left_behind.clone(),
        })
    }

    /// Sends all, or tells how it ended: `Silence` where not all was taken in time.
    pub(super) fn send(&self, bytes: &[u8], patience: Duration) -> Option<Ending> {
        self.send_by(bytes, patience, |rest| (&self.stream).write(rest))
    }

    /// Sends a segment of its own, which is put together with no other one.
    pub(super) fn send_segment(&self, bytes: &[u8], patience: Duration) -> Option<Ending> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const END_OF_RECORD: i32 = libc::MSG_EOR;
        // Elsewhere they may be put together.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const END_OF_RECORD: i32 = 0;
        let write = |rest: &[u8]| self.socket().send_with_flags(rest, END_OF_RECORD);
        self.send_by(bytes, patience, write)
    }

    fn send_by(
        &self,
        bytes: &[u8],
        patience: Duration,
        write: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> Option<Ending> {
        let (mut rest, until) = (bytes, Instant::now() + patience);
        while !rest.is_empty() {
            match write(rest) {
                Ok(length) => {
                    rest = &rest[length..];
                    // One that takes a little now and then would go on for hours.
                    if !rest.is_empty() && (self.is_stopped() || Instant::now() >= until) {
                        return Some(Ending::Silence);
                    }
                }
                Err(error) => match ended(&error) {
                    Some(end) => return Some(end),
                    None if Instant::now() >= until || self.is_stopped() => {
                        return Some(Ending::Silence);
                    }
                    None => {}
                },
            }
        }
        None
    }

    /// What the system knows of it.
    pub(super) fn view(&self) -> Option<KernelView> {
        KernelView::read(&self.stream)
    }

    /// Whether the peer has acknowledged all that was sent, the end of our side as well, where
    /// the system tells.
    pub(super) fn is_acknowledged(&self) -> Option<bool> {
        self.view()?.is_all_acknowledged()
    }

    /// Our port.
    pub(super) fn port(&self) -> Option<u16> {
        self.stream.local_addr().ok().map(|local| local.port())
    }

    pub(super) fn is_v6(&self) -> bool {
        self.stream.peer_addr().is_ok_and(|peer| peer.is_ipv6())
    }

    /// Sends what is taken at once; how many bytes that was, or how it ended.
    pub(super) fn send_some(&self, bytes: &[u8]) -> Result<usize, Ending> {
        self.at_once(|| (&self.stream).write(bytes))
    }

    /// Receives what is there at once; how many bytes that is, or how it ended.
    pub(super) fn receive_some(&self, block: &mut [u8]) -> Result<usize, Ending> {
        let mut is_over = false;
        let received = self.at_once(|| {
            let length = (&self.stream).read(block)?;
            is_over = length == 0;
            Ok(length)
        })?;
        match is_over {
            true => Err(Ending::Close),
            false => Ok(received),
        }
    }

    /// Receives what comes first within that time; how many bytes that is, or how it ended.
    pub(super) fn receive_within(&self, block: &mut [u8], time: Duration) -> Result<usize, Ending> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // None at all would be without end.
            let wait = left.clamp(SHORTEST_WAIT, TICK);
            let _ = self.stream.set_read_timeout(Some(wait));
            match (&self.stream).read(block) {
                Ok(0) => return Err(Ending::Close),
                Ok(length) => return Ok(length),
                Err(error) => match ended(&error) {
                    Some(end) => return Err(end),
                    None if left <= wait || self.is_stopped() => return Ok(0),
                    None => {}
                },
            }
        }
    }

    fn at_once(&self, call: impl FnOnce() -> io::Result<usize>) -> Result<usize, Ending> {
        let _ = self.stream.set_nonblocking(true);
        let result = call();
        let _ = self.stream.set_nonblocking(false);
        result.or_else(|error| ended(&error).map_or(Ok(0), Err))
    }

    /// Receives up to `most` bytes, until none came for `patience`. With fewer it tells how
    /// it ended.
    pub(super) fn receive(&self, most: usize, patience: Duration) -> (Vec<u8>, Option<Ending>) {
        self.receive_in(most, patience, None)
    }

    /// The same, and no longer than for that time in all.
    pub(super) fn receive_in(
        &self,
        most: usize,
        patience: Duration,
        time: Option<Duration>,
    ) -> (Vec<u8>, Option<Ending>) {
        let begun = Instant::now();
        let (mut came, mut block) = (Vec::new(), vec![0; 64 * 1024]);
        let mut until = Instant::now() + patience;
        while came.len() < most {
            let room = block.len().min(most - came.len());
            match (&self.stream).read(&mut block[..room]) {
                Ok(0) => return (came, Some(Ending::Close)),
                Ok(length) => {
                    came.extend_from_slice(&block[..length]);
                    until = Instant::now() + patience;
                    // A trickle would go on for hours.
                    if self.is_stopped() || time.is_some_and(|time| begun.elapsed() >= time) {
                        return (came, Some(Ending::Silence));
                    }
                }
                Err(error) => match ended(&error) {
                    Some(end) => return (came, Some(end)),
                    None if Instant::now() >= until || self.is_stopped() => {
                        return (came, Some(Ending::Silence));
                    }
                    None => {}
                },
            }
        }
        (came, None)
    }

    /// Waits so long at most for it to end, though nothing is sent; how it did, and after
    /// how long. Bytes that come are none of its concern.
    pub(super) fn wait_for_end(&self, time: Duration) -> Option<(Ending, Duration)> {
        let (started, mut block) = (Instant::now(), [0; 64]);
        loop {
            let left = time.saturating_sub(started.elapsed());
            if left.is_zero() || self.is_stopped() {
                return None;
            }
            let _ = self.stream.set_read_timeout(Some(left.min(TICK)));
            let end = match (&self.stream).read(&mut block) {
                Ok(0) => Some(Ending::Close),
                Ok(_) => None,
                Err(error) => ended(&error),
            };
            if let Some(end) = end {
                return Some((end, started.elapsed()));
            }
        }
    }

    pub(super) fn send_urgent(&self, byte: u8) -> bool {
        self.socket().send_out_of_band(&[byte]).is_ok()
    }

    /// Closes our side.
    pub(super) fn half_close(&self) {
        // If it fails, it has ended, which is seen next.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    fn is_stopped(&self) -> bool {
        (self.stop)()
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // A firewall that saw what is under way takes a reset of the next byte for one that may
        // be forged, and goes on counting.
        if self.is_acknowledged() == Some(false) {
            self.left_behind.note();
        }
        // So that nothing of it stays on the path.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }
}

/// What is wanted of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// No more bytes in a segment, either way.
    segment: Option<u32>,
    /// Our port.
    port: Option<u16>,
}

fn connect(address: SocketAddr, wish: Wish, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(bytes) = wish.segment {
        set_segment(&socket, bytes)?;
    }
    if let Some(port) = wish.port {
        // The connection before from it may not be forgotten yet.
        socket.set_reuse_address(true)?;
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        socket.bind(&SocketAddr::new(any, port).into())?;
    }
    pacing::stop_within_machine(&SockRef::from(&socket), address);
    socket.connect_timeout(&address.into(), patience)?;
    let stream = TcpStream::from(socket);
    refuse_self(stream.local_addr()?, stream.peer_addr()?)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    Ok(stream)
}

#[cfg(unix)]
fn set_segment(socket: &Socket, bytes: u32) -> io::Result<()> {
    socket.set_tcp_mss(bytes)
}

#[cfg(not(unix))]
fn set_segment(_socket: &Socket, _bytes: u32) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// How the connection ended, if that is what the error tells.
fn ended(error: &io::Error) -> Option<Ending> {
    match error.kind() {
        _ if is_timeout(error) => None,
        ErrorKind::Interrupted => None,
        // Linux says so where a FIN came before the RST that answered what was sent then.
        ErrorKind::BrokenPipe => Some(Ending::Close),
        _ => Some(Ending::Reset),
    }
}
