//! Signal handling: a command ends at its first signal until it can stop in order; then the
//! first signal stops it gracefully, the second ends it at once.

use crate::base::error::Error;
use crate::base::sys;

/// The exit code after an interrupt: 128 + SIGINT, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Ends the process at once on SIGINT, SIGTERM and SIGHUP, until [`on_signal`] is called.
/// The kernel does that by itself except for the first process of a container, which it
/// spares every signal that has no handler. Signals that are ignored stay ignored.
pub fn end_on_signal() {
    #[cfg(unix)]
    for signal in sys::STOP_SIGNALS {
        if !sys::is_ignored(signal) {
            sys::end_on(signal);
        }
    }
}

/// Calls `stop` on SIGINT, SIGTERM and SIGHUP (Ctrl-C on Windows). If `stop` returns
/// `false`, because it was called before, the process exits with 130 at once. A signal
/// that is ignored at the start, as under nohup(1) or after `trap '' INT`, stays ignored.
///
/// # Errors
/// [`Error::SetUp`] when the handler can't be installed, for instance because
/// this process has one already.
pub fn on_signal(mut stop: impl FnMut() -> bool + Send + 'static) -> Result<(), Error> {
    #[cfg(unix)]
    let ignored = sys::STOP_SIGNALS.map(sys::is_ignored);
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
    for (signal, ignored) in sys::STOP_SIGNALS.into_iter().zip(ignored) {
        if ignored {
            sys::ignore(signal);
        }
    }
    Ok(())
}
