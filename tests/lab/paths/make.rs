//! How paths of the table are begun: through a router, to a server of this host, by a proxy.

use std::time::Duration;

use crate::made::{Routed, Server, host, proxied};
use crate::path::Path;
use crate::proxies::Software;

/// The most that a check of a broken path takes, and of a healthy one: on one host, through
/// a router that has a packet for each segment, with a long round trip or at 10 Mbit/s, and
/// at 2 Mbit/s or with loss.
pub(super) const BROKEN: Duration = Duration::from_secs(45);
pub(super) const QUICK: Duration = Duration::from_secs(5);
pub(super) const LONG: Duration = Duration::from_secs(15);
pub(super) const SLOW: Duration = Duration::from_secs(30);

pub(super) fn routed() -> Routed {
    Routed::default()
}

/// A path through a router.
pub(super) fn through(name: &'static str, what: impl Into<String>, way: Routed) -> Path {
    Path::new(name, what, BROKEN, move || way.make())
}

/// A path to a server on the client's host.
pub(super) fn to(
    name: &'static str,
    what: impl Into<String>,
    server: impl Fn() -> Server + Copy + Send + Sync + 'static,
) -> Path {
    Path::new(name, what, BROKEN, move || host(server))
}

/// A path through a proxy on the client's host.
pub(super) fn by(name: &'static str, what: &'static str, proxy: Software) -> Path {
    Path::new(name, what, BROKEN, move || proxied(&proxy))
}
