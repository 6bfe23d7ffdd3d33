//! The server under check, and what is known of the path so far.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::not_passed::NotPassed;
use super::past::Past;
use super::plan::Plan;
use super::port::{Port, Sent};
use super::trouble::Trouble;
use crate::base::error::cause;
use crate::base::sys;
use crate::probe::datagram::payload::Payload;
use crate::probe::datagram::socket::Options;

/// A datagram that is one packet is sent so often before it is taken for lost.
pub(super) use crate::probe::datagram::conventions::TRIES;

/// The longest that a blocking call waits before it is asked whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// An echo is waited for so many of the longest round trips and this time, at the least.
const WAIT_ROUND_TRIPS: u32 = 3;
const WAIT_LEAST: Duration = Duration::from_millis(150);

/// Beyond that, a long datagram has the time that it takes there and back on the slowest path,
/// in bits a second.
const SLOWEST: u32 = 512_000;

/// The data of a packet's fragment over Ethernet, in bytes.
const FRAGMENT: usize = 1480;

/// The most bytes of a datagram's content before the key repeats.
const CONTENT: usize = 66_000;

/// The server under check.
pub(super) struct Target<'a> {
    pub(super) plan: &'a Plan,
    stop: &'a AtomicBool,
    /// When the clauses, or the experiments, are over.
    pub(super) end: Instant,
    pub(super) address: SocketAddr,
    /// The least time between two datagrams, below which a limit was found.
    pub(super) pace: Duration,
    /// When the next one may be sent by that.
    next: Instant,
    /// The longest round trip of a datagram that was sent once.
    slowest: Option<Duration>,
    /// Whether it is only known that it is no longer than that.
    is_presumed: bool,
    /// The path's MTU that ICMP told of last.
    pub(super) told: Option<u32>,
    /// Nothing comes back: what is left is skipped.
    pub(super) is_unreachable: bool,
    /// The clauses that have failed so far.
    pub(super) failed: Vec<&'static str>,
    /// A source port that gets echoes: clauses use it one after another, so that a port whose
    /// way loses everything is not taken for what they test.
    pub(super) port: Option<u16>,
    /// The socket that was used first.
    pub(super) first: Option<Port>,
    past: Past,
    payload: Payload,
    /// Datagrams made so far.
    made: u64,
}

impl<'a> Target<'a> {
    pub(super) fn new(plan: &'a Plan, address: SocketAddr, stop: &'a AtomicBool) -> Self {
        Self {
            plan,
            stop,
            end: Instant::now() + plan.whole,
            address,
            pace: Duration::ZERO,
            next: Instant::now(),
            slowest: None,
            is_presumed: false,
            told: None,
            is_unreachable: false,
            failed: Vec::new(),
            port: None,
            first: None,
            past: Past::default(),
            payload: Payload::new(plan.seed, 0, CONTENT),
            made: 0,
        }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_interrupted() || self.left().is_zero()
    }

    pub(super) fn has_failed(&self, clause: &str) -> bool {
        self.failed.contains(&clause)
    }

    /// A socket on the port that gets echoes, or any.
    pub(super) fn open(&self) -> Result<Port, NotPassed> {
        self.open_with(Options::default())
    }

    /// The same, which sends so.
    pub(super) fn open_with(&self, options: Options) -> Result<Port, NotPassed> {
        let port = self.port;
        let known = port.and_then(|_| Port::new(self.address, Options { port, ..options }).ok());
        let known = known.map(|port| port.with_past(&self.past));
        // Another program may have it now.
        known.map_or_else(|| self.open_any(options), Ok)
    }

    /// A socket on a free port.
    pub(super) fn open_any(&self, options: Options) -> Result<Port, NotPassed> {
        let port = Port::new(self.address, options);
        let port = port.map(|port| port.with_past(&self.past));
        port.map_err(|error| self.not_opened(&error))
    }

    fn not_opened(&self, error: &io::Error) -> NotPassed {
        let cause = cause(error);
        match sys::is_out_of_descriptors(error) {
            true => NotPassed::Skipped(format!("this machine has no room for a socket: {cause}")),
            false => {
                let seen = format!("could not send to {}: {cause}", self.address);
                NotPassed::failed(seen.clone(), Trouble::NotSent(seen))
            }
        }
    }

