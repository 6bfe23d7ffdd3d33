//! Where there is no service manager: nobody hands sockets over, and nobody is told.

use std::time::Duration;

use super::error::Error;
use super::listener::Listener;

/// Whom the server tells that it is ready, well, or about to stop: nobody.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager(());

impl ServiceManager {
    /// Nobody.
    pub const fn none() -> Self {
        Self(())
    }

    /// Nobody.
    pub const fn from_environment() -> Self {
        Self::none()
    }

    pub(crate) const fn watchdog_interval(&self) -> Option<Duration> {
        None
    }

    pub(crate) fn ready<'a>(&self, _: impl Iterator<Item = &'a Listener>) {}

    pub(crate) const fn alive(&self) {}

    pub(crate) const fn stopping(&self, _: Duration) {}

    pub(crate) const fn lame_duck(&self, _: Duration, _: Duration) {}
}

/// None are handed over.
///
/// # Errors
/// None.
pub const fn sockets() -> Result<Vec<Listener>, Error> {
    Ok(Vec::new())
}
