//! Unix time, and what the kernel knows of its clock: adjtimex(2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The Unix time by this machine's clock; 0 before its begin.
pub(crate) fn unix_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The state of the system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockState {
    /// An external source sets it.
    pub(crate) is_synchronized: bool,
    /// How wrong it may be at the most.
    pub(crate) error: Duration,
}

/// The state of the clock of Unix time; `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn clock_state() -> Option<ClockState> {
    // SAFETY: a structure of zeros is a valid one, which asks for no change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call reads the modes, which are 0, and writes to the rest of the structure,
    // which lives for all of it.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then(|| ClockState {
        is_synchronized: answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        error: Duration::from_micros(u64::try_from(state.maxerror).unwrap_or(0)),
    })
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const fn clock_state() -> Option<ClockState> {
    None
}
