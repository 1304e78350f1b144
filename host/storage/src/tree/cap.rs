//! Directories of this machine, through capabilities.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Write};
#[cfg(target_os = "linux")]
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry, FileType, Metadata, OpenOptions, ReadDir};

use super::dir::{DirTree, Markers, means_a_directory};
#[cfg(target_os = "linux")]
use super::handle::FileSystem;
use super::handle::{DirHandle, Failure, FailureKind, FileHandle, Kind, Links, Listed, Stat};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;

impl DirTree<Dir> {
    /// Opens a path of this machine with the authority of this process: for operators, not for guests.
    /// The parent must exist. If a restore finds the marker of an interrupted restore next to other
    /// entries, it does not trust the marker: it replaces them only if it may replace any content.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the parent cannot be opened or the path names nothing in it.
    pub fn ambient(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) if !name.is_empty() => parent,
            // `/` or a path that ends in `..` is the directory itself.
            _ => path,
        };
        let dir = Dir::open_ambient_dir(parent, ambient_authority());
        let dir = dir.map_err(|e| Failure::from(e).at(parent))?;
        let name = name.to_str();
        let name = name.ok_or_else(|| Failure::from(FailureKind::NotUnicode).at(path))?;
        Ok(Self {
            must_be_dir: means_a_directory(path),
            markers: Markers::Ignored,
            ..Self::new(dir, name)?
        })
    }
}

impl DirHandle for Dir {
    type File = File;
    type Entries = Entries;

    const KEEPS_MODES: bool = true;

    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure> {
        let metadata = match links {
            Links::Follow => self.metadata(path),
            Links::NoFollow => self.symlink_metadata(path),
        };
        Ok(stat(&metadata?))
    }

    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure> {
        Ok(match links {
            Links::Follow => self.open_dir(path),
            Links::NoFollow => self.open_dir_nofollow(path),
        }?)
    }

    fn open_file(&self, path: &Path, links: Links) -> Result<File, Failure> {
        let mut options = OpenOptions::new();
        options.read(true).follow(match links {
            Links::Follow => FollowSymlinks::Yes,
            Links::NoFollow => FollowSymlinks::No,
        });
        // If the file is replaced by a pipe at this moment, opening it must not block.
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, NONBLOCK);
        Ok(self.open_with(path, &options)?.into_std())
    }

    fn entries(&self) -> Result<Entries, Failure> {
        Ok(Entries(Dir::entries(self)?))
    }

    fn read_link(&self, name: &Path) -> Result<String, Failure> {
        let target = self.read_link_contents(name)?.into_os_string();
        target
            .into_string()
            .map_err(|_| FailureKind::NotUnicode.into())
    }

    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure> {
        #[cfg(not(windows))]
        self.symlink_contents(target, name)?;
        #[cfg(windows)]
        self.symlink_file(target, name)?;
        Ok(set_link_time(self, name, modified)?)
    }

    fn create_dir(&self, path: &Path) -> Result<(), Failure> {
        Ok(Dir::create_dir(self, path)?)
    }

    fn create_file(&self, name: &Path) -> Result<File, Failure> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .follow(FollowSymlinks::No);
        Ok(self.open_with(name, &options)?.into_std())
    }

    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure> {
        Ok(Dir::rename(self, name, to, new_name)?)
    }

    fn remove_file(&self, path: &Path) -> Result<(), Failure> {
        Ok(Dir::remove_file(self, path)?)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Failure> {
        Ok(Dir::remove_dir(self, path)?)
    }

    #[cfg(unix)]
    fn unlock_dir(&self, path: &Path) -> Result<(), Failure> {
        use cap_std::fs::{MetadataExt, PermissionsExt};

        const OWNER: u32 = 0o700;
        if self.symlink_metadata(path)?.mode() & OWNER != OWNER {
            self.set_permissions(path, PermissionsExt::from_mode(OWNER))?;
        }
        Ok(())
    }

    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        Ok(set_metadata(&std_handle(self)?, mode, modified)?)
    }

    fn sync(&self) -> Result<(), Failure> {
        Ok(std_handle(self)?.sync_all()?)
    }

    #[cfg(target_os = "linux")]
    fn file_system(&self) -> Option<Box<dyn FileSystem>> {
        super::file_system::open(std_handle(self).ok()?)
    }
}

