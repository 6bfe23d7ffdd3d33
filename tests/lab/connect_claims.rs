//! What becomes of connections that are begun, by their first packets.

use std::net::{SocketAddr, TcpStream};
use std::thread::scope;
use std::time::{Duration, Instant};

use crate::claims::expect;

/// A SYN that was lost is sent again after a second.
const SENT_AGAIN: Duration = Duration::from_millis(900);

/// Connections that are begun, a few at a time: as many as no listen queue drops.
const BEGUN: usize = 96;
const TOGETHER: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// So many connections in 100 take a second longer, as their first packets are lost.
pub(crate) fn late(server: SocketAddr, percent: (f64, f64)) -> Result<String, String> {
    let mut late = 0;
    for _ in 0..BEGUN / TOGETHER {
        let one = || {
            let begun = Instant::now();
            let made = TcpStream::connect_timeout(&server, PATIENCE);
            (made.is_ok(), begun.elapsed() >= SENT_AGAIN)
        };
        let some = scope(|scope| {
            let threads: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(one)).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            joined.collect::<Vec<_>>()
        });
        if some.iter().any(|(is_made, _)| !is_made) {
            return Err(String::from("a connection is not made"));
        }
        late += some.iter().filter(|(_, is_late)| *is_late).count();
    }
    let share = late as f64 * 100.0 / BEGUN as f64;
    let is_it = (percent.0..=percent.1).contains(&share);
    expect(is_it, format!("{share:.1} % of {BEGUN} are a second late"))
}
