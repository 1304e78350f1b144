//! Files and directories of the task's, through the descriptors of WASI.
//!
//! The host that the component runs on keeps every path beneath its descriptor. What WASI cannot say is not
//! kept: permission bits, times before 1970, and links to absolute paths, which it does not create.

use std::path::Path;
use std::time::{Duration, SystemTime};

use checkpoint_storage::handle::{
    DirHandle, Failure, FailureKind, FileHandle, Kind, Links, Listed, Stat,
};
use checkpoint_storage::{DirTree, Error, ErrorKind, Result};
use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntryStream, ErrorCode,
    NewTimestamp, OpenFlags, PathFlags,
};

/// WASI says nothing of permission bits, so these stand for them.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// As much as is read at a time: the host copies it.
const PIECE_BYTES: usize = 1 << 20;

/// Whether a call reads or writes what it is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A path beneath a descriptor of the task's: what a save reads and a restore writes.
///
/// # Errors
/// `InvalidPath` if the descriptor is no directory, and those of `DirTree::new`. `ReadOnly` if it does not
/// permit the access.
pub(crate) fn beneath(dir: &Descriptor, path: &str, access: Access) -> Result<DirTree<WasiDir>> {
    let failed = |code| {
        let what = "the directory cannot be opened again";
        Error::new(ErrorKind::Other, what).with_source(code)
    };
    if dir.get_type().map_err(failed)? != DescriptorType::Directory {
        let what = "the descriptor is a file; pass its directory and its name";
        return Err(Error::new(ErrorKind::InvalidPath, what));
    }
    let flags = dir.get_flags().map_err(failed)?;
    let flags = flags & (DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
    if access == Access::Write && !flags.contains(DescriptorFlags::MUTATE_DIRECTORY) {
        let what = "the directory was given for reading only";
        return Err(Error::new(ErrorKind::ReadOnly, what));
    }
    // A descriptor of its own: the task's is lent for the call.
    let own = dir.open_at(PathFlags::empty(), ".", OpenFlags::DIRECTORY, flags);
    let descriptor = own.map_err(failed)?;
    DirTree::new(WasiDir { descriptor, flags }, path)
}

/// A directory that is held open, and what its descriptor permits.
#[derive(Debug)]
pub(crate) struct WasiDir {
    descriptor: Descriptor,
    flags: DescriptorFlags,
}

/// A file that is held open, and where its next bytes are read or written.
#[derive(Debug)]
pub(crate) struct WasiFile {
    descriptor: Descriptor,
    offset: u64,
}

impl WasiDir {
    fn open(
        &self,
        path: &Path,
        links: Links,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Descriptor, Failure> {
        let opened = self
            .descriptor
            .open_at(follow(links), text(path)?, open, flags);
        opened.map_err(failure)
    }
}

impl DirHandle for WasiDir {
    type File = WasiFile;
    type Entries = Entries;

    const KEEPS_MODES: bool = false;

    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure> {
        let stat = self.descriptor.stat_at(follow(links), text(path)?);
        stat.map(from_wasi).map_err(failure)
    }

    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure> {
        let flags = self.flags;
        let descriptor = self.open(path, links, OpenFlags::DIRECTORY, flags)?;
        Ok(Self { descriptor, flags })
    }

    fn open_file(&self, path: &Path, links: Links) -> Result<WasiFile, Failure> {
        let descriptor = self.open(path, links, OpenFlags::empty(), DescriptorFlags::READ)?;
        Ok(WasiFile {
            descriptor,
            offset: 0,
        })
    }

    fn entries(&self) -> Result<Entries, Failure> {
        self.descriptor
            .read_directory()
            .map(Entries)
            .map_err(failure)
    }

    fn read_link(&self, name: &Path) -> Result<String, Failure> {
        self.descriptor.readlink_at(text(name)?).map_err(failure)
    }

    fn refuses_link(target: &str) -> Option<&'static str> {
        target.starts_with('/').then_some(
            "WASI creates no link to an absolute path; restore by `wasm-checkpoint run` or `export`",
        )
    }

    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure> {
        let (name, time) = (text(name)?, to_wasi(modified));
        self.descriptor
            .symlink_at(target, name)
            .and_then(|()| {
                let flags = PathFlags::empty();
                self.descriptor
                    .set_times_at(flags, name, NewTimestamp::NoChange, time)
            })
            .map_err(failure)
    }

    fn create_dir(&self, path: &Path) -> Result<(), Failure> {
        self.descriptor
            .create_directory_at(text(path)?)
            .map_err(failure)
    }

    fn create_file(&self, name: &Path) -> Result<WasiFile, Failure> {
        let open = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let descriptor = self.open(name, Links::NoFollow, open, DescriptorFlags::WRITE)?;
        Ok(WasiFile {
            descriptor,
            offset: 0,
        })
    }

    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure> {
        let (name, new_name) = (text(name)?, text(new_name)?);
        let renamed = self.descriptor.rename_at(name, &to.descriptor, new_name);
        renamed.map_err(failure)
    }

    fn remove_file(&self, path: &Path) -> Result<(), Failure> {
        self.descriptor.unlink_file_at(text(path)?).map_err(failure)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Failure> {
        self.descriptor
            .remove_directory_at(text(path)?)
            .map_err(failure)
    }

    fn set_metadata(&self, _mode: u32, modified: SystemTime) -> Result<(), Failure> {
        set_time(&self.descriptor, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.descriptor.sync().map_err(failure)
    }
}

impl FileHandle for WasiFile {
    fn stat(&self) -> Result<Stat, Failure> {
        self.descriptor.stat().map(from_wasi).map_err(failure)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        let wanted = into.len().min(PIECE_BYTES) as u64;
        let (piece, _) = self.descriptor.read(wanted, self.offset).map_err(failure)?;
        // No host gives more than it was asked for; if one does, this is no place to panic.
        let Some(room) = into.get_mut(..piece.len()) else {
            return Err(Failure::new(FailureKind::Other, "more than was asked for"));
        };
        room.copy_from_slice(&piece);
        self.offset += piece.len() as u64;
        Ok(piece.len())
    }

    fn write_all(&mut self, mut piece: &[u8]) -> Result<(), Failure> {
        while !piece.is_empty() {
            let written = self.descriptor.write(piece, self.offset).map_err(failure)?;
            let rest = usize::try_from(written).ok().and_then(|n| piece.get(n..));
            piece = match rest {
                Some(rest) if written > 0 => rest,
                _ => {
                    let what = format!("{written} of {} bytes were written", piece.len());
                    return Err(Failure::new(FailureKind::Other, what));
                }
            };
            self.offset += written;
        }
        Ok(())
    }

    fn set_metadata(&self, _mode: u32, modified: SystemTime) -> Result<(), Failure> {
        set_time(&self.descriptor, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.descriptor.sync().map_err(failure)
    }
}

/// A listing of a directory.
#[derive(Debug)]
pub(crate) struct Entries(DirectoryEntryStream);

impl Iterator for Entries {
    type Item = Result<Listed, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.0.read_directory_entry().transpose()?;
        let listed = entry.map(|entry| Listed {
            name: entry.name.into(),
            kind: (entry.type_ != DescriptorType::Unknown).then(|| kind(entry.type_)),
        });
        Some(listed.map_err(failure))
    }
}

fn set_time(at: &Descriptor, modified: SystemTime) -> Result<(), Failure> {
    let set = at.set_times(NewTimestamp::NoChange, to_wasi(modified));
    set.map_err(failure)
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or(FailureKind::NotUnicode.into())
}

fn follow(links: Links) -> PathFlags {
    match links {
        Links::Follow => PathFlags::SYMLINK_FOLLOW,
        Links::NoFollow => PathFlags::empty(),
    }
}

fn kind(of: DescriptorType) -> Kind {
    match of {
        DescriptorType::RegularFile => Kind::File,
        DescriptorType::Directory => Kind::Dir,
        DescriptorType::SymbolicLink => Kind::Link,
        DescriptorType::Fifo => Kind::Other("pipe"),
        DescriptorType::Socket => Kind::Other("socket"),
        DescriptorType::BlockDevice | DescriptorType::CharacterDevice | DescriptorType::Unknown => {
            Kind::Other("device")
        }
    }
}

fn failure(code: ErrorCode) -> Failure {
    use ErrorCode as E;
    let kind = match code {
        E::NoEntry => FailureKind::NotFound,
        E::Exist => FailureKind::Exists,
        // The host says so of a path that leads out.
        E::NotPermitted => FailureKind::Outside,
        E::Access | E::ReadOnly => FailureKind::Denied,
        E::Quota | E::FileTooLarge | E::InsufficientSpace => FailureKind::Full,
        E::IllegalByteSequence => FailureKind::NotUnicode,
        E::NotDirectory => FailureKind::NotADirectory,
        E::IsDirectory => FailureKind::IsADirectory,
        E::NotEmpty => FailureKind::NotEmpty,
        E::Loop => FailureKind::Loop,
        E::NameTooLong | E::TooManyLinks | E::Invalid => FailureKind::Unfit,
        _ => FailureKind::Other,
    };
    Failure::new(kind, code)
}

fn from_wasi(stat: DescriptorStat) -> Stat {
    let time = stat.data_modification_timestamp;
    let since = time.map(|time| Duration::new(time.seconds, time.nanoseconds.min(999_999_999)));
    let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    let kind = kind(stat.type_);
    Stat {
        kind,
        mode: match kind {
            Kind::Dir => DIR_MODE,
            _ => FILE_MODE,
        },
        modified: time.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// WASI knows no time before 1970.
fn to_wasi(time: SystemTime) -> NewTimestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    NewTimestamp::Timestamp(Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    })
}
