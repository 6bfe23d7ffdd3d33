//! Which experiments what failed gives reason for.

use std::time::Duration;

use super::streams::Hint;
use crate::check::facts::{FEW, Facts, Failure, MANY, SMALL};
use crate::check::findings::{Findings, Held, Limited, Sizes, Steps};
use crate::check::observation::{End, LEAD, NotMade};
use crate::probe::pattern::Damage;

/// What is suspected after the clauses.
pub(super) struct Suspicion<'a> {
    pub(super) facts: &'a Facts,
}

/// The least that fills a packet of a path, in bytes.
const LARGE: u64 = 500;

/// Clauses of many connections at once, which limits make fail.
const CROWD: [&str; 3] = ["connections", "connect-storm", "reset"];

/// The most bytes that are carried to see whether some connections end behind them.
const MOST_CARRIED: u64 = 1 << 20;

const SOME_TIME: Duration = Duration::from_millis(400);

impl Suspicion<'_> {
    fn any(&self, is_it: impl Fn(&Failure) -> bool) -> bool {
        self.facts.failures.iter().any(is_it)
    }

    /// A connection failed before anything had come back, and others did not.
    pub(super) fn is_mixed(&self) -> bool {
        let is_it = |at: &Failure| is_mute(at) && !CROWD.contains(&at.clause);
        !self.facts.is_mute() && self.any(is_it)
    }

    /// The same of many at once, of which no limit was found.
    pub(super) fn is_mixed_crowd(&self, found: &Findings) -> bool {
        let is_limited = matches!(found.steps, Some(Steps::UpTo { .. }));
        let is_few = found.rate.is_some_and(|rate| rate.limited() != Limited::No);
        let is_it = |at: &Failure| is_mute(at) && CROWD.contains(&at.clause);
        !self.is_mixed() && !is_limited && !is_few && !self.facts.is_mute() && self.any(is_it)
    }

    /// A connection ended on its way where another clause's carried more: behind so many bytes
    /// another one would as well.
    pub(super) fn is_mixed_behind(&self) -> Option<usize> {
        let is_cut = |at: &&Failure| {
            let seen = &at.observed;
            let is_odd = seen.urgent || seen.half_closed || seen.held_silent;
            at.is_cut_off() || at.is_silent() && seen.received >= MANY && !is_odd
        };
        let cut = self.facts.failures.iter().filter(is_cut);
        let bytes = cut.map(|at| at.observed.received).max()?;
        let most = self.facts.borne.bytes.max(self.least_carried());
        (most > bytes && bytes <= MOST_CARRIED).then(|| {
            let behind = bytes + bytes / 2;
            usize::try_from(behind.min(MOST_CARRIED)).unwrap_or(usize::MAX)
        })
    }

    /// What a connection of a clause that passed carried at least: those that fill the path carry
    /// more than a quarter of a MiB where a cut of so many bytes is in question.
    fn least_carried(&self) -> u64 {
        let has_passed = |name: &&str| self.facts.passed.contains(name);
        let filling = ["full-duplex", "slow-reader", "message-16m"];
        if filling.iter().any(has_passed) {
            1 << 18
        } else if has_passed(&"message-64k") {
            3 << 16
        } else {
            0
        }
    }

    /// Connections were denied that nothing was carried on, where others were served before.
    pub(super) fn is_denied(&self) -> bool {
        let is_denied = |at: &Failure| match &at.observed.end {
            End::NotMade(NotMade::Refused | NotMade::Unanswered | NotMade::Reset) => true,
            End::NotMade(how) => how.is_by_icmp(),
            End::Close | End::Reset => at.observed.received == 0 && !at.observed.half_closed,
            End::Silence => at.observed.received == 0 && CROWD.contains(&at.clause),
            _ => false,
        };
        let is_crowd = |at: &Failure| CROWD.contains(&at.clause) && is_denied(at);
        !self.facts.is_mute()
            && (self.any(is_crowd) || self.any(|at| matches!(at.observed.end, End::NotMade(_))))
    }

    /// Something small did not come back, or late.
    pub(super) fn is_held(&self) -> bool {
        let is_late = |at: &Failure| matches!(at.observed.end, End::Late { .. });
        self.any(|at| {
            let is_small = SMALL.contains(&at.clause) && at.is_silent();
            is_small || at.clause == "slow-writer" && is_late(at)
        }) || self.facts.is_mute()
    }

    /// Bytes came that were not sent, or one of any value may have ended a connection.
    pub(super) fn is_changed(&self) -> bool {
        self.any(|at| matches!(at.observed.end, End::Wrong(_)) && at.clause != "urgent")
            || self.facts.failure("bytes").is_some_and(|at| {
                let is_ended = matches!(at.observed.end, End::Close | End::Reset);
                at.is_silent() || is_ended
            })
    }

    /// The age of the oldest connection that was ended without a byte, as far as another one may be
    /// followed.
    pub(super) fn ended_at(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(6);
        let is_ended = |at: &&Failure| {
            let is_end = matches!(at.observed.end, End::Close | End::Reset);
            is_end && at.observed.received == 0 && !at.observed.held_silent
        };
        let ended = self.facts.failures.iter().filter(is_ended);
        let ages = ended.map(|at| at.observed.age);
        ages.filter(|age| *age <= LONGEST).max().unwrap_or_default()
    }

    /// Texts with the values that came otherwise: each may have a meaning that is not known here.
    pub(super) fn wrong_values(&self) -> Vec<[u8; 3]> {
        /// What one value is the reason for comes otherwise at it each time.
        const MOST: usize = 2;
        let mut values = Vec::new();
        for failure in &self.facts.failures {
            let End::Wrong(wrong) = &failure.observed.end else {
                continue;
            };
            let is_foreign = matches!(wrong.damage, Some(Damage::Foreign(_)));
            let value = wrong.sent.first().filter(|_| !is_foreign);
            if let Some(value) = value.filter(|value| !values.contains(*value)) {
                values.push(*value);
            }
        }
        values.truncate(MOST);
        values
            .into_iter()
            .map(|value| [b'a', value, b'b'])
            .collect()
    }

    /// Packets of full size were on their way when nothing came any more.
    pub(super) fn is_large(&self) -> bool {
        let is_large = |at: &Failure| at.observed.sent.max(at.observed.expected) >= LARGE;
        self.any(|at| at.is_silent() && is_large(at))
    }

    /// How many connections the clause that counts them had served at least.
    pub(super) fn least_served(&self) -> usize {
        let failure = self.facts.failure("connections");
        let crowd = failure.and_then(|at| at.observed.crowd);
        crowd.map_or(0, |crowd| crowd.served)
    }

    pub(super) fn is_half_close(&self) -> bool {
        self.any(Failure::is_of_half_close)
    }

    /// Connections ended after some bytes, or some time.
    pub(super) fn cut(&self, found: &Findings) -> Option<Hint> {
        let is_ended = |at: &&Failure| {
            let ended = matches!(at.observed.end, End::Close | End::Reset);
            // A large packet that is lost ends nothing.
            let is_hole = matches!(found.sizes, Some(Sizes::UpTo { .. }));
            ended || at.is_silent() && !is_hole
        };
        let is_other = |at: &&Failure| {
            let (bytes, age) = reached(at);
            at.clause != "urgent"
                && !at.observed.half_closed
                && !at.observed.held_silent
                && (bytes >= MANY || age >= SOME_TIME || at.clause == "lifetime" && bytes > 0)
        };
        let ended = self.facts.failures.iter().filter(is_ended);
        let ended: Vec<_> = ended.filter(is_other).map(reached).collect();
        let bytes = ended.iter().map(|(bytes, _)| *bytes).max()?;
        let age = ended.iter().map(|(_, age)| *age).max()?;
        Some(Hint { bytes, age })
    }

    /// One of several connections was not served.
    pub(super) fn is_crowded(&self) -> bool {
        self.any(|at| CROWD.contains(&at.clause) || matches!(at.observed.end, End::NotMade(_)))
    }

    /// Connections were made late, or not, or denied.
    pub(super) fn is_late(&self, found: &Findings) -> bool {
        // A limit of those that are open denies them, too.
        let is_limited = matches!(found.steps, Some(Steps::UpTo { .. }));
        let is_late = |at: &Failure| match &at.observed.end {
            End::Begun(_) => true,
            End::Late { .. } => at.clause == "connect-storm",
            End::NotMade(NotMade::Unanswered | NotMade::Refused | NotMade::Reset) => true,
            End::NotMade(how) => how.is_by_icmp(),
            // A limit that answers may do so once the connection is made.
            End::Close | End::Reset => at.observed.received == 0 && !at.observed.half_closed,
            _ => at.clause == "connect-storm" && at.is_silent(),
        };
        !is_limited && self.any(is_late)
    }

    /// Something was slow or late, and nothing that was found accounts for it.
    pub(super) fn is_lossy(&self, found: &Findings) -> bool {
        let is_limited = matches!(found.steps, Some(Steps::UpTo { .. }));
        let is_few = found.rate.is_some_and(|rate| rate.limited() != Limited::No);
        let is_hole = matches!(found.sizes, Some(Sizes::UpTo { .. }));
        let is_held = !matches!(found.held, None | Some(Held::Nothing));
        let is_slow = |at: &Failure| match at.observed.end {
            End::Late { .. } => at.clause == "connect-storm",
            End::NotMade(NotMade::Unanswered) | End::Slow => true,
            // What is asked for with these is often not answered where no packet is lost.
            End::Silence => {
                let seen = &at.observed;
                !seen.urgent && !seen.half_closed && !seen.held_silent
            }
            _ => false,
        };
        // The clause has measured it.
        let is_known = self.facts.has_failed("loss");
        !is_known && !is_limited && !is_few && !is_hole && !is_held && self.any(is_slow)
    }

    /// A connection that was held silent ended.
    pub(super) fn is_forgotten(&self) -> bool {
        self.any(|at| at.observed.held_silent)
    }
}

