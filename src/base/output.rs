//! The output of a command: standard output, or a file that is replaced atomically where
//! that is possible.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use crate::base::error::Error;
use crate::base::sys;

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
    /// folder and then renamed, so that a failure leaves the old content. Where it can't be
    /// replaced, as a mount point or in a folder that is not writable, it is overwritten.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::File`]: it could not be written.
    pub fn write(
        &self,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        match self {
            Self::Standard => match to_standard(content) {
                // The reader has closed it, which is no failure.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                result => result.map_err(Error::Output),
            },
            Self::Path(path) => to_path(path, content).map_err(|error| failed(path, error)),
        }
    }

    /// Whether both lead to the same file, or to standard output: the second that is written
    /// would take the place of the first. A device or a pipe takes both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Standard, Self::Standard) => true,
            (Self::Path(one), Self::Path(other)) => {
                let files = file_of(one).zip(file_of(other));
                files.is_some_and(|(one, other)| one == other)
            }
            _ => false,
        }
    }

    /// Checks that it can be written, without changing it: to be called before work whose
    /// result would be lost otherwise.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::File`], as [`write`](Self::write) would return them.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Standard => sys::standard_output().map(drop).map_err(Error::Output),
            Self::Path(path) => check_path(path).map_err(|error| failed(path, error)),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File {
        file: path.display().to_string(),
        source,
    }
}

/// Writes bytes to standard output, without a buffer.
///
/// # Errors
/// The system's; also where standard output is closed, which std's own writer hides.
pub(crate) fn write_standard(bytes: &[u8]) -> io::Result<()> {
    sys::standard_output()?.write_all(bytes)
}

fn to_standard(content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut to = BufWriter::new(sys::standard_output()?);
    content(&mut to)?;
    to.flush()
}

/// The kind of file that a path leads to.
enum Target {
    /// A regular file, by the path that symbolic links lead to.
    File(PathBuf, Permissions),
    /// A device or a pipe: it can't be replaced.
    Device(PathBuf),
    /// Nothing: a new file is made.
    New(PathBuf),
    /// A symbolic link to nothing: a new file is made where it leads.
    DanglingLink,
}

