//! Files and directories of the task's, through the descriptors of WASI.
//!
//! The host that the component runs on keeps every path beneath its descriptor. What WASI cannot say is not
//! kept: permission bits, and links to absolute paths, which it does not make.

mod read;
mod write;

use checkpoint_storage::target::RESTORING;
use checkpoint_storage::{
    Error, ErrorKind, Existing, FileTree, Limits, Result, TargetState, Tree, TreeReader, TreeWriter,
};
use wasip2::clocks::wall_clock::Datetime;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};

use std::time::{Duration, SystemTime};

/// A path beneath a descriptor of the task's: what a save reads and a restore writes.
pub(crate) struct Beneath {
    dir: Descriptor,
    /// Without `.`; empty for the directory itself.
    path: String,
    writable: bool,
}

impl Beneath {
    /// # Errors
    /// `InvalidPath` for absolute paths and those with `..`.
    pub(crate) fn new(dir: &Descriptor, path: &str) -> Result<Self> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidPath, what);
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let what = format!("{path:?} leads out of the directory; name a path in it");
            return Err(invalid(what));
        }
        if path.contains('\0') {
            return Err(invalid("a path with NUL".into()));
        }
        let flags = dir.get_flags().map_err(|e| failed(path, e))?;
        if dir.get_type().map_err(|e| failed(path, e))? != DescriptorType::Directory {
            let what = "the descriptor is a file; pass its directory and its name";
            return Err(invalid(what.into()));
        }
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let flags = flags & (DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
        Ok(Self {
            // One of its own: the task's is lent for the call.
            dir: open_dir(dir, ".", flags).map_err(|e| failed(path, e))?,
            path: parts.collect::<Vec<_>>().join("/"),
            writable: flags.contains(DescriptorFlags::MUTATE_DIRECTORY),
        })
    }

    /// # Errors
    /// `ReadOnly`, if the descriptor does not permit writing.
    pub(crate) fn writable(self) -> Result<Self> {
        match self.writable {
            true => Ok(self),
            false => {
                let what = "the directory was given for reading only";
                Err(Error::new(ErrorKind::ReadOnly, what))
            }
        }
    }

    fn name(&self) -> &str {
        match self.path.as_str() {
            "" => ".",
            path => path,
        }
    }

    fn open(&self) -> Result<Descriptor, ErrorCode> {
        let mut flags = DescriptorFlags::READ;
        flags.set(DescriptorFlags::MUTATE_DIRECTORY, self.writable);
        open_dir(&self.dir, self.name(), flags)
    }

    fn failed(&self, code: ErrorCode) -> Error {
        failed(&self.path, code)
    }
}

impl FileTree for Beneath {
    fn state(&self) -> Result<TargetState> {
        let stat = match self.dir.stat_at(PathFlags::SYMLINK_FOLLOW, self.name()) {
            Ok(stat) => stat,
            Err(ErrorCode::NoEntry) => {
                // A link to nothing is something.
                return match self.dir.stat_at(PathFlags::empty(), self.name()) {
                    Ok(_) => Ok(TargetState::File),
                    Err(_) => Ok(TargetState::Absent),
                };
            }
            Err(code) => return Err(self.failed(code)),
        };
        if stat.type_ != DescriptorType::Directory {
            return Ok(TargetState::File);
        }
        let dir = self.open().map_err(|e| self.failed(e))?;
        if dir.stat_at(PathFlags::empty(), RESTORING).is_ok() {
            return Ok(TargetState::Interrupted);
        }
        match names(&dir).map_err(|e| self.failed(e))?.is_empty() {
            true => Ok(TargetState::EmptyDir),
            false => Ok(TargetState::Dir),
        }
    }

    fn reader(&self, limits: &Limits) -> Result<Box<dyn TreeReader>> {
        read::reader(self, limits)
    }

    fn writer(&self, tree: &Tree, existing: Existing) -> Result<Box<dyn TreeWriter>> {
        write::writer(self, tree, existing)
    }

    fn keeps_modes(&self) -> bool {
        false
    }
}

fn open_dir(dir: &Descriptor, path: &str, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::DIRECTORY, flags)
}

/// A directory in this one, which is no link.
fn open_inner(dir: &Descriptor, name: &str) -> Result<Descriptor, ErrorCode> {
    let flags = dir.get_flags()? & (DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY);
    dir.open_at(PathFlags::empty(), name, OpenFlags::DIRECTORY, flags)
}

/// The names in a directory, in no order.
fn names(dir: &Descriptor) -> Result<Vec<String>, ErrorCode> {
    let entries = dir.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        names.push(entry.name);
    }
    Ok(names)
}

/// An error about a path, by what the task can do about it.
fn failed(path: &str, code: ErrorCode) -> Error {
    use ErrorCode as E;
    let name = if path.is_empty() { "." } else { path };
    let (kind, what) = match code {
        E::NoEntry => (ErrorKind::InvalidPath, "there is nothing"),
        // The host says so of a path that leads out.
        E::NotPermitted => (ErrorKind::InvalidPath, "this leads out of the directory"),
        E::Access | E::ReadOnly => (ErrorKind::ReadOnly, "this is not permitted"),
        E::Quota | E::FileTooLarge | E::InsufficientSpace => {
            (ErrorKind::QuotaExceeded, "there is no room")
        }
        E::IllegalByteSequence => (
            ErrorKind::InvalidPath,
            "a checkpoint holds Unicode names only; rename what has another",
        ),
        E::NotDirectory
        | E::IsDirectory
        | E::NameTooLong
        | E::Exist
        | E::TooManyLinks
        | E::Loop
        | E::Invalid => (ErrorKind::InvalidPath, "this is not what is needed"),
        _ => (ErrorKind::Other, "this failed"),
    };
    Error::new(kind, format!("{name:?}: {what}")).with_source(code)
}

fn from_wasi(time: Option<Datetime>) -> SystemTime {
    let since = time.map(|time| Duration::new(time.seconds, time.nanoseconds.min(999_999_999)));
    let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// WASI knows no time before 1970.
fn to_wasi(time: SystemTime) -> Datetime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    }
}
