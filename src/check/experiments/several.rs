//! Whether only some connections fail: one of several servers, links or workers is bad.

use std::time::Duration;

use super::connection::{Connection, Failed};
use super::setting::{Setting, letters};
use crate::check::findings::{Ending, Several, Sort};
use crate::check::parallel::in_threads;

/// What is said on each connection: even a path for text carries it.
const WORD: &[u8] = b"one of several?\n";

/// Connections of the first look, and how many threads make them where they may be open beside
/// each other.
const LOOKED: usize = 24;
const THREADS: usize = 8;

/// Connections of the second look, one after another, and the pause between them: a limit of
/// connections, or of new ones in a time, does not deny those.
const PROVED: usize = 16;
const PAUSE: Duration = Duration::from_millis(150);

/// On a connection that served once so many more words must come back: what fails now and then,
/// whatever the connection, is another fault.
const WORDS: usize = 5;

/// Connections of the second look that must fail, that must be served, and how often one of
/// those must follow one of these.
const LEAST: usize = 2;

/// Ports that are tried again, of those that failed and of those that were served, and how
/// often each.
const PORTS: usize = 2;
const AGAIN: usize = 2;

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Served,
    Failed {
        sort: Sort,
        is_lost: bool,
    },
    /// A later word did not come back: not a matter of connections.
    Later,
    /// Nothing can be told.
    Unknown,
}

impl Outcome {
    /// A connection that was made has failed so.
    fn failed(sort: Sort, connection: &Connection<'_>) -> Self {
        // What the server's system has not acknowledged may be lost by a link.
        let is_silent = sort == Sort::Ends(Ending::Silence);
        let is_lost = is_silent && connection.is_acknowledged() != Some(true);
        Self::Failed { sort, is_lost }
    }
}

/// A connection that was tried, from this port.
#[derive(Clone, Debug)]
struct Tried {
    port: Option<u16>,
    outcome: Outcome,
}

impl Tried {
    fn is_served(&self) -> bool {
        self.outcome == Outcome::Served
    }

    const fn sort(&self) -> Option<&Sort> {
        match &self.outcome {
            Outcome::Failed { sort, .. } => Some(sort),
            _ => None,
        }
    }

    const fn is_lost(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { is_lost: true, .. })
    }
}

/// Says a word on many connections: whether some fail and others do not, whatever their pace and
/// number, and each of them to its end.
pub(super) fn several(setting: &Setting<'_>) -> Option<Several> {
    if !is_mixed(&many(setting, (LOOKED, THREADS), || one(setting, None, 0))) {
        return None;
    }
    let mut tried = Vec::new();
    while tried.len() < PROVED {
        setting.pause(PAUSE);
        if setting.is_stopped() {
            break;
        }
        tried.push(one(setting, None, WORDS));
    }
    proved(setting, &tried)
}

/// Makes so many connections, `most` at once where they don't wait for each other.
fn many(
    setting: &Setting<'_>,
    (number, most): (usize, usize),
    one: impl Fn() -> Tried + Sync,
) -> Vec<Tried> {
    let threads = match setting.is_wide() {
        true => most.min(setting.width),
        false => 1,
    };
    in_threads(number, threads, || Ok(one())).unwrap_or_default()
}

/// Whether some were served and some failed.
fn is_mixed(tried: &[Tried]) -> bool {
    tried.iter().any(Tried::is_served) && tried.iter().any(|it| it.sort().is_some())
}

/// Makes one connection, from that port if one is given, and says a word on it, and so many more
/// where that comes back.
fn one(setting: &Setting<'_>, from: Option<u16>, more: usize) -> Tried {
    let connection = match setting.open_from(from) {
        Ok(connection) => connection,
        Err(failed) => {
            let outcome = not_made(failed);
            return Tried {
                port: from,
                outcome,
            };
        }
    };
    let port = connection.port();
    let mut outcome = said(setting, &connection);
    for _ in 0..more {
        if outcome != Outcome::Served || setting.is_stopped() {
            break;
        }
        if said(setting, &connection) != Outcome::Served {
            outcome = Outcome::Later;
        }
    }
    if setting.is_stopped() {
        outcome = Outcome::Unknown;
    }
    Tried { port, outcome }
}

