//! The service manager of systems that have none: no sockets, and no notifications.

use std::time::Duration;

use super::error::Error;
use super::sockets::Sockets;

/// No service manager: every notification is dropped.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager(());

impl ServiceManager {
    /// No service manager.
    pub const fn none() -> Self {
        Self(())
    }

    /// No service manager, as this system has none.
    pub const fn from_environment() -> Self {
        Self::none()
    }

    pub(crate) const fn watchdog_interval(&self) -> Option<Duration> {
        None
    }

    pub(crate) const fn ready(&self, _: &[String]) {}

    pub(crate) const fn alive(&self) {}

    pub(crate) const fn stopping(&self, _: Duration) {}

    pub(crate) const fn lame_duck(&self, _: Duration, _: Duration) {}
}

/// No sockets, as none are handed over on this system.
///
/// # Errors
/// None.
pub fn sockets() -> Result<Sockets, Error> {
    Ok(Sockets::default())
}