impl Target {
    fn of(path: &Path) -> io::Result<Self> {
        match path.canonicalize() {
            Ok(path) => {
                let metadata = path.metadata()?;
                Ok(match metadata.is_file() {
                    true => Self::File(path, metadata.permissions()),
                    false => Self::Device(path),
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => match path.symlink_metadata() {
                Ok(_) => Ok(Self::DanglingLink),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::New(path.to_owned())),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// The file that a path leads to, whether or not it is there yet; `None` for a device or a pipe,
/// and where nothing can be written.
fn file_of(path: &Path) -> Option<PathBuf> {
    match Target::of(path).ok()? {
        Target::File(path, _) => Some(path),
        Target::Device(_) => None,
        Target::New(path) => in_its_folder(&path),
        Target::DanglingLink => {
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            in_its_folder(&folder.join(path.read_link().ok()?))
        }
    }
}

/// A path whose folder is named without links and dots.
fn in_its_folder(path: &Path) -> Option<PathBuf> {
    let folder = folder_of(path).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}

/// The folder that a path is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn to_path(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let target = match Target::of(path)? {
        Target::Device(path) => return to_device(&path, content),
        target => target,
    };
    // Complete before anything is touched, since a file may have to be overwritten.
    let mut bytes = Vec::new();
    content(&mut bytes)?;
    match target {
        Target::File(path, permissions) => match replace(&path, Some(permissions), &bytes) {
            Err(error) if is_irreplaceable(&error) => {
                // The reason why it can't be overwritten either tells more.
                overwrite(OpenOptions::new().truncate(true), &path, &bytes)
            }
            result => result,
        },
        Target::New(path) => replace(&path, None, &bytes),
        Target::Device(_) | Target::DanglingLink => {
            overwrite(OpenOptions::new().create(true).truncate(true), path, &bytes)
        }
    }
}

/// Writes a new file and gives it the path's name.
fn replace(path: &Path, permissions: Option<Permissions>, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(plain)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.persist(path)?;
    Ok(())
}

/// Whether a file can't be replaced for this reason, so that it may be overwritten: its
/// folder is not writable, it is another user's in a sticky folder, or a mount point.
fn is_irreplaceable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
    )
}

fn overwrite(options: &mut OpenOptions, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = options.write(true).open(path)?;
    file.write_all(bytes)
}

/// Writes a device or a pipe directly.
fn to_device(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut to = BufWriter::new(OpenOptions::new().write(true).open(path)?);
    content(&mut to)?;
    to.flush()
}

fn check_path(path: &Path) -> io::Result<()> {
    match Target::of(path)? {
        Target::File(path, _) => match open_to_write(&path) {
            Ok(_) => Ok(()),
            // A file that is not writable can be replaced, if its folder is writable.
            Err(error) => temporary_beside(&path).map(drop).map_err(|_| error),
        },
        Target::New(path) => temporary_beside(&path).map(drop),
        Target::Device(path) if path.is_dir() => open_to_write(&path).map(drop),
        // Opening a pipe would wait for its reader, and end what the reader reads.
        Target::Device(path) => sys::check_writable(&path),
        Target::DanglingLink => {
            let leads_to = path.parent().unwrap_or(path).join(path.read_link()?);
            temporary_beside(&leads_to).map(drop)
        }
    }
}

fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// The error of the system alone: the text of `tempfile` would name the temporary file.
fn plain(error: io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or(error, io::Error::from_raw_os_error)
}

/// A temporary file in the same folder, which is deleted unless it is renamed.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".echopool-");
    if let Some(permissions) = default_permissions() {
        builder.permissions(permissions);
    }
    builder.tempfile_in(folder_of(path)).map_err(plain)
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

/// A path without a character, as an unset variable of a shell leaves it.
#[derive(Debug, thiserror::Error)]
#[error("the path is empty; give a file, or - for standard output")]
pub struct EmptyPath;

impl FromStr for Output {
    type Err = EmptyPath;

    fn from_str(text: &str) -> Result<Self, EmptyPath> {
        match text {
            "" => Err(EmptyPath),
            "-" => Ok(Self::Standard),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
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

    /// Whether tests run as root, whom no permission keeps out.
    #[cfg(unix)]
    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[cfg(unix)]
    #[test]
    fn a_writable_file_in_a_folder_that_is_not_is_overwritten() {
        use std::os::unix::fs::PermissionsExt;

        if is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let only_read = || Permissions::from_mode(0o555);
        std::fs::write(&path, "what is older is longer").unwrap();
        std::fs::set_permissions(folder.path(), only_read()).unwrap();
        let output = Output::Path(path.clone());
        output.check().unwrap();
        write(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let half = output.write(|to| {
            to.write_all(b"half")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        });
        half.unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let other = Output::Path(folder.path().join("b"));
        let refused = other.check().unwrap_err().to_string();
        assert!(refused.ends_with(": permission denied"), "{refused}");
        assert_eq!(names(folder.path()), ["a"]);
        std::fs::set_permissions(&path, only_read()).unwrap();
        output.check().unwrap_err();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // A file that is not writable is replaced where its folder is.
        output.check().unwrap();
        write(&path, "newest").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "newest");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_makes_the_file_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let (link, path) = (folder.path().join("link"), folder.path().join("a"));
        std::os::unix::fs::symlink("a", &link).unwrap();
        Output::Path(link.clone()).check().unwrap();
        assert_eq!(names(folder.path()), ["link"], "a check makes nothing");
        write(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn two_outputs_are_the_same_where_they_lead_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let output = |name: &str| Output::Path(folder.path().join(name));
        let is_same = |one: &str, other: &str| output(one).is_same(&output(other));
        assert!(is_same("a", "./a"), "before it is there");
        assert!(!is_same("a", "b"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
            assert!(is_same("link", "a"), "a link to nothing");
            write(&folder.path().join("a"), "").unwrap();
            assert!(is_same("link", "a"));
            let null = Output::Path(PathBuf::from("/dev/null"));
            assert!(!null.is_same(&null), "a device takes both");
        }
        assert!(Output::Standard.is_same(&Output::Standard));
        assert!(!Output::Standard.is_same(&output("a")));
        "".parse::<Output>().unwrap_err();
    }

    #[test]
    fn a_check_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let output = Output::Path(path.clone());
        output.check().unwrap();
        assert!(names(folder.path()).is_empty());
        write(&path, "old").unwrap();
        output.check().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn only_what_can_not_be_replaced_is_overwritten() {
        for (kind, overwritten) in [
            (ErrorKind::PermissionDenied, true),
            (ErrorKind::ResourceBusy, true),
            (ErrorKind::ReadOnlyFilesystem, true),
            (ErrorKind::StorageFull, false),
            (ErrorKind::QuotaExceeded, false),
        ] {
            assert_eq!(is_irreplaceable(&kind.into()), overwritten, "{kind}");
        }
    }
}
