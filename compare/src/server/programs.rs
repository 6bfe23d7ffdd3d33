//! Whether the programs that servers need are there, and how they are built.

use std::env;
use std::io;
use std::path::Path;
use std::process::Command;

use super::options::Options;

/// Whether there is such a file.
///
/// # Errors
/// There is none.
pub fn present(path: &Path) -> io::Result<()> {
    match path.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(format!("there is no {}", path.display()))),
    }
}

/// Whether `echopool serve` has the option that `extra` begins with.
///
/// # Errors
/// It has not, or there is no such file.
pub fn serve_knows(echopool: &Path, extra: &[&str]) -> io::Result<()> {
    present(echopool)?;
    let Some(option) = extra.first() else {
        return Ok(());
    };
    let help = Command::new(echopool).args(["serve", "--help"]).output()?;
    match String::from_utf8_lossy(&help.stdout).contains(option) {
        true => Ok(()),
        false => Err(io::Error::other(format!("this build has no {option}"))),
    }
}

/// Whether a program is in one of the folders of `PATH`.
///
/// # Errors
/// It is in none.
pub fn installed(program: &str) -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} is not installed"))),
    }
}

/// Runs `compiler arguments… OUTPUT SOURCE`.
///
/// # Errors
/// The compiler is not installed, or failed, with its last line.
pub fn build(
    compiler: &str,
    arguments: &[&str],
    options: &Options,
    output: &str,
    source: &str,
) -> io::Result<()> {
    installed(compiler)?;
    let built = Command::new(compiler)
        .args(arguments)
        .arg(options.work.join(output))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .output()?;
    if built.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&built.stderr);
    let line = error.lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "{compiler} could not build it: {line}"
    )))
}
