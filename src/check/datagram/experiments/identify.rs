//! What answers that is no echo: it is asked in the protocols that datagrams are mostly of.

use std::time::{Duration, Instant};

use crate::check::datagram::not_passed::NotPassed;
use crate::check::datagram::port::Port;
use crate::check::datagram::target::Target;
use crate::probe::datagram::socket::Options;

/// How long answers are waited for, and how often each is asked.
const WAIT: Duration = Duration::from_millis(700);
const TRIES: usize = 2;

/// A number that an answer has to have in it.
const OURS: [u8; 8] = [0xec, 0x40, 0x90, 0x01, 0x5a, 0xa5, 0x13, 0x57];

/// A request, and how its answer is known: it has in it what the request had.
struct Protocol {
    name: &'static str,
    request: fn() -> Vec<u8>,
    is_answer: fn(&[u8]) -> bool,
}

const PROTOCOLS: [Protocol; 3] = [
    // RFC 8762 section 4.2: number and time of the packet that is answered.
    Protocol {
        name: "stamp",
        request: || {
            let mut packet = vec![0; 44];
            packet[..4].copy_from_slice(&OURS[..4]);
            packet[4..12].copy_from_slice(&OURS);
            // The error estimate has a multiplier, which must not be 0.
            packet[12..14].copy_from_slice(&[0, 1]);
            packet
        },
        is_answer: |came| {
            came.get(24..28) == Some(&OURS[..4]) && came.get(28..36) == Some(&OURS[..])
        },
    },
    // RFC 1035 section 4.1: the identifier, and that it is a response. The name servers of the
    // root are asked for.
    Protocol {
        name: "dns",
        request: || {
            let header = [OURS[0], OURS[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            [&header[..], &[0, 0, 2, 0, 1]].concat()
        },
        is_answer: |came| came.len() >= 12 && came[..2] == OURS[..2] && came[2] & 0x80 != 0,
    },
    // RFC 5905 section 7.3: mode 4, and the time of the request.
    Protocol {
        name: "ntp",
        request: || {
            let mut packet = vec![0; 48];
            packet[0] = 0x23;
            packet[40..].copy_from_slice(&OURS);
            packet
        },
        is_answer: |came| {
            came.len() >= 48 && came[0] & 7 == 4 && came.get(24..32) == Some(&OURS[..])
        },
    },
];

/// The protocol in which it answers; `None` where it is none of those.
pub(super) fn identify(target: &mut Target<'_>) -> Result<Option<&'static str>, NotPassed> {
    let ports = PROTOCOLS
        .iter()
        .map(|_| target.open_any(Options::default()));
    let mut ports: Vec<Port> = ports.collect::<Result<_, _>>()?;
    for _ in 0..TRIES {
        for (protocol, port) in PROTOCOLS.iter().zip(&mut ports) {
            port.send((protocol.request)());
        }
        let until = Instant::now() + WAIT.max(target.slowest());
        for (protocol, port) in PROTOCOLS.iter().zip(&mut ports) {
            let is_it = |port: &Port| has(port, protocol.is_answer);
            target.listen(port, until, &is_it)?;
            if is_it(port) {
                return Ok(Some(protocol.name));
            }
        }
    }
    Ok(None)
}

/// Whether that came.
fn has(port: &Port, is_answer: fn(&[u8]) -> bool) -> bool {
    let answers = port.sent.iter().flat_map(|sent| &sent.answers);
    let mut came = port
        .strange
        .iter()
        .chain(answers.map(|answer| &answer.came));
    came.any(|came| is_answer(came))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_of_a_request_is_no_answer() {
        for protocol in &PROTOCOLS {
            let request = (protocol.request)();
            assert!(!(protocol.is_answer)(&request), "{}", protocol.name);
            assert!(!(protocol.is_answer)(b""), "{}", protocol.name);
            assert!(!(protocol.is_answer)(&[0; 64]), "{}", protocol.name);
        }
    }

    #[test]
    fn an_answer_has_in_it_what_was_asked() {
        let [stamp, dns, ntp] = PROTOCOLS;
        let mut reflected = (stamp.request)();
        reflected[24..28].copy_from_slice(&OURS[..4]);
        reflected[28..36].copy_from_slice(&OURS);
        assert!((stamp.is_answer)(&reflected));
        let mut refused = (dns.request)();
        refused[2] |= 0x80;
        assert!((dns.is_answer)(&refused[..12]));
        let mut time = vec![0; 48];
        time[0] = 0x24;
        time[24..32].copy_from_slice(&OURS);
        assert!((ntp.is_answer)(&time));
        assert!(!(ntp.is_answer)(&time[..40]));
    }
}