    /// The content of the next datagram: unlike that of any other of this run, if it has 8
    /// bytes or more.
    pub(super) fn content(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.payload.fill(self.made, &mut bytes);
        self.made += 1;
        bytes
    }

    /// The longest round trip that was seen.
    pub(super) fn slowest(&self) -> Duration {
        self.slowest.unwrap_or_default()
    }

    /// Takes this for the longest round trip until one is measured: the true one is not longer.
    pub(super) const fn presume(&mut self, slowest: Duration) {
        self.slowest = Some(slowest);
        self.is_presumed = true;
    }

    /// How long an echo of one packet is waited for.
    pub(super) fn wait(&self) -> Duration {
        let wait = match self.slowest {
            Some(slowest) => slowest * WAIT_ROUND_TRIPS + WAIT_LEAST,
            None => self.plan.timeout,
        };
        wait.min(self.plan.timeout)
    }

    /// How long the echo of a datagram of so many bytes is waited for.
    fn wait_for(&self, bytes: usize) -> Duration {
        let bits = u32::try_from(bytes * 8 * 2).unwrap_or(u32::MAX);
        let transfer = Duration::from_secs(1) * bits / SLOWEST;
        (self.wait() + transfer).min(self.plan.timeout)
    }

    /// Listens until this time, or until it is `over`.
    pub(super) fn listen(
        &self,
        port: &mut Port,
        until: Instant,
        over: &dyn Fn(&Port) -> bool,
    ) -> Result<(), NotPassed> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            port.receive(left.min(TICK));
            if over(port) || left.is_zero() {
                return Ok(());
            }
            if self.is_stopped() {
                return Err(NotPassed::Stopped);
            }
        }
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), NotPassed> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.is_stopped() {
                return Err(NotPassed::Stopped);
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Waits until a datagram of so many bytes may be sent: a limit may count packets.
    fn wait_for_turn(&mut self, bytes: usize) -> Result<(), NotPassed> {
        let next = self.next + self.pace * (packets(bytes) - 1);
        self.pause(next.saturating_duration_since(Instant::now()))?;
        self.next = Instant::now() + self.pace;
        Ok(())
    }

    /// Sends a datagram until it is answered, so many times at the most. Returns its number.
    /// Where it has no answer and that is this machine's own fault, nothing can be tested.
    pub(super) fn ask(
        &mut self,
        port: &mut Port,
        bytes: Vec<u8>,
        tries: usize,
    ) -> Result<usize, NotPassed> {
        let size = bytes.len();
        self.wait_for_turn(size)?;
        let at = port.send(bytes);
        for number in 1..=tries {
            let over = |port: &Port| port.sent[at].is_answered() || port.sent[at].refused.is_some();
            let wait = match number == tries {
                true => self.wait_for(size),
                false => self.wait(),
            };
            self.listen(port, Instant::now() + wait, &over)?;
            if port.sent[at].is_answered() || number == tries {
                break;
            }
            self.wait_for_turn(size)?;
            port.send_again(at);
        }
        self.saw(&port.sent[at]);
        port.own_fault(at..=at).map_or(Ok(at), Err)
    }

    /// Sends datagrams with this time between two, and those without an answer again, so
    /// many times in all at the most. Returns their numbers. Where some have no answer and that
    /// is this machine's own fault, nothing can be tested.
    pub(super) fn ask_all(
        &mut self,
        port: &mut Port,
        datagrams: Vec<Vec<u8>>,
        interval: Duration,
        tries: usize,
    ) -> Result<std::ops::Range<usize>, NotPassed> {
        let longest = datagrams.iter().map(Vec::len).max().unwrap_or(0);
        let interval = interval.max(self.pace * packets(longest));
        let first = port.sent.len();
        self.wait_for_turn(longest)?;
        let begun = Instant::now();
        for (number, bytes) in (0..).zip(datagrams) {
            self.listen(port, begun + interval * number, &|_| false)?;
            port.send(bytes);
        }
        let all = first..port.sent.len();
        for round in 1..=tries {
            let wait = self.wait();
            let listened = self.listen(port, Instant::now() + wait, &|port| !port.awaits());
            // Where the time is over, those that had it once already are known to be lost.
            if round == 1 || self.is_interrupted() {
                listened?;
            } else if listened.is_err() {
                break;
            }
            all.clone().for_each(|at| self.saw(&port.sent[at]));
            let open = all.clone().filter(|at| !port.sent[*at].is_answered());
            let open: Vec<_> = open.collect();
            if open.is_empty() || round == tries {
                break;
            }
            let begun = Instant::now();
            for (number, at) in (0..).zip(open) {
                self.listen(port, begun + interval * number, &|_| false)?;
                port.send_again(at);
            }
        }
        self.next = Instant::now() + self.pace;
        port.own_fault(all.clone()).map_or(Ok(all), Err)
    }

    /// Sends no more than so many packets a second from now on.
    pub(super) fn slow_down_to(&mut self, per_s: f64) {
        self.pace = Duration::from_secs_f64(1.0 / per_s.max(1.0));
        self.next = Instant::now() + self.pace;
    }

    /// Notes the round trip of a datagram, and what ICMP said of its length.
    fn saw(&mut self, sent: &Sent) {
        self.told = sent.too_long.or(self.told);
        if let (1, Some(answer)) = (sent.times, sent.answers.first()) {
            let known = self.slowest.filter(|_| !self.is_presumed);
            self.slowest = known.max(Some(answer.round_trip));
            self.is_presumed = false;
        }
    }

    /// How often a datagram of so many bytes is sent before it is taken for lost: each of its
    /// fragments can be, both ways.
    pub(super) fn tries(bytes: usize) -> usize {
        match packets(bytes) {
            ..=1 => TRIES,
            2..=8 => 2 * TRIES,
            _ => 4 * TRIES,
        }
    }
}

