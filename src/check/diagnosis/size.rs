//! Packets above a size are lost.

use crate::base::units::whole;
use crate::check::cause::Diagnosis;
use crate::check::facts::Facts;
use crate::check::findings::{Direction, Findings, Sizes};

/// The least that the headers of a packet take, in bytes: IP's and TCP's.
const HEADERS: u64 = 40;

/// `mtu-black-hole`: packets above a size are lost, and no ICMP comes back.
pub(super) fn black_hole(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Sizes::UpTo { bytes, direction }) = findings.sizes else {
        return None;
    };
    // What never had a full packet on its way fails for another reason.
    let full = u64::from(bytes).saturating_sub(2 * HEADERS);
    let explains =
        facts.clauses(|at| at.is_silent() && at.observed.sent.max(at.observed.expected) >= full);
    let way = match direction {
        Direction::ToServer => "on the way to the server",
        Direction::ToClient => "on the way back",
        Direction::Both => "in both directions",
    };
    let size = whole(u64::from(bytes));
    let text = format!(
        "path MTU black hole: packets above {size} bytes are lost {way}, and no ICMP message comes \
         back that says so"
    );
    let advice = "let ICMP type 3 code 4 (ICMPv6 type 2) through; or clamp the MSS on the router \
                  before the tunnel (nft: tcp option maxseg size set rt mtu) to this size less 40 \
                  bytes (IPv6: 60); or lower the MTU of both ends to it";
    let diagnosis = Diagnosis::certain("mtu-black-hole", text, advice, explains);
    Some(
        diagnosis
            .with("packet_bytes", bytes)
            .with("direction", direction.word()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::facts::made::{facts, failure};
    use crate::check::observation::End;

    #[test]
    fn it_explains_silence_with_full_packets_on_their_way() {
        let with = |name, end, sent| {
            let mut failure = failure(name, end);
            failure.observed.sent = sent;
            failure
        };
        let failures = [
            with("bytes", End::Silence, 16_384),
            with("slow-writer", End::Silence, 3),
            with("urgent", End::Reset, 1 << 20),
        ];
        let facts = facts(&failures, &["connect"]);
        let findings = |sizes| Findings {
            sizes,
            ..Findings::default()
        };
        let hole = Sizes::UpTo {
            bytes: 1280,
            direction: Direction::ToClient,
        };
        let diagnosis = black_hole(&facts, &findings(Some(hole))).unwrap();
        assert_eq!(diagnosis.explains, ["bytes"]);
        assert_eq!(diagnosis.evidence["packet_bytes"], 1280);
        assert_eq!(diagnosis.evidence["direction"], "to-client");
        assert!(
            diagnosis
                .text
                .contains("above 1,280 bytes are lost on the way back")
        );
        assert_eq!(black_hole(&facts, &findings(Some(Sizes::All))), None);
        assert_eq!(black_hole(&facts, &findings(None)), None);
    }
}
