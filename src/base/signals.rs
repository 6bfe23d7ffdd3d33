//! Signals: the first one stops what runs gracefully, the second at once.

use crate::base::error::Error;
use crate::base::sys;

/// The exit code of what a person interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// Makes SIGINT, SIGTERM and SIGHUP (on Windows Ctrl-C) call `stop`, and exit
/// at once when it says that it was called before. Where SIGHUP is ignored, as
/// under nohup(1), it stays so.
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
