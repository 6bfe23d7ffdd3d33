//! What became of the datagrams of each source port, and whether some ports fare worse: in a
//! bundle of links, or behind several servers, a port always takes the same way, so one bad
//! member loses all of some ports and none of the others.

use serde::Serialize;

use crate::base::units;
use crate::probe::datagram::conventions;

/// A port that has lost this many in a row and received nothing loses everything.
const TRIES: u64 = conventions::TRIES as u64;

/// The counts of a source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PortCounts {
    /// Our port.
    pub source_port: u16,
    /// Datagrams sent from it.
    pub sent: u64,
    /// Those that came back unchanged and in time.
    pub received: u64,
    /// Those that did not come back in time.
    pub lost: u64,
    /// Of the lost, those that came back late.
    pub late: u64,
    /// Echoes that came back changed.
    pub changed: u64,
}

impl PortCounts {
    const fn loses_everything(&self) -> bool {
        self.received + self.late + self.changed == 0 && self.lost >= TRIES
    }
}

/// The verdict by source port, in words. A port from which nothing was sent says nothing.
pub fn verdict(ports: &[PortCounts]) -> String {
    let used: Vec<_> = ports.iter().filter(|it| it.sent > 0).copied().collect();
    match ports.len() - used.len() {
        0 => of_used(ports),
        _ if used.is_empty() => String::from("no source port sent anything"),
        unused => format!("{}; {unused} more sent nothing", of_used(&used)),
    }
}

fn of_used(ports: &[PortCounts]) -> String {
    let all = ports.len();
    let dead: Vec<_> = ports.iter().filter(|it| it.loses_everything()).collect();
    let losing: Vec<_> = ports.iter().filter(|it| it.lost > 0).collect();
    let few = ports.iter().map(|it| it.sent).min().unwrap_or(0);
    if dead.len() == all {
        return format!("each of {all} source ports loses everything");
    }
    if !dead.is_empty() {
        let lose = units::form(dead.len() as u64, "loses", "lose");
        return format!(
            "{} of {all} source ports {lose} everything: {}",
            dead.len(),
            listed(&dead)
        );
    }
    if losing.is_empty() {
        return format!("none of {all} source ports loses any");
    }
    // As losses that have nothing to do with ports would rarely be.
    if losing.len() * 4 <= all && losing.iter().all(|it| it.lost >= TRIES) {
        return format!(
            "all losses are of {} of {all} source ports: {}",
            losing.len(),
            listed(&losing)
        );
    }
    let lose = units::form(losing.len() as u64, "loses", "lose");
    let text = format!("{} of {all} source ports {lose} some", losing.len());
    match few < TRIES {
        true => format!("{text}; fewer than {TRIES} datagrams a port say no more, send more (-c)"),
        false => text,
    }
}

fn listed(ports: &[&PortCounts]) -> String {
    let numbers: Vec<_> = ports.iter().map(|it| it.source_port).collect();
    units::listed(&numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(lost_of: impl Fn(u16) -> (u64, u64)) -> Vec<PortCounts> {
        let counts = |number| {
            let (sent, lost) = lost_of(number);
            PortCounts {
                source_port: 40_000 + number,
                sent,
                received: sent - lost,
                lost,
                late: 0,
                changed: 0,
            }
        };
        (0..32).map(counts).collect()
    }

    #[test]
    fn a_port_that_loses_everything_is_named() {
        let one = ports(|number| (4, if number == 7 { 4 } else { 0 }));
        assert_eq!(
            verdict(&one),
            "1 of 32 source ports loses everything: 40007"
        );
        let many = ports(|number| (3, if number < 10 { 3 } else { 1 }));
        let want = "10 of 32 source ports lose everything: 40000, 40001, 40002, 40003, 40004, \
                    40005, 40006, 40007 and 2 more";
        assert_eq!(verdict(&many), want);
    }

    #[test]
    fn a_port_whose_echoes_come_back_late_or_changed_does_not_lose_everything() {
        let want = "32 of 32 source ports lose some";
        let mut slow = ports(|_| (9, 9));
        slow.iter_mut().for_each(|it| it.late = 2);
        assert_eq!(verdict(&slow), want);
        let mut changed = ports(|_| (9, 9));
        changed.iter_mut().for_each(|it| {
            it.lost = 3;
            it.changed = 6;
        });
        assert_eq!(verdict(&changed), want);
    }

    #[test]
    fn a_port_that_sent_nothing_is_not_said_to_lose_nothing() {
        let few = ports(|number| (u64::from(number < 5), 0));
        let want = "none of 5 source ports loses any; 27 more sent nothing";
        assert_eq!(verdict(&few), want);
        assert_eq!(verdict(&ports(|_| (0, 0))), "no source port sent anything");
        let dead = ports(|number| if number < 5 { (3, 3) } else { (0, 0) });
        let want = "each of 5 source ports loses everything; 27 more sent nothing";
        assert_eq!(verdict(&dead), want);
    }

    #[test]
    fn fewer_tries_say_less() {
        let one = ports(|number| (2, if number == 7 { 2 } else { 0 }));
        let words = "1 of 32 source ports loses some; fewer than 3 datagrams a port say no more";
        assert!(verdict(&one).starts_with(words), "{}", verdict(&one));
    }

    #[test]
    fn losses_everywhere_are_no_ports_fault() {
        assert_eq!(
            verdict(&ports(|_| (9, 1))),
            "32 of 32 source ports lose some"
        );
        assert_eq!(
            verdict(&ports(|_| (9, 0))),
            "none of 32 source ports loses any"
        );
        assert_eq!(
            verdict(&ports(|_| (9, 9))),
            "each of 32 source ports loses everything"
        );
    }

    #[test]
    fn losses_of_few_ports_are_theirs() {
        let some = ports(|number| (20, if number % 16 == 3 { 9 } else { 0 }));
        assert_eq!(
            verdict(&some),
            "all losses are of 2 of 32 source ports: 40003, 40019"
        );
    }
}
