//! What servers do with a client that does not receive, after so many clients, and at some bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::claims::{End, SILENCE, alive, await_for, connect, end_of, expect};
use crate::common::faulty::BLOCK;
use crate::common::{keyed, reset};

/// A path that takes nothing for so long is full.
const FULL: Duration = Duration::from_millis(700);

/// More than all buffers hold.
const MOST: usize = 64 << 20;

/// Sends without receiving until nothing more is taken, waits so long, and receives: how that
/// ends.
pub(crate) fn ends_unread(server: SocketAddr, wait: Duration, by: End) -> Result<String, String> {
    let mut client = connect(server)?;
    let (sent, end) = fill(&mut client);
    sleep(wait);
    await_for(&client, SILENCE);
    let (mut came, mut block) = (0, vec![0; BLOCK]);
    let end = end.unwrap_or_else(|| {
        loop {
            if came == sent {
                return End::Whole;
            }
            match client.read(&mut block) {
                Ok(length @ 1..) if block[..length] == keyed(1, came, length) => came += length,
                Ok(1..) => return End::Changed,
                other => return end_of(&other),
            }
        }
    });
    reset(client);
    expect(end == by, format!("{end:?} after {came} of {sent} bytes"))
}

/// Sends until nothing more is taken. Returns how much was, and how the connection ended if it
/// did.
fn fill(client: &mut std::net::TcpStream) -> (usize, Option<End>) {
    let _ = client.set_nonblocking(true);
    let (mut sent, mut moved) = (0, Instant::now());
    let end = loop {
        if sent >= MOST || moved.elapsed() >= FULL {
            break None;
        }
        match client.write(&keyed(1, sent, BLOCK)) {
            Ok(length) => (sent, moved) = (sent + length, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(1)),
            Err(_) => break Some(End::Reset),
        }
    };
    let _ = client.set_nonblocking(false);
    (sent, end)
}

/// So many clients are served one after another, each gone before the next, and then none is,
/// nor a while later.
pub(crate) fn serves_only(server: SocketAddr, number: usize) -> Result<String, String> {
    for at in 0..number {
        let mut client = connect(server)?;
        let served = alive(&mut client);
        served.map_err(|end| format!("client {}: {end:?}", at + 1))?;
        reset(client);
    }
    for pause in [Duration::ZERO, SILENCE] {
        sleep(pause);
        if let Ok(mut client) = connect(server)
            && alive(&mut client).is_ok()
        {
            return Err(format!("client {} is served", number + 1));
        }
    }
    Ok(format!("{number} are served, and no more"))
}

/// A connection ends so at these bytes, and not at others of the same length.
pub(crate) fn ends_at(server: SocketAddr, bytes: &[u8], by: End) -> Result<String, String> {
    let said = |bytes: &[u8]| {
        let mut client = connect(server)?;
        client.write_all(bytes).map_err(|error| error.to_string())?;
        await_for(&client, SILENCE);
        let mut came = vec![0; bytes.len()];
        let end = match client.read(&mut came) {
            Ok(length @ 1..) if bytes.starts_with(&came[..length]) => End::Whole,
            Ok(1..) => End::Changed,
            other => end_of(&other),
        };
        reset(client);
        Ok::<_, String>(end)
    };
    let (end, other) = (said(bytes)?, said(&vec![b'x'; bytes.len()])?);
    expect(
        end == by && other == End::Whole,
        format!("{end:?} at these, {other:?} at others"),
    )
}

/// Of no more than so many clients one after another the last one is denied, so is one a second
/// later, and none is once that time is over.
pub(crate) fn bans(server: SocketAddr, most: usize, time: Duration) -> Result<String, String> {
    let is_served = || {
        let Ok(mut client) = connect(server) else {
            return false;
        };
        let is_alive = alive(&mut client).is_ok();
        reset(client);
        is_alive
    };
    let served = (0..most).take_while(|_| is_served()).count();
    if served == most {
        return Err(format!("{served} are served"));
    }
    sleep(Duration::from_secs(1));
    if is_served() {
        return Err(String::from("one is served a second later"));
    }
    sleep(time);
    expect(
        is_served(),
        format!("{served} are served, and then none for a while"),
    )
}
