//! The task's files and directories, accessed through WASI descriptors.
//!
//! The host that runs the component confines every path to its descriptor. Metadata that WASI cannot express
//! is lost: permission bits and times before 1970. WASI also cannot create links to absolute paths.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use checkpoint_storage::handle::{
    DirHandle, Failure, FailureKind, FileHandle, Kind, Links, Listed, Stat,
};
use checkpoint_storage::{DirTree, Error, ErrorKind, Result};
use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntryStream,
    ErrorCode, NewTimestamp, OpenFlags, PathFlags,
};

/// The permission bits to save, because WASI does not expose the real ones.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// The most bytes per read or write. The host copies each piece.
const PIECE_BYTES: usize = 1 << 20;

/// Whether a call reads or writes the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Opens a path beneath a descriptor of the task, to save from it or restore to it.
///
/// # Errors
/// `InvalidPath` if the descriptor is not a directory. `ReadOnly` if it does not permit the access. Those of
/// `DirTree::new`.
pub(crate) fn beneath(dir: &Descriptor, path: &str, access: Access) -> Result<DirTree<WasiDir>> {
    let failed = |code| {
        let what = "cannot reopen the directory";
        Error::new(ErrorKind::Other, what).with_source(code)
    };
    if dir.get_type().map_err(failed)? != DescriptorType::Directory {
        let what = "the descriptor is a file; pass its directory and the file's name";
        return Err(Error::new(ErrorKind::InvalidPath, what));
    }
    let flags = dir.get_flags().map_err(failed)?;
    let flags = flags & (DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
    if access == Access::Write && !flags.contains(DescriptorFlags::MUTATE_DIRECTORY) {
        let what = "the host granted read-only access to this directory";
        return Err(Error::new(ErrorKind::ReadOnly, what));
    }
    // Opens another descriptor, because the task's is borrowed only for the call.
    let own = dir.open_at(PathFlags::empty(), ".", OpenFlags::DIRECTORY, flags);
    let descriptor = own.map_err(failed)?;
    DirTree::new(WasiDir { descriptor, flags }, path)
}

/// An open directory, and the access that its descriptor permits.
#[derive(Debug)]
pub(crate) struct WasiDir {
    descriptor: Descriptor,
    flags: DescriptorFlags,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct WasiFile {
    descriptor: Descriptor,
    /// Where the next read or write begins.
    offset: u64,
    /// Bytes to write there. Contents arrive in pieces of a few KiB, and calling the host for each takes longer than a copy.
    unwritten: Vec<u8>,
}

impl WasiFile {
    fn new(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            offset: 0,
            unwritten: Vec::new(),
        }
    }

    fn write_through(&mut self, mut piece: &[u8]) -> Result<(), Failure> {
        while !piece.is_empty() {
            let written = self.descriptor.write(piece, self.offset).map_err(failure)?;
            let rest = usize::try_from(written).ok().and_then(|n| piece.get(n..));
            piece = match rest {
                Some(rest) if written > 0 => rest,
                _ => {
                    let what = format!("the host wrote {written} of {} bytes", piece.len());
                    return Err(Failure::new(FailureKind::Other, what));
                }
            };
            self.offset += written;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let unwritten = std::mem::take(&mut self.unwritten);
        self.write_through(&unwritten)
    }
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
        Ok(WasiFile::new(descriptor))
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
            "WASI cannot create a link to an absolute path; restore with `wasm-checkpoint run` or `export`",
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
        Ok(WasiFile::new(descriptor))
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
        // A host must not return more than requested. Fail rather than panic if one does.
        let Some(room) = into.get_mut(..piece.len()) else {
            return Err(Failure::new(
                FailureKind::Other,
                "the host returned more bytes than requested",
            ));
        };
        room.copy_from_slice(&piece);
        self.offset += piece.len() as u64;
        Ok(piece.len())
    }

    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if self.unwritten.len() + piece.len() > PIECE_BYTES {
            self.flush()?;
        }
        match piece.len() < PIECE_BYTES {
            true => self.unwritten.extend_from_slice(piece),
            false => self.write_through(piece)?,
        }
        Ok(())
    }

    fn set_metadata(&mut self, _mode: u32, modified: SystemTime) -> Result<(), Failure> {
        self.flush()?;
        set_time(&self.descriptor, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.descriptor.sync().map_err(failure)
    }

    fn write_back(&self, part: Range<u64>) {
        // On Linux, what the host does with such advice is to write the part. What was unwritten at the last advice is part
        // of this one.
        let start = part.start.saturating_sub(PIECE_BYTES as u64);
        let size_bytes = part.end.saturating_sub(start);
        let advised = self.descriptor.advise(start, size_bytes, Advice::DontNeed);
        // It is only advice: a sync reports what matters.
        let _ = advised;
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
        // The host returns this for a path that leads out of the directory.
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
        size_bytes: stat.size,
        mode: match kind {
            Kind::Dir => DIR_MODE,
            _ => FILE_MODE,
        },
        modified: time.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// Converts a time for WASI, which cannot represent times before 1970.
fn to_wasi(time: SystemTime) -> NewTimestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    NewTimestamp::Timestamp(Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    })
}