fn not_made(failed: Failed) -> Outcome {
    let (sort, is_lost) = match failed {
        Failed::Refused => (Sort::Refused, false),
        Failed::Unanswered => (Sort::Ends(Ending::Silence), true),
        Failed::Ended(end) => (Sort::Ends(end), false),
        Failed::Prohibited | Failed::Here => return Outcome::Unknown,
    };
    Outcome::Failed { sort, is_lost }
}

/// Says the word, and sees what comes back.
fn said(setting: &Setting<'_>, connection: &Connection<'_>) -> Outcome {
    let patience = setting.patience();
    let (came, end) = match connection.send(WORD, patience) {
        Some(end) => (Vec::new(), Some(end)),
        None => connection.receive(WORD.len(), patience),
    };
    let sort = match end {
        _ if came == WORD => return Outcome::Served,
        _ if !WORD.starts_with(&came) => Sort::Answers(came),
        Some(end) => Sort::Ends(end),
        None => return Outcome::Unknown,
    };
    Outcome::failed(sort, connection)
}

/// What the connections prove, one made after the other.
fn proved(setting: &Setting<'_>, tried: &[Tried]) -> Option<Several> {
    if !differ(tried) {
        return None;
    }
    let failed: Vec<_> = tried.iter().filter(|it| it.sort().is_some()).collect();
    let served = tried.iter().filter(|it| it.is_served()).count();
    let is_by_port = is_by_port(setting, tried);
    // Packets are lost by chance, too, and SYNs by a limit.
    if failed.iter().any(|it| it.is_lost()) && !is_by_port {
        return None;
    }
    let sort = failed.first()?.sort()?.clone();
    Some(Several {
        tried: failed.len() + served,
        failed: failed.len(),
        sort,
        every: every(tried).filter(|_| !is_by_port),
        is_by_port,
        behind: None,
    })
}

/// Whether some connections fail and some are served, again and again, and each to its end.
fn differ(tried: &[Tried]) -> bool {
    let number = |is_it: fn(&Tried) -> bool| tried.iter().filter(|it| is_it(it)).count();
    let is_lasting = number(|it| it.outcome == Outcome::Later) == 0;
    let is_mixed = number(|it| it.sort().is_some()) >= LEAST && number(Tried::is_served) >= LEAST;
    is_lasting && is_mixed && recoveries(tried) >= LEAST
}

/// How often a connection was served behind one that failed.
fn recoveries(tried: &[Tried]) -> usize {
    let pairs = tried.windows(2);
    pairs
        .filter(|pair| pair[0].sort().is_some() && pair[1].is_served())
        .count()
}

/// The distance of those that fail, if it is the same for all: a balancer asks its servers in
/// turn.
fn every(tried: &[Tried]) -> Option<usize> {
    let places = tried.iter().enumerate();
    let failed: Vec<_> = places
        .filter(|(_, it)| it.sort().is_some())
        .map(|(place, _)| place)
        .collect();
    let (first, last) = (*failed.first()?, *failed.last()?);
    let every = failed.get(1)? - first;
    let is_even = failed.windows(2).all(|pair| pair[1] - pair[0] == every);
    let is_whole = first < every && last + every >= tried.len();
    (every >= 2 && failed.len() > LEAST && is_even && is_whole).then_some(every)
}

/// Whether the source port decides: the same ones fail again, and the others are served again.
fn is_by_port(setting: &Setting<'_>, tried: &[Tried]) -> bool {
    let ports = |is_it: &dyn Fn(&Tried) -> bool| {
        let some = tried.iter().filter(|it| is_it(it));
        let ports = some.filter_map(|it| it.port).take(PORTS);
        ports.collect::<Vec<_>>()
    };
    let failed = ports(&|it| it.sort().is_some());
    let served = ports(&Tried::is_served);
    let again = |port: u16, is_served: bool| {
        (0..AGAIN).all(|_| one(setting, Some(port), 0).is_served() == is_served)
    };
    failed.len() == PORTS
        && served.len() == PORTS
        && served.iter().all(|&port| again(port, true))
        && failed.iter().all(|&port| again(port, false))
}

