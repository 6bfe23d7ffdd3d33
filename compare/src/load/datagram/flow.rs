//! A flow: a socket, and the datagrams that it awaits. Every byte that comes is compared.
//!
//! A datagram is its number and bytes of its flow alone. The number modulo those in flight is
//! its place: what comes with the number that its place awaits is the echo. One that is not
//! back in time is lost, and its place sends the next number, so a late echo is known as one.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use echopool::probe::latency::Latency;
use echopool::probe::pattern::Pattern;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, getsockname, recv, send};

use super::socket::{connected_to, join_trains};

/// Bytes of a number.
pub const NUMBER: usize = size_of::<u64>();

/// The bytes of all flows.
const PATTERN: Pattern = Pattern::new(0);

/// What the datagrams of a load are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of each, at least those of a number.
    pub size: usize,
    /// How many a flow has in flight.
    pub depth: usize,
    /// They go in trains: all that are in flight are handed to the kernel at once, when all
    /// are back, and the kernel hands over at once what came.
    pub trains: bool,
}

/// What flows have counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that came back in time.
    pub echoed: u64,
    /// Datagrams that did not.
    pub lost: u64,
    /// Datagrams that found a queue of the load full, and are among the lost.
    pub dropped: u64,
    /// From before a datagram was sent until it was back.
    pub latency: Latency,
}

impl Counts {
    /// Of those sent, how many the server or the path lost.
    #[must_use]
    pub fn lost_percent(&self) -> f64 {
        self.percent(self.lost.saturating_sub(self.dropped))
    }

    /// Of those sent, how many found a queue of the load full.
    #[must_use]
    pub fn dropped_percent(&self) -> f64 {
        self.percent(self.dropped)
    }

    #[expect(clippy::cast_precision_loss, reason = "all counts are far below 2^53")]
    fn percent(&self, count: u64) -> f64 {
        count as f64 * 100.0 / self.sent.max(1) as f64
    }

    /// Adds those of another part or thread.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.echoed += other.echoed;
        self.lost += other.lost;
        self.dropped += other.dropped;
        self.latency.histogram += &other.latency.histogram;
    }
}

/// A flow.
#[derive(Debug)]
pub struct Flow {
    socket: OwnedFd,
    shape: Shape,
    /// The datagrams that are sent next, one behind another; each begins with its number.
    block: Vec<u8>,
    /// Those in flight.
    places: Vec<Place>,
    /// How many places await an echo.
    awaited: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    is_awaited: bool,
    sent_at: u64,
}

impl Flow {
    /// Opens a flow; `key` is different for all of them.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn open(server: SocketAddrV4, key: usize, shape: Shape) -> io::Result<Self> {
        let socket = connected_to(server)?;
        if shape.trains {
            join_trains(&socket, shape.size)?;
        }
        let mut block = vec![0; shape.size * shape.depth];
        for datagram in block.chunks_exact_mut(shape.size) {
            PATTERN.fill(key as u64, 0, &mut datagram[NUMBER..]);
        }
        let place = |number| Place {
            number,
            is_awaited: false,
            sent_at: 0,
        };
        Ok(Self {
            socket,
            shape,
            block,
            places: (0..shape.depth as u64).map(place).collect(),
            awaited: 0,
        })
    }

    /// The port that it sends from.
    ///
    /// # Errors
    /// The system's.
    pub fn port(&self) -> io::Result<u16> {
        let address = getsockname(&self.socket)?;
        Ok(SocketAddrV4::try_from(address)?.port())
    }

    /// How many echoes are awaited.
    #[must_use]
    pub const fn awaited(&self) -> usize {
        self.awaited
    }

    /// Sends what has a place, at the time `now`.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self, now: u64, counts: &mut Counts) -> io::Result<()> {
        if self.shape.trains {
            return self.send_train(now, counts);
        }
        for index in 0..self.places.len() {
            if !self.places[index].is_awaited && !self.send_part(index, 1, now, counts)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send_train(&mut self, now: u64, counts: &mut Counts) -> io::Result<()> {
        match self.awaited {
            0 => self.send_part(0, self.shape.depth, now, counts).map(drop),
            _ => Ok(()),
        }
    }

    /// Sends so many datagrams from this place on by one call. Returns whether the kernel
    /// took them; it has no room for a moment, otherwise.
    fn send_part(
        &mut self,
        first: usize,
        count: usize,
        now: u64,
        counts: &mut Counts,
    ) -> io::Result<bool> {
        let size = self.shape.size;
        let bytes = &mut self.block[first * size..][..count * size];
        let places = &mut self.places[first..][..count];
        for (datagram, place) in bytes.chunks_exact_mut(size).zip(&*places) {
            datagram[..NUMBER].copy_from_slice(&place.number.to_le_bytes());
        }
        match send(&self.socket, &*bytes, SendFlags::NOSIGNAL) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        for place in places {
            (place.is_awaited, place.sent_at) = (true, now);
        }
        self.awaited += count;
        counts.sent += count as u64;
        Ok(true)
    }

    /// Receives what has come, up to as much as is awaited. Returns whether anything came.
    ///
    /// # Errors
    /// The system's, or a byte is wrong.
    pub fn receive(
        &mut self,
        room: &mut [u8],
        mut clock: impl FnMut() -> u64,
        counts: &mut Counts,
    ) -> io::Result<bool> {
        let mut has_any = false;
        while self.awaited > 0 || !has_any {
            let length = match recv(&self.socket, &mut *room, RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            has_any = true;
            let now = clock();
            let longest = if self.shape.trains {
                self.shape.size
            } else {
                length.max(1)
            };
            for datagram in room[..length].chunks(longest) {
                self.compare(datagram, now, counts)?;
            }
        }
        Ok(has_any)
    }

    /// Counts what came at this time.
    fn compare(&mut self, datagram: &[u8], now: u64, counts: &mut Counts) -> io::Result<()> {
        let size = self.shape.size;
        let number = datagram.first_chunk().copied().map(u64::from_le_bytes);
        let Some(number) = number.filter(|_| datagram.len() == size) else {
            let error = format!("{} bytes came back of {size}", datagram.len());
            return Err(io::Error::other(error));
        };
        let index = (number % self.shape.depth as u64) as usize;
        let place = &mut self.places[index];
        let expected = &self.block[index * size..][..size];
        if number > place.number || datagram[NUMBER..] != expected[NUMBER..] {
            return Err(io::Error::other("a wrong byte came back"));
        }
        if number < place.number || !place.is_awaited {
            // It was lost before, or is a copy.
            return Ok(());
        }
        place.is_awaited = false;
        place.number += self.shape.depth as u64;
        self.awaited -= 1;
        counts.echoed += 1;
        counts.latency.histogram += now.saturating_sub(place.sent_at);
        Ok(())
    }

    /// What was sent at `until` or before is lost; its places are free.
    pub fn expire(&mut self, until: u64, counts: &mut Counts) {
        for place in &mut self.places {
            if place.is_awaited && place.sent_at <= until {
                place.is_awaited = false;
                place.number += self.shape.depth as u64;
                self.awaited -= 1;
                counts.lost += 1;
            }
        }
    }
}

impl AsFd for Flow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