/// In how many packets a datagram of so many bytes goes over Ethernet.
fn packets(bytes: usize) -> u32 {
    u32::try_from((bytes + 8).div_ceil(FRAGMENT)).unwrap_or(u32::MAX)
}

/// Why a datagram has not come back as it was; `None` if it has.
pub(super) fn trouble(port: &Port, at: usize) -> Option<(String, Trouble)> {
    let sent = &port.sent[at];
    if sent.is_whole() {
        return None;
    }
    if let Some(change) = sent.answers.iter().find_map(|answer| answer.change.clone()) {
        let seen = format!("it came back changed: {change}");
        return Some((seen, Trouble::Changed(change)));
    }
    if let Some(refused) = &sent.refused {
        return Some((refused.words.clone(), Trouble::Refused(refused.clone())));
    }
    if let Some(why) = &sent.not_sent {
        let seen = format!("could not send: {why}");
        return Some((seen.clone(), Trouble::NotSent(seen)));
    }
    let times = sent.times;
    let tries = match times {
        1 => String::from("it was sent once"),
        _ => format!("it was sent {times} times"),
    };
    Some((format!("no echo; {tries}"), Trouble::Unanswered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_presumed_of_the_round_trip_holds_until_one_is_measured() {
        let plan = Plan {
            addresses: Vec::new(),
            timeout: Duration::from_secs(5),
            whole: Duration::from_secs(60),
            idle: None,
            experiments: false,
            seed: 7,
        };
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let stop = AtomicBool::new(false);
        let mut target = Target::new(&plan, server.local_addr().unwrap(), &stop);
        assert_eq!(target.wait(), plan.timeout);
        target.presume(Duration::from_millis(1200));
        assert_eq!(target.wait(), Duration::from_millis(3750));
        let mut port = target.open().unwrap();
        let at = port.send(target.content(64));
        let (_, from) = server.recv_from(&mut [0; 64]).unwrap();
        server.send_to(&port.sent[at].bytes, from).unwrap();
        port.receive(plan.timeout);
        target.saw(&port.sent[at]);
        assert_eq!(target.slowest, Some(port.sent[at].answers[0].round_trip));
        // What was measured is not presumed.
        target.saw(&port.sent[at]);
        assert!(!target.is_presumed);
    }
}
