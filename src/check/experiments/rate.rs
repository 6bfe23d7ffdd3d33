//! How many connections can be begun: a burst of them, and then one every few milliseconds.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::setting::Setting;
use crate::check::findings::Rate;

/// Connections of the burst, at most.
const BURST: usize = 150;

/// The burst is watched for so long, less than a SYN takes to be sent again.
const WATCHED: Duration = Duration::from_millis(700);

/// The time for which connections are begun one after another, and the pause between.
const PACED: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(5);

/// The pause between looks at the sockets.
const LOOK: Duration = Duration::from_millis(1);

/// A connection of the burst.
struct One {
    socket: Socket,
    begun: Instant,
    made: Option<Instant>,
    served: Option<Instant>,
    is_over: bool,
}

impl One {
    fn begin(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        let begun = Instant::now();
        match socket.connect(&address.into()) {
            // This machine's shortage. Any other error is that it is under way, or the path's.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Err(error),
            _ => Ok(Self {
                socket,
                begun,
                made: None,
                served: None,
                is_over: false,
            }),
        }
    }

    /// Sees whether it is made, and once it is sends a few bytes and sees whether any came.
    fn look(&mut self) {
        if self.is_over || self.served.is_some() {
            return;
        }
        if self.made.is_none() {
            self.is_over = !matches!(self.socket.take_error(), Ok(None));
            if self.is_over || self.socket.peer_addr().is_err() {
                return;
            }
            self.made = Some(Instant::now());
            // A few bytes fit.
            let _ = self.socket.write(b"hello\n");
        }
        match self.socket.read(&mut [0; 16]) {
            Ok(1..) => self.served = Some(Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => self.is_over = true,
        }
    }

    /// How long it waited for the first byte once it was made.
    fn wait(&self) -> Option<Duration> {
        Some(self.served?.duration_since(self.made?))
    }
}

/// Begins connections: first alone, then many at once, then one after another.
pub(super) fn rate(setting: &Setting<'_>, most: usize) -> Option<Rate> {
    let lone = burst(setting, 1)?;
    let lone = lone.first()?.wait()?;
    let all = burst(setting, most.min(BURST))?;
    let made = all.iter().filter(|one| one.made.is_some()).count();
    let mut waits: Vec<_> = all.iter().filter_map(One::wait).collect();
    waits.sort();
    let wait = waits.get(waits.len() / 2).copied().unwrap_or_default();
    let tried = all.len();
    drop(all);
    let per_s = match made < tried {
        true => paced(setting)?,
        false => 0.0,
    };
    Some(Rate {
        tried,
        made,
        per_s,
        wait: wait.saturating_sub(lone),
    })
}

/// Begins some at once and watches them.
fn burst(setting: &Setting<'_>, number: usize) -> Option<Vec<One>> {
    let begin = |_| One::begin(setting.address).ok();
    let mut all: Vec<_> = (0..number).map_while(begin).collect();
    let until = Instant::now() + WATCHED + 2 * setting.round_trip;
    while Instant::now() < until && all.iter().any(|one| !one.is_over && one.served.is_none()) {
        all.iter_mut().for_each(One::look);
        std::thread::sleep(LOOK);
    }
    (!setting.is_stopped() && !all.is_empty()).then_some(all)
}

/// Begins one after another, and gives each up that is not made soon. Returns how many a
/// second were.
fn paced(setting: &Setting<'_>) -> Option<f64> {
    let patience = Duration::from_millis(100) + 2 * setting.round_trip;
    let (started, mut next) = (Instant::now(), Instant::now());
    let (mut open, mut made) = (Vec::new(), 0);
    while started.elapsed() < PACED {
        if setting.is_stopped() {
            return None;
        }
        while next <= Instant::now() {
            open.extend(One::begin(setting.address));
            next += PAUSE;
        }
        open.iter_mut().for_each(One::look);
        // One that is made is closed as soon as it was served, or given up.
        open.retain(|one: &One| {
            let is_done = one.is_over || one.served.is_some() || one.begun.elapsed() > patience;
            made += usize::from(is_done && one.made.is_some());
            !is_done
        });
        std::thread::sleep(LOOK);
    }
    Some(made as f64 / started.elapsed().as_secs_f64())
}
