//! The output of a command: standard output, or a file that is replaced atomically.

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
    /// A file, or an existing device or pipe.
    Path(PathBuf),
}

impl Output {
    /// Writes what `content` writes. A file is written under a temporary name in the same
    /// folder and then renamed, so that a failure leaves the old content.
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
                    // The reader has closed it, which is no failure.
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
        // The target of a symbolic link is replaced, not the link.
        Ok(path) => {
            let metadata = path.metadata()?;
            if !metadata.is_file() {
                return to_device(&path, content);
            }
            (path, Some(metadata.permissions()))
        }
        Err(_) => (path.to_owned(), None),
    };
    let mut file = temporary_beside(&path)?;
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

/// Writes a device or a pipe directly: it can't be replaced.
fn to_device(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut to = BufWriter::new(std::fs::OpenOptions::new().write(true).open(path)?);
    content(&mut to)?;
    to.flush()
}

/// A temporary file in the same folder, which is deleted unless it is renamed.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".echopool-");
    if let Some(permissions) = default_permissions() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder).map_err(|error| {
        // The text of the error would name the temporary file.
        error
            .raw_os_error()
            .map_or(error, io::Error::from_raw_os_error)
    })
}

/// The permissions of a new file, before the umask applies.
#[cfg(unix)]
fn default_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
const fn default_permissions() -> Option<Permissions> {
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
    fn a_failure_leaves_the_old_content_and_no_temporary_file() {
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
    fn a_missing_folder_is_reported_in_plain_words() {
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
    fn modes_links_and_devices_are_preserved() {
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
        // Created like any file: with the permissions that the umask allows.
        let (plain, ours) = (folder.path().join("plain"), folder.path().join("ours"));
        std::fs::write(&plain, "").unwrap();
        write(&ours, "").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&ours));
        write(Path::new("/dev/null"), "gone").unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
