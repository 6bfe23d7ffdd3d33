//! How many packets are lost each way: messages of one packet each on several connections.
//! What is late is told from what is lost by those sent behind it, which overtake the gap.

use std::collections::VecDeque;
use std::mem;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::setting::{Setting, letters};
use crate::check::lost::{Loss, Proves};
use crate::check::parallel::at_once;
use crate::check::target::Target;

/// Connections at once, if as many are served; on a far path twice as many as that was seen of,
/// where those are not few: half of them had been seen to be served.
const CONNECTIONS: usize = 16;
const MANY_SERVED: usize = 8;

/// On a path that is as long as this, or longer, so many messages are under way at once on each
/// connection, and no more than one on others.
const FAR: Duration = Duration::from_millis(50);
const AHEAD: usize = 4;

/// Messages of all connections: no fewer, and no more.
const LEAST: u64 = 300;
const MOST: u64 = 8000;

/// How long it lasts, and how long at the most where more seem to be lost than on a sound path
/// and are too few to prove it.
const LONG: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(8);

/// The size of a message in bytes.
const MESSAGE: usize = 100;

/// A message is late that takes so much longer than the fastest of its connection, and this part
/// of that: what arrives so late is taken for lost by TCP as well (RFC 8985 section 6.2). Then
/// single bytes are sent behind it, one each time that so long has passed.
const LATE: Duration = Duration::from_millis(50);
const LATE_PART: u32 = 4;
const PROBES: usize = 8;

/// An acknowledgement may still be on its way for so long beyond a round trip.
const SETTLED: Duration = Duration::from_millis(5);

/// What the system has counted of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    /// Segments that were sent again, their bytes, and those of them that had arrived before.
    again: u64,
    again_bytes: u64,
    twice: u64,
    /// Segments that came out of order.
    out_of_order: u64,
}

impl Counters {
    /// `None` where the system does not count one of them.
    fn read(connection: &Connection<'_>) -> Option<Self> {
        let view = connection.view()?;
        Some(Self {
            again: view.retransmits?,
            again_bytes: view.retransmitted_bytes?,
            twice: view.duplicates?,
            out_of_order: view.out_of_order?,
        })
    }
}

/// What became of a message that came back late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It did not arrive, and was sent again.
    LostThere,
    /// Its echo did not.
    LostBack,
    /// Neither was lost.
    Late,
}

impl Outcome {
    /// By what was counted before it was sent, when it was back, and once all was acknowledged.
    fn of(before: Counters, back: Counters, after: Counters) -> Self {
        // An echo that was sent later came before it: the server sends them in order.
        if back.out_of_order > before.out_of_order {
            return Self::LostBack;
        }
        let again = after.again - before.again;
        // A single byte behind it may be sent again for nothing (RFC 8985 section 7).
        let is_itself = after.again_bytes - before.again_bytes >= MESSAGE as u64;
        match is_itself && again > after.twice - before.twice {
            true => Self::LostThere,
            false => Self::Late,
        }
    }
}

/// Whether more messages would tell no more, or there is no more time for them.
fn is_enough(loss: Loss, elapsed: Duration) -> bool {
    if elapsed >= LONGEST || loss.packets >= MOST {
        return true;
    }
    let is_open = loss.packets < LEAST || loss.proves() == Proves::Nothing;
    !is_open || elapsed >= LONG && !loss.seems_lossy()
}

/// Counts messages that were lost. All connections exchange as many before it is asked whether
/// that is enough: else those that lost one, and take longer, would be missing.
pub(super) fn loss(setting: &Setting<'_>) -> Option<Loss> {
    let (begun, connections) = (Instant::now(), connections(setting));
    let mut exchanges = opened(setting, connections);
    let (mut loss, each) = (Loss::default(), LEAST.div_ceil(connections as u64));
    while !exchanges.is_empty() && !is_enough(loss, begun.elapsed()) && !setting.is_stopped() {
        let long = if loss.seems_lossy() { LONGEST } else { LONG };
        let is_over = move || begun.elapsed() >= long;
        let lives: Vec<_> = thread::scope(|scope| {
            let some = |exchange: &mut Exchange<'_>| exchange.some(each, &is_over).is_some();
            let start = |exchange| {
                let some = move || some(exchange);
                thread::Builder::new().spawn_scoped(scope, some).ok()
            };
            let threads: Vec<_> = exchanges.iter_mut().map(start).collect();
            let lives = |thread: ScopedJoinHandle<'_, bool>| thread.join().unwrap_or(false);
            let lives = threads.into_iter().map(|thread| thread.is_some_and(lives));
            lives.collect()
        });
        let counted = exchanges.iter_mut().map(|one| mem::take(&mut one.counted));
        loss = counted.fold(loss, Loss::with);
        let mut lives = lives.into_iter();
        exchanges.retain(|_| lives.next().unwrap_or(false));
    }
    (loss.packets > 0 && !setting.is_stopped()).then_some(loss)
}