impl FileHandle for File {
    fn stat(&self) -> Result<Stat, Failure> {
        Ok(stat(&Metadata::from_file(self)?))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        Ok(Read::read(self, into)?)
    }

    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure> {
        Ok(Write::write_all(self, piece)?)
    }

    fn set_metadata(&mut self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        Ok(set_metadata(self, mode, modified)?)
    }

    fn sync(&self) -> Result<(), Failure> {
        Ok(self.sync_all()?)
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self, part: Range<u64>) {
        crate::write_back::start(self, part);
    }
}

/// A listing of a directory.
#[derive(Debug)]
pub struct Entries(ReadDir);

impl Iterator for Entries {
    type Item = Result<Listed, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let listed = |entry: DirEntry| {
            Ok(Listed {
                name: entry.file_name(),
                kind: kind(entry.file_type()?),
            })
        };
        Some(self.0.next()?.and_then(listed).map_err(Failure::from))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as E;
        let kind = match error.kind() {
            E::NotFound => FailureKind::NotFound,
            E::AlreadyExists => FailureKind::Exists,
            // cap-std reports an escape as this kind, without an OS error code.
            E::PermissionDenied if error.raw_os_error().is_none() => FailureKind::Outside,
            E::PermissionDenied | E::ReadOnlyFilesystem => FailureKind::Denied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => FailureKind::Full,
            E::NotADirectory => FailureKind::NotADirectory,
            E::IsADirectory => FailureKind::IsADirectory,
            E::DirectoryNotEmpty => FailureKind::NotEmpty,
            E::InvalidFilename | E::InvalidInput | E::TooManyLinks => FailureKind::Unfit,
            _ if is_loop(&error) => FailureKind::Loop,
            _ => FailureKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The standard library has no stable error kind for this.
#[cfg(unix)]
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
fn is_loop(_error: &io::Error) -> bool {
    false
}

fn stat(metadata: &Metadata) -> Stat {
    let modified = metadata.modified().map(|time| time.into_std());
    Stat {
        // The system always knows the kind of a file that it describes.
        kind: kind(metadata.file_type()).unwrap_or(Kind::Other("device")),
        size_bytes: metadata.len(),
        mode: mode(metadata),
        modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// Returns `None` on a file system whose listings do not include the kind.
fn kind(of: FileType) -> Option<Kind> {
    if of.is_file() {
        return Some(Kind::File);
    } else if of.is_dir() {
        return Some(Kind::Dir);
    } else if of.is_symlink() {
        return Some(Kind::Link);
    }
    #[cfg(unix)]
    {
        use cap_std::fs::FileTypeExt;

        if of.is_fifo() {
            return Some(Kind::Other("pipe"));
        } else if of.is_socket() {
            return Some(Kind::Other("socket"));
        } else if of.is_block_device() || of.is_char_device() {
            return Some(Kind::Other("device"));
        }
    }
    None
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    use cap_std::fs::MetadataExt;

    metadata.mode() & 0o777
}

#[cfg(not(unix))]
fn mode(metadata: &Metadata) -> u32 {
    match metadata.is_dir() {
        true => 0o755,
        false => 0o644,
    }
}

/// `O_NONBLOCK`, which has no effect on regular files.
#[cfg(unix)]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Returns a handle for operations that cap-std's own does not permit: on Linux it only resolves paths.
fn std_handle(dir: &Dir) -> io::Result<File> {
    Ok(dir.open(".")?.into_std())
}

fn set_metadata(file: &File, mode: u32, modified: SystemTime) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(modified))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        // Only these bits: a stored tree must not create a set-user-ID program.
        file.set_permissions(PermissionsExt::from_mode(mode & 0o777))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(())
}

/// Does not use cap-std, which panics on a time before 1970.
#[cfg(unix)]
fn set_link_time(dir: &Dir, name: &Path, modified: SystemTime) -> io::Result<()> {
    use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

    let (seconds, nanoseconds) = match modified.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let (borrowed, nanoseconds) = match before.subsec_nanos() {
                0 => (0, 0),
                some => (1, 1_000_000_000 - some),
            };
            let seconds = i64::try_from(before.as_secs());
            (seconds.map(|s| (-s).saturating_sub(borrowed)), nanoseconds)
        }
    };
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds.unwrap_or(i64::MAX),
            tv_nsec: nanoseconds.into(),
        },
    };
    Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(unix))]
fn set_link_time(_dir: &Dir, _name: &Path, _modified: SystemTime) -> io::Result<()> {
    Ok(())
}