/// What was under way on connections that ended, the shortest first: some of these bytes may have
/// ended them.
pub(super) fn under_way(facts: &Facts) -> Vec<&[u8]> {
    let is_ended = |at: &&Failure| {
        let is_end = matches!(at.observed.end, End::Close | End::Reset);
        let is_odd = at.observed.urgent || at.observed.held_silent || at.observed.half_closed;
        (is_end || at.is_silent()) && !is_odd && !at.observed.under_way.is_empty()
    };
    let ended = facts.failures.iter().filter(is_ended);
    let mut ended: Vec<_> = ended.map(|at| &at.observed).collect();
    ended.sort_by_key(|seen| seen.under_way.len());
    // What looks at the begin of a packet alone finds it there; else it may begin before.
    let windows = ended.into_iter().flat_map(|seen| {
        let lead = usize::try_from(seen.received.min(LEAD)).unwrap_or_default();
        let [whole, rest] = [Some(&seen.under_way[..]), seen.under_way.get(lead..)];
        [rest.filter(|rest| lead > 0 && !rest.is_empty()), whole]
    });
    windows.flatten().collect()
}

/// Whether a connection failed before anything had come back.
fn is_mute(failure: &Failure) -> bool {
    let seen = &failure.observed;
    let is_it = match &seen.end {
        End::NotMade(how) => !how.is_by_icmp(),
        End::Silence | End::Reset | End::Close => !seen.urgent && !seen.held_silent,
        End::Wrong(_) => true,
        _ => false,
    };
    is_it && failure.came() <= FEW
}

