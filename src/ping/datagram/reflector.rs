//! What a ping by STAMP has learnt of each direction.

use std::fmt;

use serde::Serialize;

use crate::base::units;
use crate::probe::datagram::stamp::directions::LostByWay;
use crate::probe::datagram::stamp::times::{ClockReport, Times};
use crate::probe::datagram::stamp::tracker::StampTracker;
use crate::probe::latency::Latency;

/// What a ping by STAMP has learnt of each direction. Times are in nanoseconds; a time from
/// one clock to the other is `null` unless both are synchronized.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReflectorSummary {
    /// Packets that did not reach the server; `null` where the reflector keeps no count.
    pub lost_to_server: Option<u64>,
    /// Answers that did not come back.
    pub lost_to_client: Option<u64>,
    /// Packets of which it is not known in which direction they were lost: those behind the
    /// last answer, and those around a new count.
    pub lost_either_way: Option<u64>,
    /// Whether the reflector counts its answers itself, in any session; `null` without any.
    pub is_stateful: Option<bool>,
    /// How often its count began anew.
    pub restarts: u64,
    /// How long the server had a packet: the median.
    pub server_ns: Option<u64>,
    /// From sending until the server's receiving: the median. Negative where the clocks differ
    /// by more than the way takes.
    pub to_server_ns: Option<i64>,
    /// From the server's sending until receiving: the median.
    pub to_client_ns: Option<i64>,
    /// The least times there and back.
    pub least_one_way_ns: Option<(i64, i64)>,
    /// How wrong both clocks together may be, as they say.
    pub one_way_error_ns: Option<u64>,
    /// By how much the times there of two packets in a row differ: the median. That needs no
    /// common clock.
    pub variation_to_server_p50_ns: Option<u64>,
    /// The same on the way back.
    pub variation_to_client_p50_ns: Option<u64>,
    /// This machine's clock.
    pub clock: Option<ClockReport>,
    /// The server's, as its last answer says.
    pub server_clock: Option<ClockReport>,
}

/// What all sessions of a ping have learnt together.
pub(super) fn summary<'a>(
    sessions: impl Iterator<Item = &'a StampTracker> + Clone,
) -> ReflectorSummary {
    let mut times = Times::default();
    sessions.clone().for_each(|it| times.add(&it.times));
    let stateful = sessions.clone().map(|it| it.directions.is_stateful());
    let is_stateful = stateful.flatten().reduce(|one, other| one || other);
    // Where no session has a count, nothing is known of any.
    let by_way = (is_stateful == Some(true)).then(|| sessions.clone().map(lost));
    let sum = |of: fn(LostByWay) -> u64| Some(by_way.clone()?.map(of).sum::<u64>());
    let least = times.to_server.least().zip(times.to_client.least());
    ReflectorSummary {
        lost_to_server: sum(|it| it.to_server),
        lost_to_client: sum(|it| it.to_client),
        lost_either_way: sum(|it| it.unknown),
        is_stateful,
        restarts: sessions.clone().map(|it| it.directions.restarts()).sum(),
        server_ns: median(&times.server),
        to_server_ns: times.to_server.median(),
        to_client_ns: times.to_client.median(),
        least_one_way_ns: least,
        one_way_error_ns: least.map(|_| times.error),
        variation_to_server_p50_ns: median(&times.variation_to_server),
        variation_to_client_p50_ns: median(&times.variation_to_client),
        clock: sessions.clone().next().map(|it| it.clock().into()),
        server_clock: times.server_clock.map(ClockReport::from),
    }
}

/// The losses of a session; all of them may be of either direction where nothing came, or
/// what came has no count.
fn lost(session: &StampTracker) -> LostByWay {
    let (reply_log, directions) = (&session.reply_log, &session.directions);
    let counts = reply_log.counts();
    let lost = counts.lost - counts.late;
    let awaited = reply_log.awaited_below(directions.last_request());
    let known = directions.lost(lost, awaited);
    known.unwrap_or(LostByWay {
        unknown: lost,
        ..LostByWay::default()
    })
}

fn median(latency: &Latency) -> Option<u64> {
    let value = latency.histogram.value_at_quantile(0.5);
    Some(value.min(latency.max()?))
}

impl ReflectorSummary {
    pub(super) fn write_lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lost_to_server, self.lost_to_client) {
            (Some(there), Some(back)) => {
                write!(
                    f,
                    "\nlost on the way to the server: {there}, on the way back: {back}"
                )?;
                if let Some(unknown @ 1..) = self.lost_either_way {
                    write!(f, ", on either: {unknown}")?;
                }
            }
            _ if self.is_stateful == Some(false) => f.write_str(
                "\nlost on which way: unknown, the reflector copies our numbers and keeps no count",
            )?,
            _ => {}
        }
        match self.restarts {
            0 => Ok(()),
            1 => f.write_str("\nthe reflector began to count anew once"),
            restarts => {
                let times = units::plain_count(restarts, "time", "times");
                write!(f, "\nthe reflector began to count anew {times}")
            }
        }
    }

    fn write_one_way(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(ours), Some(theirs)) = (self.clock, self.server_clock) else {
            return Ok(());
        };
        let (Some(there), Some(back), Some(error)) =
            (self.to_server_ns, self.to_client_ns, self.one_way_error_ns)
        else {
            let which = match (ours.is_synchronized, theirs.is_synchronized) {
                (false, false) => "neither ours nor the server's",
                (false, true) => "ours is not",
                (true, false) => "the server's is not",
                (true, true) => {
                    return f.write_str(
                        "\none way: unknown, no answer came in time while both clocks were \
                         synchronised",
                    );
                }
            };
            return write!(f, "\none way: unknown, clocks not synchronised ({which})");
        };
        write!(
            f,
            "\none way: to the server p50={}, back p50={}, by clocks that may differ by {} \
             (ours {}, the server's {})",
            signed(there),
            signed(back),
            units::time(error as f64),
            units::time(ours.error_ns as f64),
            units::time(theirs.error_ns as f64)
        )?;
        let least = self.least_one_way_ns.map(|(there, back)| there.min(back));
        match least {
            Some(least) if least < 0 && least.unsigned_abs() > error => write!(
                f,
                "; one of them is wrong by more than it says, since {} is no time of a way",
                signed(least)
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn write_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(server) = self.server_ns {
            let server = units::time(server as f64);
            write!(
                f,
                "\nin the server: p50={server}, which is in no round trip"
            )?;
        }
        self.write_one_way(f)?;
        self.write_variation(f)
    }

    fn write_variation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(there), Some(back)) = (
            self.variation_to_server_p50_ns,
            self.variation_to_client_p50_ns,
        ) else {
            return Ok(());
        };
        write!(
            f,
            "\nvariation one way: to the server p50={}, back p50={}",
            units::time(there as f64),
            units::time(back as f64)
        )
    }
}

