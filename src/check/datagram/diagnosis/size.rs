//! Packets or datagrams above a size are lost.

use crate::base::units::whole;
use crate::check::cause::Diagnosis;
use crate::check::datagram::facts::Facts;
use crate::check::datagram::findings::{Findings, Loss, Sizes};
use crate::check::findings::Direction;

/// The headers of a datagram over IPv6, in bytes.
const V6_HEADERS: usize = 48;

/// The longest packet, in bytes.
const LONGEST_PACKET: usize = 65_535;

/// The longest datagram over IPv4, in bytes.
const LONGEST: usize = 65_507;

/// The clauses that a datagram of a size failed.
fn of_size(facts: &Facts) -> Vec<&'static str> {
    facts.clauses(|at| at.is_silent() && at.is_of_size())
}

fn sizes(findings: &Findings, is_it: impl Fn(&Sizes) -> bool) -> Option<&Sizes> {
    findings.sizes.as_ref().filter(|sizes| is_it(sizes))
}

/// `mtu`: packets above a size are lost without a word. Where they do not get to the server,
/// that is certain; else the server may get them and not answer.
pub(super) fn hole(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let sizes = sizes(findings, |sizes| {
        sizes.mtu.is_hole && sizes.lost_lengths.is_none()
    })?;
    let packet = sizes.mtu.packet?;
    let reaches_server = sizes.direction != Some(Direction::ToServer);
    // No link has less: RFC 791, RFC 8200.
    let least = match packet - sizes.in_one {
        ..V6_HEADERS => 576,
        _ => 1280,
    };
    let is_link = packet >= least;
    let way = match sizes.direction {
        Some(Direction::ToServer) => {
            "on the way to the server (the way back can't be seen beyond it)"
        }
        Some(Direction::ToClient) => "on the way back from the server, and not on the way there",
        Some(Direction::Both) => "in both directions",
        None => "in one direction or both",
    };
    let server = match reaches_server {
        true => format!(
            "; or the server answers no datagram above {} bytes",
            whole(sizes.in_one as u64)
        ),
        false => String::new(),
    };
    let rule = match is_link {
        true => String::new(),
        false => format!(
            "; no link carries so little: a firewall may drop UDP datagrams above {} bytes, as an \
             inspection of DNS does",
            whole(sizes.in_one as u64)
        ),
    };
    let text = format!(
        "path MTU black hole: packets above {} bytes are lost {way}, and no ICMP says \
         so{server}{rule}",
        whole(packet as u64)
    );
    let advice = "have the firewalls pass ICMP type 3 code 4 (ICMPv6 type 2), or lower the MTU of \
                  the interfaces at both ends to what passes; programs should send less at once, \
                  or look for the size themselves (RFC 8899)";
    let diagnosis = Diagnosis::certain("mtu", text, advice, of_size(facts));
    let diagnosis = diagnosis.with("packet_bytes", packet);
    let diagnosis = match sizes.direction {
        Some(direction) => diagnosis.with("direction", direction.word()),
        None => diagnosis,
    };
    Some(match reaches_server || !is_link || !sizes.is_sharp {
        true => diagnosis.likely(),
        false => diagnosis,
    })
}

/// `fragments-dropped`: what does not fit one packet is lost.
pub(super) fn fragments(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let sizes = sizes(findings, |sizes| {
        let is_narrow = matches!(sizes.mtu.packet, Some(..LONGEST_PACKET));
        !sizes.mtu.is_hole && sizes.datagram.is_none() && is_narrow
    })?;
    let text = format!(
        "fragments are dropped: a datagram of {} bytes passes in one packet, and none that is \
         longer comes back",
        whole(sizes.in_one as u64)
    );
    let advice = "have the firewall, the NAT or the load balancer put fragments together before \
                  it decides (as nft does with connection tracking), or let them through; \
                  programs should send no datagram that is longer than a packet (RFC 8085 \
                  section 3.2)";
    let diagnosis = Diagnosis::certain("fragments-dropped", text, advice, of_size(facts));
    Some(diagnosis.with("datagram_bytes", sizes.in_one))
}

/// `size-limit`: fragments pass, and datagrams above a size are lost.
pub(super) fn limit(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let sizes = sizes(findings, |sizes| {
        !sizes.mtu.is_hole && sizes.lost_lengths.is_none()
    })?;
    // Where packets are lost at random, long datagrams are the first that never come.
    if findings.loss.is_some_and(Loss::is_one) {
        return None;
    }
    let bytes = sizes.datagram.filter(|bytes| *bytes < LONGEST)?;
    let text = format!(
        "datagrams above {} bytes are lost, and shorter ones come back, however many packets they need",
        whole(bytes as u64)
    );
    let advice = "look for the server's receive buffer, for a limit on the fragments of a \
                  datagram (net.ipv4.ipfrag_high_thresh, or a firewall's), and for a queue \
                  that is shorter than all of them at once";
    let diagnosis = Diagnosis::certain("size-limit", text, advice, of_size(facts));
    let diagnosis = diagnosis.with("datagram_bytes", bytes);
    Some(match sizes.is_sharp {
        true => diagnosis,
        false => diagnosis.likely(),
    })
}

