//! The file of `--report`.

use std::ffi::OsString;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use checkpoint_storage::means_a_directory;

use crate::exit::{Code, Failure};

/// A report that is yet to be written. It is opened before anything is claimed, so that an unwritable file is reported
/// before the work and not after it.
#[derive(Debug)]
pub(super) enum ReportFile {
    /// Written to a new file, which then replaces the target by a rename. So the write is atomic, and follows no link
    /// that a task has planted.
    Beside {
        new: NewFile,
        /// The existing file, in case it cannot be replaced by a rename, for example because it is a mount point.
        old: Option<File>,
    },
    /// Written in place.
    InPlace {
        file: File,
        /// Whether others may write to it too, such as to stdout.
        append: bool,
    },
}

impl ReportFile {
    /// # Errors
    /// If the report could not be written there.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_at(path).with_context(|| Failure {
            code: Code::Usage,
            message: format!("cannot write {}, the file of --report", path.display()),
        })
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let there = match fs::symlink_metadata(path) {
            Ok(metadata) => Some(metadata.file_type()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let old = match there {
            Some(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(there) if there.is_symlink() && is_of_system(path) => {
                let file = OpenOptions::new().append(true).open(path)?;
                return Ok(Self::InPlace { file, append: true });
            }
            // The link is replaced, not followed.
            Some(there) if there.is_symlink() => None,
            Some(there) if !there.is_file() => {
                let file = open_special(path, there)?;
                return Ok(Self::InPlace { file, append: true });
            }
            Some(_) => OpenOptions::new().write(true).open(path).ok(),
            None => None,
        };
        match (NewFile::create(path), old) {
            (Ok(new), old) => Ok(Self::Beside { new, old }),
            // The file may be writable although its directory is not.
            (Err(_), Some(file)) => Ok(Self::InPlace {
                file,
                append: false,
            }),
            (Err(error), None) => Err(error),
        }
    }

    /// # Errors
    /// If the report cannot be written after all.
    pub(super) fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::InPlace { file, append } => write_in_place(file, append, text),
            Self::Beside { new, old } => match (new.replace(text), old) {
                (Err(_), Some(old)) => write_in_place(old, false, text),
                (written, _) => written,
            },
        }
    }
}

fn write_in_place(mut file: File, append: bool, text: &[u8]) -> io::Result<()> {
    if !append {
        file.set_len(0)?;
    }
    file.write_all(text)
}

/// Returns whether the system provides this name for an open file, such as `/dev/stdout` or `/proc/self/fd/3`.
fn is_of_system(path: &Path) -> bool {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    parent.is_some_and(|parent| parent == Path::new("/dev") || parent.starts_with("/proc"))
}

/// Opens a pipe or a device.
fn open_special(path: &Path, kind: FileType) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&kind) {
        // If opened for writing only, the call would wait for a reader.
        options.read(true);
    }
    #[cfg(not(unix))]
    let _ = kind;
    options.open(path)
}

/// A new file next to the one that it replaces. It is removed if it replaces nothing.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    replaced: bool,
}

impl NewFile {
    fn create(target: &Path) -> io::Result<Self> {
        if means_a_directory(target) {
            // Renaming a file to `report/` would fail too, but only after the work.
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        // Resolve it now, in case the working directory changes later.
        let target = std::path::absolute(target)?;
        let path = target.with_file_name(hidden);
        let create = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = match create() {
            // A killed process with the same id left it behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                create()?
            }
            created => created?,
        };
        Ok(Self {
            file,
            path,
            target,
            replaced: false,
        })
    }

    fn replace(mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        fs::rename(&self.path, &self.target)?;
        self.replaced = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.replaced {
            // Best effort: a leftover does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_report_replaces_an_existing_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        fs::write(&path, "an older and longer one").unwrap();
        ReportFile::open(&path).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["report"]);
    }

    #[test]
    fn a_link_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("report"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        // First the link exists before the report is opened, then it is created afterwards.
        symlink(&victim, &path).unwrap();
        ReportFile::open(&path).unwrap().write(b"one").unwrap();
        assert!(!path.is_symlink());
        let report = ReportFile::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        report.write(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(!path.is_symlink());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_report_that_is_not_written_leaves_the_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        fs::write(&path, "old").unwrap();
        drop(ReportFile::open(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["report"]);
    }

    #[test]
    fn a_leftover_of_a_killed_process_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        std::mem::forget(ReportFile::open(&path).unwrap());
        ReportFile::open(&path).unwrap().write(b"new").unwrap();
        assert_eq!(names(dir.path()), ["report"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        fs::write(&path, "an older and longer one").unwrap();
        let mut report = ReportFile::open(&path).unwrap();
        // Make the rename fail, as it does over a mount point.
        if let ReportFile::Beside { new, .. } = &mut report {
            new.target = dir.path().join("missing/report");
        }
        report.write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_directory_or_an_invalid_path_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        ReportFile::open(dir.path()).unwrap_err();
        ReportFile::open(&dir.path().join("missing/report")).unwrap_err();
        ReportFile::open(&dir.path().join("report/")).unwrap_err();
        ReportFile::open(Path::new("")).unwrap_err();
    }
}
