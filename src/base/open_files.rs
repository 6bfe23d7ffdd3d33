//! The limit on the descriptors that this process may open.

/// Raises the soft limit on open files to the hard one. Returns the limit now
/// in force; where the system sets none, `usize::MAX`.
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

/// Elsewhere there is no such limit to raise.
#[cfg(not(unix))]
pub fn raise_open_files() -> usize {
    open_files()
}

/// The limit on open files now in force.
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