/// How far a connection came, in bytes and in age. What has ended while its client received
/// nothing on purpose is told by what was sent.
fn reached(failure: &Failure) -> (u64, Duration) {
    let seen = &failure.observed;
    match failure.clause {
        "slow-reader" if seen.received < MANY => (seen.sent, seen.age),
        _ => (seen.received, seen.moved_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::made::{facts, failure};
    use crate::check::findings::{Denied, Direction};

    fn after(name: &'static str, end: End, bytes: u64) -> Failure {
        let mut failure = failure(name, end);
        failure.observed.received = bytes;
        failure.observed.moved_at = Duration::from_millis(20);
        failure
    }

    #[test]
    fn a_cut_is_suspected_where_bytes_came_before_the_end() {
        let cut = |failures: &[Failure], found: &Findings| {
            let facts = facts(failures, &["connect"]);
            Suspicion { facts: &facts }
                .cut(found)
                .map(|hint| hint.bytes)
        };
        let none = Findings::default();
        let hole = Findings {
            sizes: Some(Sizes::UpTo {
                bytes: 1280,
                direction: Direction::Both,
            }),
            ..Findings::default()
        };
        let silent = [
            after("bytes", End::Silence, 3000),
            after("reset", End::Silence, 900),
        ];
        assert_eq!(cut(&silent, &none), Some(3000));
        assert_eq!(cut(&silent, &hole), None);
        assert_eq!(cut(&[after("bytes", End::Reset, 3000)], &hole), Some(3000));
        assert_eq!(cut(&[after("urgent", End::Silence, 3000)], &none), None);
        assert_eq!(cut(&[after("bytes", End::Silence, 3)], &none), None);
        let mut half_closed = after("half-close-early", End::Close, 3000);
        half_closed.observed.half_closed = true;
        assert_eq!(cut(&[half_closed], &none), None);
        let mut old = after("small-writes", End::Close, 3);
        old.observed.moved_at = Duration::from_secs(1);
        assert_eq!(cut(&[old], &none), Some(3));
        // Hardly anything was sent on it.
        let young = after("lifetime", End::Reset, 16);
        assert_eq!(cut(&[young], &none), Some(16));
        assert_eq!(cut(&[after("lifetime", End::Reset, 0)], &none), None);
        let mut unread = after("slow-reader", End::Reset, 0);
        unread.observed.sent = 9_000_000;
        assert_eq!(cut(&[unread], &none), Some(9_000_000));
    }

    #[test]
    fn servers_that_differ_are_suspected_where_some_connections_fail_at_once() {
        let mixed = |failures: &[Failure], passed: &[&'static str]| {
            let facts = facts(failures, passed);
            let suspicion = Suspicion { facts: &facts };
            let found = Findings::default();
            (suspicion.is_mixed(), suspicion.is_mixed_crowd(&found))
        };
        let dead = failure("message-mss", End::Reset);
        let crowd = failure("connections", End::Reset);
        assert_eq!(
            mixed(std::slice::from_ref(&dead), &["bytes"]),
            (true, false)
        );
        assert_eq!(
            mixed(std::slice::from_ref(&dead), &["connect"]),
            (false, false)
        );
        assert_eq!(
            mixed(std::slice::from_ref(&crowd), &["bytes"]),
            (false, true)
        );
        assert_eq!(
            mixed(&[after("bytes", End::Reset, 3000)], &["lifetime"]),
            (false, false)
        );
        assert_eq!(mixed(&[dead, crowd], &["bytes"]), (true, false));
    }

    #[test]
    fn what_was_under_way_is_sent_again_the_shortest_first() {
        let holding = |name, end, received, bytes: &[u8]| {
            let mut failure = after(name, end, received);
            failure.observed.under_way = bytes.to_vec();
            failure
        };
        let mut odd = holding("urgent", End::Reset, 0, b"u");
        odd.observed.urgent = true;
        let failures = [
            holding("message-64k", End::Reset, 0, b"abcdef"),
            holding("bytes", End::Silence, 3, b"abcde"),
            holding("loss", End::Other, 0, b"c"),
            failure("connect-storm", End::Reset),
            odd,
        ];
        let facts = facts(&failures, &[]);
        let windows: [&[u8]; 3] = [b"de", b"abcde", b"abcdef"];
        assert_eq!(under_way(&facts), windows);
    }

    #[test]
    fn a_rate_is_not_suspected_where_a_limit_was_found() {
        let late = End::Late {
            late: 100,
            of: 800,
            by: Duration::from_secs(1),
        };
        let facts = facts(&[failure("connect-storm", late)], &["connect", "bytes"]);
        let suspicion = Suspicion { facts: &facts };
        assert!(suspicion.is_late(&Findings::default()));
        let limited = Findings {
            steps: Some(Steps::UpTo {
                connections: 10,
                by: Denied::Waits,
                is_proved: true,
            }),
            ..Findings::default()
        };
        assert!(!suspicion.is_late(&limited));
        assert!(suspicion.is_crowded());
        assert!(!suspicion.is_held());
    }
}
