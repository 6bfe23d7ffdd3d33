//! What was measured: the commit, and the versions of all that takes part.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::server::options::Options;

/// The crates that rivals are built on, as locked.
const CRATES: [&str; 4] = ["mio", "monoio", "smol", "tokio"];

/// Programs that may take part, and the option that prints their version.
const PROGRAMS: [(&str, &str); 6] = [
    ("rustc", "--version"),
    ("gcc", "--version"),
    ("go", "version"),
    ("ncat", "--version"),
    ("socat", "-V"),
    ("xinetd", "-version"),
];

/// The commit of the work tree, with `+` where something differs from it.
#[must_use]
pub fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let output = command.args(["-C", folder]).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return String::from("unknown");
    };
    let tracked = ["status", "--porcelain", "--untracked-files=no"];
    match git(&tracked).is_none_or(|changes| changes.is_empty()) {
        true => commit,
        false => format!("{commit}+"),
    }
}

/// The versions of what takes part, by name.
#[must_use]
pub fn versions(options: &Options) -> BTreeMap<String, String> {
    let lock = include_str!("../../../Cargo.lock");
    let crates = CRATES.map(|name| (name, locked(lock, name)));
    let programs = PROGRAMS.map(|(name, flag)| (name, first_line(Path::new(name), flag)));
    let echopool = [("echopool", first_line(&options.echopool, "--version"))];
    echopool
        .into_iter()
        .chain(crates)
        .chain(programs)
        .filter_map(|(name, version)| Some((name.to_owned(), version?)))
        .collect()
}

/// The newest version of a crate in a `Cargo.lock`, which lists them in order.
fn locked(lock: &str, name: &str) -> Option<String> {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let rest = &lock[lock.rfind(&entry)? + entry.len()..];
    rest.split('"').next().map(str::to_owned)
}

/// The first line that `program flag` prints that has a digit in it.
fn first_line(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| line.contains(|letter: char| letter.is_ascii_digit()))?;
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_locked_version_is_given() {
        let lock = "[[package]]\nname = \"mio\"\nversion = \"0.8.1\"\n\n\
                    [[package]]\nname = \"mio\"\nversion = \"1.2.4\"\n";
        assert_eq!(locked(lock, "mio").as_deref(), Some("1.2.4"));
        assert_eq!(locked(lock, "tokio"), None);
    }
}
