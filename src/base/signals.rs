//! Signal handling: the first signal stops gracefully, the second exits at once.

use crate::base::error::Error;
use crate::base::sys;

/// The exit code after an interrupt: 128 + SIGINT, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Calls `stop` on SIGINT, SIGTERM and SIGHUP (Ctrl-C on Windows). If `stop` returns
/// `false`, because it was called before, the process exits with 130 at once. A SIGHUP
/// that is ignored, as under nohup(1), stays ignored.
///
/// # Errors
/// [`Error::SetUp`] when the handler can't be installed, for instance because
/// this process has one already.
pub fn on_signal(mut stop: impl FnMut() -> bool + Send + 'static) -> Result<(), Error> {
    #[cfg(unix)]
    let keep_ignoring = sys::hangup_is_ignored();
    let handler = move || {
        if !stop() {
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::SetUp {
        operation: "watch for signals",
        source: std::io::Error::other(error),
    })?;
    #[cfg(unix)]
    if keep_ignoring {
        sys::ignore_hangup();
    }
    Ok(())
}
