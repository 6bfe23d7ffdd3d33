//! Messages of sizes around typical limits: a segment, 64 KiB, 16 MiB.

use std::time::{Duration, Instant};

use super::clause::{Clause, Load};
use super::connection::Connection;
use super::not_passed::NotPassed;
use super::parallel::{open_together, together};
use super::target::Target;
use crate::base::units::{duration, whole};

pub(super) const MSS: Clause = Clause {
    name: "message-mss",
    proves: "messages of a segment's size, one byte less and one more, each come back",
    usually: "packets of full size are lost on a tunnel or a VPN whose MTU is smaller, and the \
              ICMP messages that would tell are filtered",
    rfc: "RFC 9293 section 3.7.1, RFC 4821",
    load: Load::Waits {
        connections: 3,
        bytes: 3 * 2 * USUAL_MSS[USUAL_MSS.len() - 1],
    },
    run: mss,
};

pub(super) const MESSAGES_64K: Clause = Clause {
    name: "message-64k",
    proves: "messages of 64 KiB, one byte less and one more, each come back",
    usually: "a buffer of that size somewhere: its length is held in 16 bits, or what does not \
              fit is dropped",
    rfc: "RFC 862, RFC 7323 section 2",
    load: Load::sends((1 << 16) + 1),
    run: |target| around(target, 1 << 16),
};

pub(super) const MESSAGES_16M: Clause = Clause {
    name: "message-16m",
    proves: "messages of 16 MiB, one byte less and one more, each come back",
    usually: "something on the path holds a whole message, or loses bytes when it is pushed hard",
    rfc: "RFC 862, RFC 9293 section 3.8",
    load: Load::Streams,
    run: |target| largest(target, 1 << 24),
};

/// Usual segment sizes in bytes: the minimum of IPv4 and of IPv6, and Ethernet's with IPv6
/// and IPv4, with timestamps and without.
const USUAL_MSS: [u64; 6] = [536, 1220, 1428, 1440, 1448, 1460];

fn mss(target: &Target<'_>) -> Result<String, NotPassed> {
    // One connection for those of the size, one for one byte less, and one for one more.
    // Where a server takes one client at a time, one after another.
    let is_wide = target.shared.width() >= 3;
    let connections = open_together(target, if is_wide { 3 } else { 1 })?;
    let own = own_mss(&connections[0]);
    let mut sizes = USUAL_MSS.to_vec();
    sizes.extend(own.iter().flat_map(|mss| [*mss, 2 * mss]));
    let exchange = |connection: &Connection<'_>, more: u64| {
        sizes.iter().try_for_each(|size| {
            let size = size + more - 1;
            let exchanged = connection.exchange(size, usize::MAX);
            exchanged.map_err(|why| why.at_message(size))
        })
    };
    if is_wide {
        together(&connections, |at, connection| {
            exchange(connection, at as u64)
        })?;
    } else {
        (0..3).try_for_each(|more| exchange(&connections[0], more))?;
    }
    connections.into_iter().try_for_each(Connection::finish)?;
    let own = own.map_or_else(String::new, |mss| format!(", and of our {}", whole(mss)));
    Ok(format!(
        "messages around segments of 536 to 1,460 bytes{own} came back"
    ))
}

fn around(target: &Target<'_>, size: u64) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let started = Instant::now();
    exchange_around(&connection, &[size])?;
    let time = duration(started.elapsed());
    connection.finish()?;
    let [less, same, more] = [size - 1, size, size + 1].map(whole);
    Ok(format!(
        "{less}, {same} and {more} bytes came back in {time}"
    ))
}

/// Three messages around a size, or smaller ones if these don't come back within the budget.
fn largest(target: &Target<'_>, size: u64) -> Result<String, NotPassed> {
    let connection = target.open()?;
    let (started, within) = (Instant::now(), target.budget(3));
    let first = connection.exchange_within(size - 1, within, Duration::ZERO);
    let less = first.map_err(|why| why.at_message(connection.expected()))?;
    for size in [less + 1, less + 2] {
        let exchanged = connection.exchange(size, usize::MAX);
        exchanged.map_err(|why| why.at_message(size))?;
    }
    let time = duration(started.elapsed());
    connection.finish()?;
    let carried = 3 * less + 3;
    target
        .shared
        .note_borne(|borne| borne.bytes = borne.bytes.max(carried));
    let shortened = target.shortened(less, size - 1);
    let [less, same, more] = [less, less + 1, less + 2].map(whole);
    Ok(format!(
        "{less}, {same} and {more} bytes came back in {time}{shortened}"
    ))
}

/// Exchanges three messages of each size: one byte less, the size itself, one byte more.
fn exchange_around(connection: &Connection<'_>, sizes: &[u64]) -> Result<(), NotPassed> {
    for size in sizes.iter().flat_map(|size| [size - 1, *size, size + 1]) {
        let exchanged = connection.exchange(size, usize::MAX);
        exchanged.map_err(|why| why.at_message(size))?;
    }
    Ok(())
}

/// The connection's own MSS, where the system reports it.
#[cfg(unix)]
fn own_mss(connection: &Connection<'_>) -> Option<u64> {
    connection.socket().tcp_mss().ok().map(u64::from)
}

#[cfg(not(unix))]
fn own_mss(_: &Connection<'_>) -> Option<u64> {
    None
}