/// `lengths-dropped`: some lengths are lost each time, and others between them are not.
pub(super) fn lengths(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let sizes = findings.sizes.as_ref()?;
    let lost = sizes.lost_lengths.as_ref()?;
    let words: Vec<_> = lost.iter().map(ToString::to_string).collect();
    let example = words.join(", ");
    let text = format!(
        "datagrams of some lengths are lost each time, and others between them are not: of 16 in a \
         row those of {example} bytes"
    );
    let advice = "look for a fault of an interface, a driver or a checksum offload (ethtool -K tx \
                  off), for an encryption or a tunnel that fills up wrongly, and for a rule on the \
                  length";
    let diagnosis = Diagnosis::certain("lengths-dropped", text, advice, of_size(facts));
    Some(diagnosis.with("example", example))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
    use crate::check::datagram::facts::made::facts;
    use crate::check::datagram::mtu::Mtu;
    use crate::check::datagram::trouble::Trouble;

    fn found(is_hole: bool, datagram: Option<usize>) -> Findings {
        let mtu = Mtu {
            packet: Some(1280),
            own: 1500,
            is_told: false,
            is_hole,
        };
        Findings {
            sizes: Some(Sizes {
                mtu,
                direction: Some(Direction::ToClient),
                datagram,
                in_one: 1252,
                is_sharp: true,
                lost_lengths: None,
            }),
            ..Findings::default()
        }
    }

    #[test]
    fn packets_fragments_and_datagrams_are_told_apart() {
        let failed = [
            ("longest", Trouble::Unanswered),
            ("loss", Trouble::Unanswered),
        ];
        let facts = facts(&failed, &[]);
        let causes = |findings: &Findings| -> Vec<_> {
            let all = [hole, fragments, limit].map(|family| family(&facts, findings));
            let all = all.into_iter().flatten();
            all.inspect(|at| assert_eq!(at.explains, ["longest"]))
                .map(|at| at.cause)
                .collect()
        };
        assert_eq!(causes(&found(true, None)), ["mtu"]);
        assert_eq!(causes(&found(false, None)), ["fragments-dropped"]);
        assert_eq!(causes(&found(false, Some(9000))), ["size-limit"]);
        let lossy = Findings {
            loss: Some(Loss { lost: 30, of: 300 }),
            ..found(false, Some(9000))
        };
        assert_eq!(causes(&lossy), [""; 0]);
        assert_eq!(causes(&found(false, Some(65_507))), [""; 0]);
        assert_eq!(causes(&Findings::default()), [""; 0]);
        let hole = hole(&facts, &found(true, None)).unwrap();
        assert_eq!(hole.evidence["packet_bytes"], 1280);
        assert_eq!(hole.evidence["direction"], "to-client");
        // An edge that is not one is not proved, and lengths between are no limit.
        let mut unsharp = found(false, Some(9000));
        unsharp.sizes.as_mut().unwrap().is_sharp = false;
        assert_eq!(
            limit(&facts, &unsharp).unwrap().confidence,
            Confidence::Likely
        );
        unsharp.sizes.as_mut().unwrap().lost_lengths = Some(vec![201, 203]);
        assert_eq!(causes(&unsharp), [""; 0]);
        let lengths = lengths(&facts, &unsharp).unwrap();
        assert_eq!(lengths.evidence["example"], "201, 203");
        // No packet passed, so nothing is known of fragments.
        let mut none = found(false, None);
        none.sizes.as_mut().unwrap().mtu.packet = None;
        assert_eq!(causes(&none), [""; 0]);
    }

    #[test]
    fn a_hole_is_certain_where_the_server_does_not_get_what_is_too_long() {
        let facts = facts(&[("longest", Trouble::Unanswered)], &[]);
        for (direction, confidence) in [
            (Some(Direction::ToServer), Confidence::Certain),
            (Some(Direction::ToClient), Confidence::Likely),
            (None, Confidence::Likely),
        ] {
            let mut found = found(true, None);
            found.sizes.as_mut().unwrap().direction = direction;
            let hole = hole(&facts, &found).unwrap();
            assert_eq!(hole.confidence, confidence, "{direction:?}");
            let names_server = hole
                .text
                .contains("the server answers no datagram above 1,252");
            assert_eq!(
                names_server,
                confidence == Confidence::Likely,
                "{}",
                hole.text
            );
        }
    }
}
