//! Messages around the sizes at which something changes.

use std::time::Instant;

use super::clause::Clause;
use super::ended::Ended;
use super::line::Line;
use super::probe::Probe;
use crate::base::units::{duration, whole};

pub(super) const MSS: Clause = Clause {
    name: "message-mss",
    proves: "messages of a segment's size, one byte less and one more, each come back",
    usually: "packets of full size are lost on a tunnel or a VPN whose MTU is smaller, and the \
              ICMP messages that would tell are filtered",
    rfc: "RFC 9293 section 3.7.1, RFC 4821",
    run: mss,
};

pub(super) const MESSAGES_64K: Clause = Clause {
    name: "message-64k",
    proves: "messages of 64 KiB, one byte less and one more, each come back",
    usually: "a buffer of that size somewhere: its length is held in 16 bits, or what does not \
              fit is dropped",
    rfc: "RFC 862, RFC 7323 section 2",
    run: |probe| around(probe, 1 << 16),
};

pub(super) const MESSAGES_16M: Clause = Clause {
    name: "message-16m",
    proves: "messages of 16 MiB, one byte less and one more, each come back",
    usually: "something on the path holds a whole message, or loses bytes when it is pushed hard",
    rfc: "RFC 862, RFC 9293 section 3.8",
    run: |probe| around(probe, 1 << 24),
};

/// Segments that paths have: the least that IPv4 and IPv6 promise, and Ethernet's
/// with IPv6 and IPv4, with time stamps and without.
const USUAL: [u64; 6] = [536, 1220, 1428, 1440, 1448, 1460];

fn mss(probe: &Probe<'_>) -> Result<String, Ended> {
    let line = probe.open()?;
    let own = own_mss(&line);
    let mut sizes = USUAL.to_vec();
    sizes.extend(own.iter().flat_map(|mss| [*mss, 2 * mss]));
    exchange_around(&line, &sizes)?;
    line.finish()?;
    let own = own.map_or_else(String::new, |mss| format!(", and of our {}", whole(mss)));
    Ok(format!(
        "messages around segments of 536 to 1,460 bytes{own} came back"
    ))
}

fn around(probe: &Probe<'_>, size: u64) -> Result<String, Ended> {
    let line = probe.open()?;
    let started = Instant::now();
    exchange_around(&line, &[size])?;
    let time = duration(started.elapsed());
    line.finish()?;
    let [less, same, more] = [size - 1, size, size + 1].map(whole);
    Ok(format!(
        "{less}, {same} and {more} bytes came back in {time}"
    ))
}

/// One message after another: of each size, a byte less, and one more.
fn exchange_around(line: &Line<'_>, sizes: &[u64]) -> Result<(), Ended> {
    for size in sizes.iter().flat_map(|size| [size - 1, *size, size + 1]) {
        let place = format!("a message of {} bytes", whole(size));
        let exchanged = line.exchange(size, usize::MAX);
        exchanged.map_err(|ended| ended.at(&place))?;
    }
    Ok(())
}

/// What the two ends agreed on, where the system tells.
#[cfg(unix)]
fn own_mss(line: &Line<'_>) -> Option<u64> {
    line.socket().tcp_mss().ok().map(u64::from)
}

#[cfg(not(unix))]
fn own_mss(_: &Line<'_>) -> Option<u64> {
    None
}
