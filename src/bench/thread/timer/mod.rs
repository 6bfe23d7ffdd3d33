//! Wakes a poller at a point in time, more precisely than the poller's own time-out.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod timeout;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod timerfd;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use timeout::{TIMER, Timer};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use timerfd::{TIMER, Timer};
