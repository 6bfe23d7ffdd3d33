//! Where a file goes that a command writes: to standard output, or to a path,
//! there whole or not at all.

use std::convert::Infallible;
use std::fmt;
use std::fs::Permissions;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use crate::base::error::Error;

/// A path, or `-` for standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `-`.
    Standard,
    /// A file, or a device or pipe that is there already.
    Path(PathBuf),
}

impl Output {
    /// Writes what `content` writes. A file is written beside its place and
    /// then renamed, so that a failure leaves what was there before.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::File`]: it could not be written.
    pub fn write(
        &self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        match self {
            Self::Standard => {
                let mut to = BufWriter::new(io::stdout().lock());
                match content(&mut to).and_then(|()| to.flush()) {
                    // Whoever read our output has seen enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                    result => result.map_err(Error::Output),
                }
            }
            Self::Path(path) => to_path(path, content).map_err(|source| Error::File {
                file: path.display().to_string(),
                source,
            }),
        }
    }
}

fn to_path(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let (path, permissions) = match path.canonicalize() {
        // What a symbolic link names is replaced, not the link.
        Ok(path) => {
            let there = path.metadata()?;
            if !there.is_file() {
                return to_device(&path, content);
            }
            (path, Some(there.permissions()))
        }
        Err(_) => (path.to_owned(), None),
    };
    let mut file = beside(&path)?;
    let mut to = BufWriter::new(&mut file);
    content(&mut to)?;
    to.flush()?;
    drop(to);
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.persist(&path)?;
    Ok(())
}

/// A device or a pipe has no half: it takes what comes.
fn to_device(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut to = BufWriter::new(std::fs::OpenOptions::new().write(true).open(path)?);
    content(&mut to)?;
    to.flush()
}

/// A file that is gone again unless it is renamed.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".echopool-");
    if let Some(permissions) = plain() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder).map_err(|error| {
        // Its text would name the file beside, which nobody asked for.
        error
            .raw_os_error()
            .map_or(error, io::Error::from_raw_os_error)
    })
}

/// What any new file gets, less the process's mask.
#[cfg(unix)]
fn plain() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
const fn plain() -> Option<Permissions> {
    None
}

impl FromStr for Output {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "-" => Self::Standard,
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> Result<(), Error> {
        Output::Path(path.to_owned()).write(|to| to.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_failure_leaves_what_was_there_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let fail = |to: &mut dyn Write| {
            to.write_all(b"half")?;
            to.flush()?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let output = Output::Path(path.clone());
        let error = output.write(fail).unwrap_err().to_string();
        assert!(error.starts_with("could not write "), "{error}");
        assert!(error.contains("a.json: no "), "{error}");
        assert!(names(folder.path()).is_empty());
        write(&path, "whole").unwrap();
        output.write(fail).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_folder_that_is_missing_is_said_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("a.json");
        let error = write(&path, "").unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "could not write {}: no such file or directory",
                path.display()
            )
        );
    }

    #[cfg(unix)]
    #[test]
    fn modes_links_and_devices_are_respected() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Made as any file is: readable to others as far as the mask allows.
        let (plain, ours) = (folder.path().join("plain"), folder.path().join("ours"));
        std::fs::write(&plain, "").unwrap();
        write(&ours, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&ours));
        write(Path::new("/dev/null"), "gone").unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
