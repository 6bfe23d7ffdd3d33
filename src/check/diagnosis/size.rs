//! Packets above a size are lost.

use crate::base::units::whole;
use crate::check::cause::Diagnosis;
use crate::check::facts::{Facts, Failure};
use crate::check::findings::{Direction, Findings, Sizes};

/// The least that the headers of a packet take, in bytes: IP's and TCP's.
const HEADERS: u64 = 40;

/// What fills packets: as many bytes as no message of the clauses with small ones has.
const LARGE: u64 = 1_025;

const ADVICE: &str = "let ICMP type 3 code 4 (ICMPv6 type 2) through; or clamp the MSS on the \
                      router before the tunnel (nft: tcp option maxseg size set rt mtu) to the \
                      largest size that passes less 40 bytes (IPv6: 60); or lower the MTU of both \
                      ends to it";

/// What falls silent with so many bytes on its way, or to come.
fn silent_with(facts: &Facts, bytes: u64) -> Vec<&'static str> {
    facts.clauses(|at| at.is_silent() && at.observed.sent.max(at.observed.expected) >= bytes)
}

/// Only what fills packets fell silent, several clauses.
fn guess(facts: &Facts) -> Option<Diagnosis> {
    let large = silent_with(facts, LARGE);
    let silent = facts.clauses(Failure::is_silent);
    let is_it = large.len() >= 2 && large.len() == silent.len() && facts.carries_small();
    is_it.then(|| {
        let text = "small messages come back, and nothing does where packets are filled: those \
                    above some size seem to be lost";
        Diagnosis::certain("mtu-black-hole", text, ADVICE, large).likely()
    })
}

/// `mtu-black-hole`: packets above a size are lost, and no ICMP comes back.
pub(super) fn black_hole(facts: &Facts, findings: &Findings) -> Option<Diagnosis> {
    let Some(Sizes::UpTo { bytes, direction }) = findings.sizes else {
        return guess(facts).filter(|_| findings.is_open("sizes"));
    };
    // What never had a full packet on its way fails for another reason.
    let full = u64::from(bytes).saturating_sub(2 * HEADERS);
    let explains = silent_with(facts, full);
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
    let diagnosis = Diagnosis::certain("mtu-black-hole", text, ADVICE, explains);
    Some(
        diagnosis
            .with("packet_bytes", bytes)
            .with("direction", direction.word()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cause::Confidence;
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

    #[test]
    fn without_experiments_it_is_guessed_where_only_what_fills_packets_falls_silent() {
        let untried = Findings {
            is_untried: true,
            ..Findings::default()
        };
        let large = |name| {
            let mut failure = failure(name, End::Silence);
            failure.observed.sent = 16_384;
            failure
        };
        let of = |failures: &[Failure], passed: &[&'static str]| {
            black_hole(&facts(failures, passed), &untried)
        };
        let two = [large("bytes"), large("message-mss")];
        let guess = of(&two, &["small-writes"]).unwrap();
        assert_eq!(guess.confidence, Confidence::Likely);
        assert_eq!(guess.explains, ["bytes", "message-mss"]);
        assert_eq!(of(&two, &["connect"]), None);
        assert_eq!(of(&two[..1], &["small-writes"]), None);
        let small = failure("slow-writer", End::Silence);
        assert_eq!(of(&[&two[..], &[small]].concat(), &["small-writes"]), None);
        let facts = facts(&two, &["small-writes"]);
        assert_eq!(black_hole(&facts, &Findings::default()), None);
    }
}
