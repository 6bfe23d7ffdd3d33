//! The largest packet that passes without fragments.

use std::time::Duration;

use super::clause::Clause;
use super::not_passed::NotPassed;
use super::sizes::headers;
use super::target::{TRIES, Target};
use super::trouble::Trouble;
use crate::base::units::whole;
use crate::probe::datagram::socket::Options;

pub(super) const PATH_MTU: Clause = Clause {
    name: "path-mtu",
    proves: "unfragmented packets pass up to the interface's MTU, or ICMP tells how long they may be",
    usually: "a tunnel or a VPN on the way has a smaller MTU, and a firewall drops the ICMP \
              messages that would tell (type 3 code 4, or ICMPv6 type 2)",
    rfc: "RFC 8899, RFC 1191, RFC 8201",
    run: path_mtu,
};

/// The least MTU that is believed, in bytes: any path carries a packet of 508 bytes of data.
const LEAST: usize = 536;

/// So many lengths are tried at once.
const STEPS: usize = 16;

/// The time between two: what is lost to a full queue is not taken for too long.
const INTERVAL: Duration = Duration::from_millis(2);

/// The longest packet of IP, in bytes.
pub(super) const LONGEST: usize = 65_535;

/// How many links that are narrower each than the one before are looked for.
const LINKS: usize = 8;

fn path_mtu(target: &mut Target<'_>) -> Result<String, NotPassed> {
    said(&measure(target)?)
}

/// What that is in words.
fn said(mtu: &Mtu) -> Result<String, NotPassed> {
    let size = whole(mtu.packet.unwrap_or_default() as u64);
    match (mtu.packet, mtu.is_hole) {
        (Some(..LONGEST), false) if mtu.own == LONGEST => Err(NotPassed::Skipped(format!(
            "it is not the path that loses packets above {size} bytes, since it ends on this \
             machine: see longest"
        ))),
        (Some(LONGEST..), _) => Ok(format!("{size} bytes, the longest packet there is")),
        (Some(_), false) if mtu.is_told => Ok(format!("{size} bytes, as ICMP says")),
        (Some(_), false) => Ok(format!(
            "{size} bytes, as this system has it: by the interface, or by an ICMP message before"
        )),
        (Some(packet), true) => {
            let own = whole(mtu.own as u64);
            let seen = format!("packets above {size} bytes get no echo and no ICMP, of {own}");
            Err(NotPassed::failed(seen, Trouble::Hole { packet }))
        }
        (None, _) => Err(NotPassed::failed(
            "no packet that may not be fragmented comes back",
            Trouble::Unanswered,
        )),
    }
}

/// How long unfragmented packets may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mtu {
    /// The largest that comes back, in bytes; `None` if none does.
    pub(super) packet: Option<usize>,
    /// What this system takes the path's MTU to be, or ICMP says.
    pub(super) own: usize,
    /// Whether ICMP has said so.
    pub(super) is_told: bool,
    /// Larger ones that should pass the way don't, and nobody says so.
    pub(super) is_hole: bool,
}

/// Measures it, by packets of the interface's size first and then of what ICMP says.
pub(super) fn measure(target: &mut Target<'_>) -> Result<Mtu, NotPassed> {
    let options = Options {
        unfragmented: true,
        ..Options::default()
    };
    let mut port = match target.open_with(options) {
        Err(NotPassed::Failed { seen, .. }) => return Err(NotPassed::Skipped(seen)),
        other => other?,
    };
    let Some(interface) = port.path_mtu() else {
        let why = "this system does not say what the interface's MTU is";
        return Err(NotPassed::Skipped(String::from(why)));
    };
    let mut mtu = Mtu {
        packet: None,
        own: (interface as usize).clamp(LEAST, LONGEST),
        // The system remembers what it was told.
        is_told: target.told == Some(interface),
        is_hole: false,
    };
    // Each narrower link tells of itself alone.
    for _ in 0..LINKS {
        let bytes = target.content(mtu.own - headers(target));
        let at = target.ask(&mut port, bytes, TRIES)?;
        let sent = &port.sent[at];
        if sent.is_answered() {
            mtu.packet = Some(mtu.own);
            return Ok(mtu);
        }
        match sent.too_long {
            Some(told) if (LEAST..mtu.own).contains(&(told as usize)) => {
                mtu.own = told as usize;
                mtu.is_told = true;
            }
            _ => break,
        }
    }
    drop(port);
    // A server may answer less than any path carries.
    mtu.packet = largest(target, headers(target) + 1, mtu.own, true)?;
    // No router is on a way that stays on one machine.
    mtu.is_hole = mtu.own < LONGEST;
    Ok(mtu)
}

/// The largest packet, as it would be without fragments, that comes back, of those from `low`
/// to below `high`, which does not; `None` if none does.
pub(super) fn largest(
    target: &mut Target<'_>,
    low: usize,
    high: usize,
    unfragmented: bool,
) -> Result<Option<usize>, NotPassed> {
    let options = Options {
        unfragmented,
        ..Options::default()
    };
    let headers = headers(target);
    let (mut passes, mut low, mut high) = (None, low, high);
    while low < high {
        let step = (high - low).div_ceil(STEPS).max(1);
        let sizes: Vec<_> = (low..high).step_by(step).collect();
        let mut port = target.open_with(options)?;
        let datagrams = sizes.iter().map(|size| target.content(size - headers));
        let datagrams = datagrams.collect();
        let all = target.ask_all(&mut port, datagrams, INTERVAL, TRIES)?;
        let mut answered = all.filter(|at| port.sent[*at].is_answered());
        match answered.next_back() {
            Some(at) => {
                passes = Some(sizes[at]);
                high = sizes.get(at + 1).copied().unwrap_or(high);
                low = sizes[at] + 1;
            }
            None => high = low,
        }
        if step == 1 {
            break;
        }
    }
    Ok(passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_how_long_packets_may_be_is_told_where_it_is_known() {
        let of = |packet, own, is_told, is_hole| {
            said(&Mtu {
                packet,
                own,
                is_told,
                is_hole,
            })
        };
        let told = of(Some(1280), 1280, true, false).unwrap();
        assert_eq!(told, "1,280 bytes, as ICMP says");
        let known = of(Some(1280), 1280, false, false).unwrap();
        assert!(known.contains("by the interface, or by an ICMP"), "{known}");
        let all = of(Some(LONGEST), LONGEST, false, false).unwrap();
        assert_eq!(all, "65,535 bytes, the longest packet there is");
        let skipped = of(Some(4028), LONGEST, false, false);
        assert!(matches!(skipped, Err(NotPassed::Skipped(_))));
        for (packet, trouble) in [
            (Some(1280), Trouble::Hole { packet: 1280 }),
            (None, Trouble::Unanswered),
        ] {
            match of(packet, 1500, false, packet.is_some()) {
                Err(NotPassed::Failed { trouble: seen, .. }) => assert_eq!(seen, trouble),
                other => panic!("{other:?}"),
            }
        }
    }
}
