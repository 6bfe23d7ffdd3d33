//! Tries each of some things on a connection of its own, several at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::setting::Setting;

/// The most connections at once. No more than half of what was served at once before: one that
/// waits for another's end brings nothing.
const AT_ONCE: usize = 8;

/// How many are tried at once.
pub(super) fn at_once(setting: &Setting<'_>) -> usize {
    (setting.width / 2).clamp(1, AT_ONCE)
}

/// What becomes of each, in their order. `None` if the check was stopped meanwhile.
pub(super) fn each<T: Sync, R: Send>(
    setting: &Setting<'_>,
    things: &[T],
    tried: impl Fn(&T) -> R + Sync,
) -> Option<Vec<R>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut all = Vec::new();
        while !setting.is_stopped() {
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some(thing) = things.get(at) else { break };
            all.push((at, tried(thing)));
        }
        all
    };
    let mut all = thread::scope(|scope| {
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..at_once(setting)).map_while(start).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_default());
        }
        all
    });
    all.sort_by_key(|(at, _)| *at);
    // One under way when it was stopped may have been waited for too briefly.
    let is_whole = all.len() == things.len() && !setting.is_stopped();
    is_whole.then(|| all.into_iter().map(|(_, one)| one).collect())
}
