//! Whether what came is what was sent, or was it once.

use crate::probe::datagram::payload::Change;

/// A part of so many bytes at either end is no coincidence.
const PART: usize = 8;

/// The bits that make letters capital, and the highest one: what takes bytes for text changes
/// them in every byte.
const OF_TEXT: u8 = 0xa0;

/// What came, beside what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Same,
    /// It was once what was sent.
    Changed(Change),
    Other,
}

/// Compares what came with one datagram that was sent.
pub(super) fn read(sent: &[u8], came: &[u8]) -> Reading {
    if sent == came {
        return Reading::Same;
    }
    match is_alike(sent, came) {
        true => Reading::Changed(change(sent, came)),
        false => Reading::Other,
    }
}

/// Whether what came was once what was sent: it has its begin or its end, or as many bytes, of
/// which most are the same but for what is done to text.
fn is_alike(sent: &[u8], came: &[u8]) -> bool {
    let least = sent.len().min(came.len());
    if least == 0 {
        return false;
    }
    let part = PART.min(sent.len());
    let has_begin = came.len() >= part && came[..part] == sent[..part];
    let has_end = came.len() >= part && came[came.len() - part..] == sent[sent.len() - part..];
    let same = || {
        let pairs = sent.iter().zip(came);
        pairs.filter(|(a, b)| (*a ^ *b) & !OF_TEXT == 0).count()
    };
    has_begin || has_end || (sent.len() == came.len() && same() * 4 >= sent.len() * 3)
}

fn change(sent: &[u8], came: &[u8]) -> Change {
    let differs = sent.iter().zip(came).position(|(a, b)| a != b);
    match differs {
        Some(offset) => Change::Byte {
            offset,
            expected: sent[offset],
            received: came[offset],
        },
        None => Change::Length {
            expected: sent.len(),
            received: came.len(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a rule.
    fn bytes(seed: u8, length: usize) -> Vec<u8> {
        let pattern = crate::probe::pattern::Pattern::new(seed.into());
        let mut bytes = vec![0; length];
        pattern.fill(0, 0, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_done_to_bytes_leaves_them_known() {
        let sent = bytes(1, 64);
        assert_eq!(read(&sent, &sent), Reading::Same);
        let seven: Vec<_> = sent.iter().map(|byte| byte & 0x7f).collect();
        let upper = sent.to_ascii_uppercase();
        let mut flipped = sent.clone();
        flipped[3] ^= 0xff;
        let longer = [&sent[..], b"!"].concat();
        let in_front = [b"echo: ", &sent[..]].concat();
        for came in [seven, upper, flipped, longer, in_front, sent[..20].to_vec()] {
            assert!(
                matches!(read(&sent, &came), Reading::Changed(_)),
                "{came:?}"
            );
        }
    }

    #[test]
    fn other_bytes_are_not_taken_for_changed_ones() {
        let sent = bytes(1, 64);
        for came in [bytes(2, 64), bytes(3, 9), Vec::new(), vec![0; 64]] {
            assert_eq!(read(&sent, &came), Reading::Other, "{came:?}");
        }
        assert_eq!(read(&[], b"x"), Reading::Other);
        assert_eq!(read(b"x", b"y"), Reading::Other);
    }

    #[test]
    fn what_is_different_is_told() {
        let cut = Change::Length {
            expected: 64,
            received: 20,
        };
        let sent = bytes(1, 64);
        assert_eq!(read(&sent, &sent[..20]), Reading::Changed(cut));
    }
}
