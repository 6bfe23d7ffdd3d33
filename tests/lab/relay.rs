//! A relay between two TUN devices that delays, jitters, reorders, duplicates and loses
//! packets: the kernel's own emulator (netem) is missing on many machines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::common::network::Namespace;
use crate::sys;

/// The packets that wait in each direction; what comes then is lost. It is what 200 ms
/// of 500 Mbit/s need.
const QUEUE: usize = 8192;

/// How often the relay looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What happens to the packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Treatment {
    /// Each packet waits so long.
    pub(crate) delay: Duration,
    /// And up to so much longer; the order is kept.
    pub(crate) jitter: Duration,
    /// So many packets in 1,000 wait [`Self::late`] longer, and others overtake them.
    pub(crate) reordered: u32,
    /// How much longer.
    pub(crate) late: Duration,
    /// So many packets in 1,000 come twice.
    pub(crate) duplicated: u32,
    /// So many in 1,000 begin a burst of [`Self::burst`] packets that are lost.
    pub(crate) bursts: u32,
    /// How many packets are lost in a row.
    pub(crate) burst: u32,
}

/// What happens to the packets of both directions alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relay(pub(crate) Treatment);

/// The devices live as long as this.
pub(crate) struct Running {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device in each namespace, and carries packets between them.
    ///
    /// # Errors
    /// Where there is no TUN driver.
    pub(crate) fn start(
        self,
        one: &Namespace,
        name: &str,
        other: &Namespace,
        peer: &str,
    ) -> Result<Running, String> {
        let open = |place: &Namespace, name| {
            let file = place.run(|| sys::open_tun(name));
            let file = file.map_err(|error| format!("TUN device: {error}"))?;
            place.ip(&format!("link set {name} txqueuelen 10000"));
            Ok::<_, String>(file)
        };
        let ends = [open(one, name)?, open(other, peer)?];
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || relay(&ends, self.0, &over)
        });
        Ok(Running {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One direction: what waits, in the order in which it is due.
struct Lane {
    treatment: Treatment,
    random: Rng,
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    /// Breaks ties, so that packets due at once keep their order.
    number: u64,
    last_due: Option<Instant>,
    left_of_burst: u32,
}

impl Lane {
    fn new(treatment: Treatment, seed: u64) -> Self {
        Self {
            treatment,
            random: Rng::with_seed(seed),
            waiting: BinaryHeap::new(),
            number: 0,
            last_due: None,
            left_of_burst: 0,
        }
    }

    fn happens(&mut self, in_1000: u32) -> bool {
        in_1000 > 0 && self.random.u32(0..1000) < in_1000
    }

    fn take(&mut self, packet: &[u8], now: Instant) {
        if self.left_of_burst > 0 {
            self.left_of_burst -= 1;
            return;
        }
        if self.happens(self.treatment.bursts) {
            self.left_of_burst = self.treatment.burst - 1;
            return;
        }
        let mut due = now + self.treatment.delay + self.treatment.jitter.mul_f64(self.random.f64());
        due = self.last_due.map_or(due, |last| last.max(due));
        if self.happens(self.treatment.reordered) {
            self.keep(due + self.treatment.late, packet);
            return;
        }
        self.last_due = Some(due);
        self.keep(due, packet);
        if self.happens(self.treatment.duplicated) {
            self.keep(due, packet);
        }
    }

    fn keep(&mut self, due: Instant, packet: &[u8]) {
        if self.waiting.len() < QUEUE {
            let entry = (due, self.number, packet.to_vec());
            self.waiting.push(Reverse(entry));
            self.number += 1;
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    /// Sends what is due.
    fn give(&mut self, mut to: &File, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse((.., packet))) = self.waiting.pop() else {
                return;
            };
            // A device that takes no more, or is not up yet, loses it, as a cable would.
            let _ = to.write(&packet);
        }
    }
}

fn relay(ends: &[File; 2], treatment: Treatment, over: &AtomicBool) {
    let mut lanes = [Lane::new(treatment, 1), Lane::new(treatment, 2)];
    let mut packet = vec![0; 65536];
    while !over.load(Ordering::SeqCst) {
        for (from, lane) in lanes.iter_mut().enumerate() {
            // As many as may come while one waits for the others.
            for _ in 0..64 {
                let Ok(length) = (&ends[from]).read(&mut packet) else {
                    break;
                };
                lane.take(&packet[..length], Instant::now());
            }
            lane.give(&ends[1 - from], Instant::now());
        }
        let now = Instant::now();
        let due = lanes.iter().filter_map(Lane::next_due).min();
        let wait = due.map_or(LOOK, |due| due.saturating_duration_since(now).min(LOOK));
        let timeout = Timespec::try_from(wait).expect("a short time");
        let mut polled = [
            PollFd::new(&ends[0], PollFlags::IN),
            PollFd::new(&ends[1], PollFlags::IN),
        ];
        let _ = poll(&mut polled, Some(&timeout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: u32 = 2000;

    /// The numbers of the packets, in the order in which they are due.
    fn carried(treatment: Treatment) -> Vec<u32> {
        let mut lane = Lane::new(treatment, 7);
        let started = Instant::now();
        for number in 0..PACKETS {
            let now = started + Duration::from_millis(number.into());
            lane.take(&number.to_le_bytes(), now);
        }
        let mut numbers = Vec::new();
        while let Some(Reverse((.., packet))) = lane.waiting.pop() {
            numbers.push(u32::from_le_bytes(packet.try_into().unwrap()));
        }
        numbers
    }

    #[test]
    fn a_calm_or_jittery_lane_carries_each_packet_once_and_in_order() {
        let all: Vec<_> = (0..PACKETS).collect();
        assert_eq!(carried(Treatment::default()), all);
        let jitter = Treatment {
            jitter: Duration::from_millis(20),
            ..Treatment::default()
        };
        assert_eq!(carried(jitter), all);
    }

    #[test]
    fn packets_come_twice_late_or_not_at_all_as_often_as_asked() {
        let percent = |number: usize| 100.0 * number as f64 / f64::from(PACKETS);
        let near = |percent: f64, wanted: f64| (percent - wanted).abs() < 0.5 * wanted;
        let duplicated = carried(Treatment {
            duplicated: 20,
            ..Treatment::default()
        });
        let twice = percent(duplicated.len()) - 100.0;
        assert!(near(twice, 2.0), "{twice} %");
        let reordered = carried(Treatment {
            reordered: 20,
            late: Duration::from_millis(3),
            ..Treatment::default()
        });
        assert_eq!(reordered.len(), PACKETS as usize);
        let late = reordered.windows(2).filter(|pair| pair[0] > pair[1]);
        let late = percent(late.count());
        assert!(near(late, 2.0), "{late} %");
        let bursts = carried(Treatment {
            bursts: 4,
            burst: 3,
            ..Treatment::default()
        });
        let lost = 100.0 - percent(bursts.len());
        assert!(near(lost, 1.2), "{lost} %");
        let gaps = bursts
            .windows(2)
            .filter(|pair| pair[1] - pair[0] == 4)
            .count();
        assert!(gaps > 3, "{gaps} bursts of three");
    }

    #[test]
    fn a_full_lane_loses_what_comes() {
        let mut lane = Lane::new(Treatment::default(), 7);
        for _ in 0..=QUEUE {
            lane.take(&[0], Instant::now());
        }
        assert_eq!(lane.waiting.len(), QUEUE);
    }
}