/// The connections of a look at many bytes each, and how many of these go out before they are
/// awaited.
const CARRYING: usize = 12;
const BLOCK: usize = 64 * 1024;

/// Carries so many bytes on many connections, twice: whether some end on the way, and others do
/// not.
pub(super) fn carrying(setting: &Setting<'_>, bytes: usize) -> Option<Several> {
    let mut all = Vec::new();
    for _ in 0..2 {
        let round = many(setting, (CARRYING, CARRYING), || carried(setting, bytes));
        if !is_mixed(&round) || setting.is_stopped() {
            return None;
        }
        all.extend(round);
    }
    let failed = all.iter().filter_map(Tried::sort);
    let sort = failed.clone().next()?.clone();
    let is_one = failed.clone().all(|it| *it == sort);
    // What is lost now and then is another fault.
    let is_lost = all.iter().any(Tried::is_lost);
    let (failed, served) = (
        failed.count(),
        all.iter().filter(|it| it.is_served()).count(),
    );
    (is_one && !is_lost).then_some(Several {
        tried: failed + served,
        failed,
        sort,
        every: None,
        is_by_port: false,
        behind: Some(bytes as u64),
    })
}

/// Carries so many bytes on one connection.
fn carried(setting: &Setting<'_>, bytes: usize) -> Tried {
    let Ok(connection) = setting.open() else {
        return Tried {
            port: None,
            outcome: Outcome::Unknown,
        };
    };
    let (block, patience) = (letters(BLOCK), setting.patience());
    let (mut left, mut end) = (bytes, None);
    while left > 0 && end.is_none() {
        let length = left.min(BLOCK);
        end = connection.send(&block[..length], patience);
        if end.is_none() {
            end = connection.receive(length, patience).1;
        }
        left -= length;
    }
    let outcome = match end {
        _ if setting.is_stopped() => Outcome::Unknown,
        None => Outcome::Served,
        Some(end) => Outcome::failed(Sort::Ends(end), &connection),
    };
    Tried {
        port: connection.port(),
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(pattern: &str) -> Vec<Tried> {
        let each = pattern.chars().map(|it| Tried {
            port: None,
            outcome: match it {
                'f' => Outcome::Failed {
                    sort: Sort::Ends(Ending::Close),
                    is_lost: false,
                },
                'l' => Outcome::Later,
                _ => Outcome::Served,
            },
        });
        each.collect()
    }

    #[test]
    fn what_fails_in_turn_is_told_from_what_fails_by_chance() {
        for (pattern, distance) in [
            ("sfssfssfssfssfss", Some(3)),
            ("fsfsfsfsfsfsfsfs", Some(2)),
            ("sssfsssfsssfsssf", Some(4)),
            ("sfssfssfsssfssfs", None),
            ("sfssfsssssssssss", None),
            ("ssssssssssfssfss", None),
            ("ffffffffffffffff", None),
        ] {
            assert_eq!(every(&tried(pattern)), distance, "{pattern}");
        }
    }

    #[test]
    fn connections_differ_only_if_they_fail_and_recover_and_last() {
        for (pattern, is_it) in [
            ("sfssffssssfsssss", true),
            ("sssfffffffffffff", false),
            ("sssffffffffsffff", false),
            ("ssssssssssssssff", false),
            ("ffffffffffffffff", false),
            ("ssssssssssssssss", false),
            ("sfssffssssfsslss", false),
        ] {
            assert_eq!(differ(&tried(pattern)), is_it, "{pattern}");
        }
    }

    #[test]
    fn a_limit_that_denies_all_from_some_on_is_no_mixture() {
        assert_eq!(recoveries(&tried("sssfffffffffffff")), 0);
        assert_eq!(recoveries(&tried("sssffffffffsffff")), 1);
        assert_eq!(recoveries(&tried("sfssffssssfsssss")), 3);
    }
}