/// Connections of which the system counts what tells, as many as are made.
fn opened<'a>(setting: &'a Setting<'_>, number: usize) -> Vec<Exchange<'a>> {
    let opened = at_once(number, || Exchange::open(setting)).into_iter();
    opened.flatten().flatten().collect()
}

/// The same, of a clause.
pub(in crate::check) fn count_lost(target: &Target<'_>) -> Option<Loss> {
    let stop = || target.context.is_stopped();
    let until = Instant::now() + target.shared.left();
    let setting = Setting::new(target.address(), target.shared.width(), until, &stop).ok()?;
    loss(&setting)
}

fn is_far(setting: &Setting<'_>) -> bool {
    setting.round_trip >= FAR
}

fn connections(setting: &Setting<'_>) -> usize {
    match is_far(setting) && setting.width >= MANY_SERVED {
        true => (2 * setting.width).min(2 * CONNECTIONS),
        false => setting.width.clamp(1, CONNECTIONS),
    }
}

/// Messages on one connection.
struct Exchange<'a> {
    setting: &'a Setting<'a>,
    connection: Connection<'a>,
    /// When those were sent that are not back, and how many bytes of the first of them are.
    under_way: VecDeque<Instant>,
    came: usize,
    /// How many may be under way.
    most: usize,
    fastest: Duration,
    last_sent: Option<Instant>,
    /// What the system had counted when the first of those under way became the first.
    before: Counters,
    counted: Loss,
}

impl<'a> Exchange<'a> {
    fn open(setting: &'a Setting<'_>) -> Option<Self> {
        let connection = setting.open().ok()?;
        let before = Counters::read(&connection)?;
        Some(Self {
            setting,
            connection,
            under_way: VecDeque::new(),
            came: 0,
            most: if is_far(setting) { AHEAD } else { 1 },
            fastest: setting.round_trip,
            last_sent: None,
            before,
            counted: Loss::default(),
        })
    }

    /// Exchanges so many messages, or until it is over: those under way are still waited for.
    /// `None` if the connection ends.
    fn some(&mut self, number: u64, is_over: &dyn Fn() -> bool) -> Option<()> {
        let until = self.counted.packets + number;
        while self.counted.packets < until && !self.setting.is_stopped() {
            let left = until - self.counted.packets;
            let most = if is_over() { 0 } else { left };
            self.go_on(usize::try_from(most).unwrap_or(usize::MAX))?;
            if self.under_way.is_empty() && is_over() {
                break;
            }
        }
        Some(())
    }

    /// Sends what is due, with no more than so many under way then, and receives some, or sees
    /// why none comes. `None` at its end.
    fn go_on(&mut self, most: usize) -> Option<()> {
        let most = most.min(self.most);
        let gap = self.fastest / u32::try_from(self.most).unwrap_or(1);
        let is_due = |sent: Instant| self.most == 1 || sent.elapsed() >= gap;
        if self.under_way.len() < most && self.last_sent.is_none_or(is_due) {
            self.send(MESSAGE)?;
            self.under_way.push_back(Instant::now());
            self.last_sent = self.under_way.back().copied();
        }
        let Some(first) = self.under_way.front() else {
            // The next one is not due yet.
            self.setting.pause(gap);
            return Some(());
        };
        let waited = first.elapsed();
        let late = self.fastest + LATE.max(self.fastest / LATE_PART);
        if waited >= late {
            return self.see_late();
        }
        let next = match self.under_way.len() < most {
            true => gap.saturating_sub(self.last_sent?.elapsed()),
            false => late,
        };
        self.receive(next.min(late - waited))?;
        while self.came >= MESSAGE {
            self.came -= MESSAGE;
            let took = self.under_way.pop_front()?.elapsed();
            self.fastest = self.fastest.min(took);
            self.before = Counters::read(&self.connection)?;
            self.counted.packets += 1;
        }
        Some(())
    }