/// A time with its sign.
pub(super) fn signed(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", units::time(ns.unsigned_abs() as f64))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::stamp::{Clock, Format, LENGTH, Reflection, Request, Timestamp};

    impl fmt::Display for ReflectorSummary {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.write_lost(f)?;
            self.write_times(f)
        }
    }

    fn clock(is_synchronized: bool) -> Option<ClockReport> {
        Some(ClockReport {
            is_synchronized,
            error_ns: 1000,
            format: "ntp",
        })
    }

    #[test]
    fn one_way_times_are_shown_with_the_clocks_or_not_at_all() {
        let mut summary = ReflectorSummary {
            clock: clock(false),
            server_clock: clock(true),
            ..ReflectorSummary::default()
        };
        let words = "one way: unknown, clocks not synchronised (ours is not)";
        assert!(summary.to_string().contains(words), "{summary}");
        summary.server_clock = clock(false);
        assert!(
            summary.to_string().contains("neither ours nor"),
            "{summary}"
        );
        (summary.clock, summary.server_clock) = (clock(true), clock(true));
        let text = summary.to_string();
        assert!(text.contains("no answer came in time"), "{text}");
        assert!(!text.contains("not synchronised"), "{text}");
        (summary.to_server_ns, summary.to_client_ns) = (Some(5000), Some(-700));
        (summary.one_way_error_ns, summary.least_one_way_ns) = (Some(2000), Some((4000, -1500)));
        let words = "to the server p50=5.00 us, back p50=-700 ns, by clocks that may differ by \
                     2.00 us (ours 1.00 us, the server's 1.00 us)";
        assert!(summary.to_string().contains(words), "{summary}");
        assert!(!summary.to_string().contains("wrong"), "{summary}");
        summary.least_one_way_ns = Some((4000, -2500));
        assert!(
            summary.to_string().contains("one of them is wrong"),
            "{summary}"
        );
    }

    /// A session of which so many packets are answered, by a reflector with a count or
    /// without, and then so many lost.
    fn session(answered: u64, has_count: bool, lost: u64) -> StampTracker {
        const TIMEOUT: u64 = 1000;
        let estimate = Clock {
            is_synchronized: false,
            format: Format::Ntp,
            error: Duration::ZERO,
        };
        let mut session = StampTracker::new(LENGTH, TIMEOUT, estimate);
        for number in 1..=answered + lost {
            let mut packet = [0; LENGTH];
            session.fill(&mut packet, Duration::from_nanos(number));
            session.reply_log.sent(number);
            if number > answered {
                continue;
            }
            let own = number as u32 - u32::from(has_count);
            let answer = Reflection {
                sequence: own,
                sent: Timestamp::default(),
                estimate: estimate.estimate(),
                received: Timestamp::default(),
                request: Request::read(&packet).unwrap(),
                ttl: 1,
            };
            let mut bytes = packet;
            answer.write(&mut bytes);
            session.received(&bytes, number, Duration::from_nanos(number));
        }
        session.reply_log.expire(TIMEOUT * 2);
        session
    }

    #[test]
    fn a_silent_port_hides_no_direction_of_the_others() {
        for silent in [session(0, true, 3), session(2, false, 3)] {
            let sessions = [session(4, true, 0), silent];
            let summary = summary(sessions.iter());
            assert_eq!(summary.lost_to_server, Some(0));
            assert_eq!(summary.lost_to_client, Some(0));
            assert_eq!(summary.lost_either_way, Some(3));
            assert_eq!(summary.is_stateful, Some(true));
            let words = "way to the server: 0, on the way back: 0, on either: 3";
            assert!(summary.to_string().contains(words), "{summary}");
        }
        let all_silent = [session(0, true, 3), session(0, true, 3)];
        assert_eq!(summary(all_silent.iter()).lost_either_way, None);
    }

    #[test]
    fn what_is_unknown_of_the_losses_is_said() {
        let mut summary = ReflectorSummary {
            is_stateful: Some(false),
            ..ReflectorSummary::default()
        };
        assert!(summary.to_string().contains("keeps no count"), "{summary}");
        summary.is_stateful = Some(true);
        (summary.lost_to_server, summary.lost_to_client) = (Some(2), Some(0));
        (summary.lost_either_way, summary.restarts) = (Some(3), 1);
        let words = "lost on the way to the server: 2, on the way back: 0, on either: 3";
        assert!(summary.to_string().contains(words), "{summary}");
        assert!(summary.to_string().contains("anew once"), "{summary}");
    }
}
