//! What is the same for all servers of a run, and where their parts are.

use std::path::PathBuf;

/// What is the same for all servers of a run, and where their files are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The echopool binary.
    pub echopool: PathBuf,
    /// Another build of it, which is measured as a rival.
    pub baseline: Option<PathBuf>,
    /// The rivals' receive buffer in bytes.
    pub buffer: usize,
    /// The folder of the rivals written in Rust.
    pub programs: PathBuf,
    /// A folder for what is built or written in passing.
    pub work: PathBuf,
}