    /// The first of those under way is late: waits for it, and sees what became of it. Those
    /// behind it are not counted, but tell of it.
    fn see_late(&mut self) -> Option<()> {
        let patience = 4 * self.setting.patience();
        let (begun, mut probes, is_first) = (Instant::now(), 0, self.under_way.len() == 1);
        while self.came < MESSAGE {
            if begun.elapsed() >= patience || self.setting.is_stopped() {
                return None;
            }
            if is_first && probes < PROBES {
                self.send(1)?;
                probes += 1;
            }
            let until = Instant::now() + LATE;
            while self.came < MESSAGE && Instant::now() < until {
                self.receive(until.saturating_duration_since(Instant::now()))?;
            }
        }
        let back = Counters::read(&self.connection)?;
        let all = self.under_way.len() * MESSAGE + probes;
        while self.came < all {
            let before = self.came;
            self.receive(patience)?;
            if self.came == before {
                return None;
            }
        }
        self.setting.pause(self.setting.round_trip + SETTLED);
        let after = Counters::read(&self.connection)?;
        self.counted.packets += 1;
        match Outcome::of(self.before, back, after) {
            Outcome::LostThere => self.counted.there += 1,
            Outcome::LostBack => self.counted.back += 1,
            Outcome::Late => {}
        }
        self.under_way.clear();
        (self.came, self.before) = (0, after);
        Some(())
    }

    fn send(&self, bytes: usize) -> Option<()> {
        let sent = self
            .connection
            .send(&letters(bytes), self.setting.patience());
        sent.is_none().then_some(())
    }

    /// Receives what comes within that time, if any does.
    fn receive(&mut self, time: Duration) -> Option<()> {
        let came = self.connection.receive_within(&mut [0; 1024], time).ok()?;
        self.came += came;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(again: u64, again_bytes: u64, twice: u64, out_of_order: u64) -> Counters {
        Counters {
            again,
            again_bytes,
            twice,
            out_of_order,
        }
    }

    #[test]
    fn what_is_late_was_lost_only_if_others_overtook_it_or_it_was_sent_again() {
        let before = counters(3, 300, 1, 7);
        for (back, after, outcome) in [
            (before, before, Outcome::Late),
            // Later echoes came before it.
            (
                counters(3, 300, 1, 8),
                counters(3, 300, 1, 8),
                Outcome::LostBack,
            ),
            // It was sent again before that was known.
            (
                counters(4, 400, 1, 8),
                counters(4, 400, 2, 8),
                Outcome::LostBack,
            ),
            // It was sent again, and had not arrived; or the server does not tell.
            (
                counters(4, 400, 1, 7),
                counters(4, 400, 1, 7),
                Outcome::LostThere,
            ),
            (
                counters(5, 401, 1, 7),
                counters(5, 401, 2, 7),
                Outcome::LostThere,
            ),
            // It had arrived: the path stood still.
            (
                counters(4, 400, 1, 7),
                counters(4, 400, 2, 7),
                Outcome::Late,
            ),
            // Only what was sent behind it was sent again.
            (
                counters(4, 301, 1, 7),
                counters(4, 301, 1, 7),
                Outcome::Late,
            ),
            // What was behind it came out of order, once it was there.
            (before, counters(3, 300, 1, 9), Outcome::Late),
        ] {
            assert_eq!(
                Outcome::of(before, back, after),
                outcome,
                "{back:?} {after:?}"
            );
        }
    }

    #[test]
    fn it_goes_on_until_it_knows_and_longer_where_much_seems_to_be_lost() {
        let loss = |packets, there| Loss {
            packets,
            there,
            back: 0,
        };
        let second = Duration::from_secs(1);
        assert!(!is_enough(loss(LEAST - 1, 100), second));
        assert!(is_enough(loss(LEAST, 100), second));
        assert!(is_enough(loss(700, 0), second));
        // One in a hundred: it may be more.
        assert!(!is_enough(loss(700, 7), second));
        assert!(is_enough(loss(700, 7), LONG));
        assert!(!is_enough(loss(300, 13), LONG));
        assert!(is_enough(loss(300, 13), LONGEST));
        assert!(is_enough(loss(MOST, 200), second));
    }
}
