//! The addresses of a server, which a thread of their own resolves again on request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::error::Error;

/// The shortest time from the start of one resolution to that of the next: a server that is
/// gone for long does not make the resolver's load.
const PAUSE: Duration = Duration::from_secs(1);

/// The addresses of a server. Those of a name may be asked for again, which never blocks: a
/// thread resolves it, at most once a second, and until it has an answer the last one holds.
///
/// ```
/// use echopool::probe::addresses::Addresses;
///
/// let fixed = Addresses::from([([127, 0, 0, 1], 7).into()]);
/// assert_eq!(*fixed.known(), [([127, 0, 0, 1], 7).into()]);
/// let named = Addresses::resolved_by(|| "localhost:7".parse::<echopool::base::address::Address>()
///     .unwrap().resolve("localhost", 7))?;
/// named.resolve_again();
/// # Ok::<(), echopool::base::error::Error>(())
/// ```
#[derive(Clone)]
pub struct Addresses {
    known: Arc<Mutex<Arc<[SocketAddr]>>>,
    /// `None` where the addresses are fixed.
    requests: Option<Sender<()>>,
}

impl Addresses {
    /// The addresses that `resolve` returns, now and whenever they are asked for again.
    ///
    /// # Errors
    /// Those of `resolve` now. Later ones leave the addresses as they are.
    pub fn resolved_by(
        mut resolve: impl FnMut() -> Result<Vec<SocketAddr>, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let mut addresses = Self::from(resolve()?);
        let known = Arc::clone(&addresses.known);
        let (requests, asked) = bounded(1);
        // Without the thread the first answer holds for ever.
        let thread = thread::Builder::new()
            .name(String::from("resolver"))
            .spawn(move || answer(&asked, &known, &mut resolve));
        addresses.requests = thread.is_ok().then_some(requests);
        Ok(addresses)
    }

    /// The last answer. It is not empty unless it was so from the first.
    pub fn known(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for the addresses again, without waiting for them. For callers whose connection
    /// has failed: the name may have moved to another address.
    pub fn resolve_again(&self) {
        if let Some(requests) = &self.requests {
            // If it is full, an answer is on its way that is new enough.
            let _ = requests.try_send(());
        }
    }
}

/// Answers the requests until the last [`Addresses`] is dropped.
fn answer(
    asked: &Receiver<()>,
    known: &Mutex<Arc<[SocketAddr]>>,
    resolve: &mut dyn FnMut() -> Result<Vec<SocketAddr>, Error>,
) {
    for () in asked {
        let started = Instant::now();
        match resolve() {
            Ok(found) if !found.is_empty() => {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = found.into();
            }
            Ok(_) => {}
            Err(error) => log::debug!("{error}"),
        }
        thread::sleep(PAUSE.saturating_sub(started.elapsed()));
    }
}

impl From<Vec<SocketAddr>> for Addresses {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Self {
            known: Arc::new(Mutex::new(addresses.into())),
            requests: None,
        }
    }
}

impl<const N: usize> From<[SocketAddr; N]> for Addresses {
    fn from(addresses: [SocketAddr; N]) -> Self {
        Self::from(addresses.to_vec())
    }
}

impl<const N: usize> From<&[SocketAddr; N]> for Addresses {
    fn from(addresses: &[SocketAddr; N]) -> Self {
        Self::from(addresses.to_vec())
    }
}

impl From<&Self> for Addresses {
    fn from(addresses: &Self) -> Self {
        addresses.clone()
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Addresses").field(&self.known()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_resolver_that_hangs_or_fails_leaves_the_last_answer() {
        let (answers, next) = bounded::<Result<Vec<SocketAddr>, Error>>(1);
        let (asked, is_asked) = bounded(0);
        answers.send(Ok(vec![address(1)])).unwrap();
        let addresses = Addresses::resolved_by(move || {
            let _ = asked.try_send(());
            next.recv().unwrap()
        });
        let addresses = addresses.unwrap();
        // None of them waits for the resolver, which has no answer yet.
        for _ in 0..100 {
            addresses.resolve_again();
        }
        assert_eq!(*addresses.known(), [address(1)]);
        let host = String::from("gone");
        let source = io::Error::other("no such name");
        answers.send(Err(Error::Resolve { host, source })).unwrap();
        addresses.resolve_again();
        let deadline = Duration::from_secs(60);
        is_asked.recv_timeout(deadline).expect("it is asked again");
        assert_eq!(*addresses.known(), [address(1)]);
        answers.send(Ok(vec![address(2), address(3)])).unwrap();
        let until = Instant::now() + deadline;
        while *addresses.known() != [address(2), address(3)] {
            assert!(Instant::now() < until, "the new answer never came");
            // The thread may have started so late that one request was all of them.
            addresses.resolve_again();
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn it_is_resolved_at_most_once_a_second() {
        let (asked, times) = crossbeam_channel::unbounded();
        let addresses = Addresses::resolved_by(move || {
            asked.send(Instant::now()).unwrap();
            Ok(vec![address(1)])
        });
        let addresses = addresses.unwrap();
        let mut seen = vec![times.recv().unwrap()];
        while seen.len() < 4 {
            addresses.resolve_again();
            seen.extend(times.try_recv());
            thread::sleep(Duration::from_millis(1));
        }
        // The first was asked for by nobody.
        let pauses = seen[1..].windows(2).map(|pair| pair[1] - pair[0]);
        let least = pauses.min().unwrap();
        assert!(least >= PAUSE - Duration::from_millis(5), "{least:?}");
    }
}
