//! The limit on the descriptors that this process may open.

use std::io;

use super::error::cause;
use super::sys;

/// Raises the soft limit on open files to the hard limit. Returns the limit now in force, or
/// `usize::MAX` where there is none.
#[cfg(unix)]
pub fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let cause = super::error::cause(&error.into());
        log::warn!("could not raise the limit on open files: {cause}");
    }
    open_files()
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub fn raise_open_files() -> usize {
    open_files()
}

/// The error of a probe's socket: where descriptors ran out, also why so many are needed, and
/// which option asks for fewer.
pub(crate) fn with_advice(error: io::Error, needed: &str, option: &str) -> io::Error {
    if !sys::is_out_of_descriptors(&error) {
        return error;
    }
    let cause = cause(&error);
    io::Error::other(format!(
        "{cause}, {needed}: raise their limit (ulimit -n), or ask for fewer {option}"
    ))
}

/// The limit on open files now in force, or `usize::MAX` where there is none.
#[cfg(unix)]
pub(crate) fn open_files() -> usize {
    use rustix::process::{Resource, getrlimit};

    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(not(unix))]
pub(crate) fn open_files() -> usize {
    usize::MAX
}
