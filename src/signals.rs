//! Signals: the first one stops the server gracefully, the second at once.

use crate::error::Error;
use crate::server::Stop;
use crate::sys;

/// The exit code of what a person interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// Makes SIGINT, SIGTERM and SIGHUP (on Windows Ctrl-C) request a stop, and
/// exit at once when a stop has been requested already. Where SIGHUP is
/// ignored, as under nohup(1), it stays so.
///
/// # Errors
/// [`Error::Serve`] when the handler can't be installed, for instance because
/// this process has one already.
pub fn stop_on_signals(stop: Stop) -> Result<(), Error> {
    #[cfg(unix)]
    let keep_ignoring = sys::hangup_is_ignored();
    let handler = move || {
        if !stop.request() {
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Serve {
        operation: String::from("watch for signals"),
        source: std::io::Error::other(error),
    })?;
    #[cfg(unix)]
    if keep_ignoring {
        sys::ignore_hangup();
    }
    Ok(())
}
