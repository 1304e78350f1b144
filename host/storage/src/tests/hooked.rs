//! A directory whose operations a test records, stops or lets fail.

use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::tree::handle::{DirHandle, Failure, FileHandle, FileSystem, Links, Listed, Stat};

/// A kind of operation on a directory or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    List,
    OpenFile,
    Read,
    /// Of a file.
    Create,
    CreateLink,
    CreateDir,
    Write,
    /// Of a directory.
    SetMetadata,
    /// Of a file or a link.
    Remove,
    SyncFile,
    /// Of a part of a file, which is the name.
    WriteBack,
    SyncDir,
    SyncFileSystem,
}

/// What a test does before each operation. Every handle holds a clone.
pub(crate) trait Hook: Clone + Send + Sync + 'static {
    /// Whether directories have a file system to sync.
    const FILE_SYSTEM: bool;

    /// Is called before each operation, with the name that it is given. The operation fails if this does.
    fn before(&self, op: Op, name: &Path) -> Result<(), Failure>;
}

/// A handle of this machine with a hook.
#[derive(Debug)]
pub(crate) struct Hooked<K, H = Dir> {
    handle: H,
    hook: K,
}

/// The path of an operation on a handle itself.
const ITSELF: &str = ".";

impl<K: Hook> Hooked<K> {
    pub(crate) fn open(dir: &Path, hook: K) -> Self {
        let handle = Dir::open_ambient_dir(dir, ambient_authority()).unwrap();
        Self { handle, hook }
    }

    fn around<H>(&self, handle: H) -> Hooked<K, H> {
        let hook = self.hook.clone();
        Hooked { handle, hook }
    }
}

impl<K: Hook> DirHandle for Hooked<K> {
    type File = Hooked<K, <Dir as DirHandle>::File>;
    type Entries = Entries<K>;

    const KEEPS_MODES: bool = true;

    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure> {
        DirHandle::stat(&self.handle, path, links)
    }

    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure> {
        let dir = DirHandle::open_dir(&self.handle, path, links)?;
        Ok(self.around(dir))
    }

    fn open_file(&self, path: &Path, links: Links) -> Result<Self::File, Failure> {
        self.hook.before(Op::OpenFile, path)?;
        let file = DirHandle::open_file(&self.handle, path, links)?;
        Ok(self.around(file))
    }

    fn entries(&self) -> Result<Entries<K>, Failure> {
        Ok(Entries {
            entries: DirHandle::entries(&self.handle)?,
            hook: self.hook.clone(),
        })
    }

    fn read_link(&self, name: &Path) -> Result<String, Failure> {
        DirHandle::read_link(&self.handle, name)
    }

    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure> {
        self.hook.before(Op::CreateLink, name)?;
        DirHandle::create_link(&self.handle, name, target, modified)
    }

    fn create_dir(&self, path: &Path) -> Result<(), Failure> {
        self.hook.before(Op::CreateDir, path)?;
        DirHandle::create_dir(&self.handle, path)
    }

    fn create_file(&self, name: &Path) -> Result<Self::File, Failure> {
        self.hook.before(Op::Create, name)?;
        let file = DirHandle::create_file(&self.handle, name)?;
        Ok(self.around(file))
    }

    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure> {
        DirHandle::rename(&self.handle, name, &to.handle, new_name)
    }

    fn remove_file(&self, path: &Path) -> Result<(), Failure> {
        self.hook.before(Op::Remove, path)?;
        DirHandle::remove_file(&self.handle, path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Failure> {
        DirHandle::remove_dir(&self.handle, path)
    }

    fn unlock_dir(&self, path: &Path) -> Result<(), Failure> {
        self.handle.unlock_dir(path)
    }

    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        self.hook.before(Op::SetMetadata, ITSELF.as_ref())?;
        DirHandle::set_metadata(&self.handle, mode, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        // The hook is called, and nothing else: a test has no power failure to fear.
        self.hook.before(Op::SyncDir, ITSELF.as_ref())
    }

    fn file_system(&self) -> Option<Box<dyn FileSystem>> {
        let file_system = || Box::new(self.around(())) as Box<dyn FileSystem>;
        K::FILE_SYSTEM.then(file_system)
    }
}

impl<K: Hook> FileSystem for Hooked<K, ()> {
    fn sync(&self) -> Result<(), Failure> {
        self.hook.before(Op::SyncFileSystem, ITSELF.as_ref())
    }
}

impl<K: Hook> FileHandle for Hooked<K, <Dir as DirHandle>::File> {
    fn stat(&self) -> Result<Stat, Failure> {
        FileHandle::stat(&self.handle)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        self.hook.before(Op::Read, ITSELF.as_ref())?;
        FileHandle::read(&mut self.handle, into)
    }

    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.hook.before(Op::Write, ITSELF.as_ref())?;
        FileHandle::write_all(&mut self.handle, piece)
    }

    fn set_metadata(&mut self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        FileHandle::set_metadata(&mut self.handle, mode, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.hook.before(Op::SyncFile, ITSELF.as_ref())
    }

    fn write_back(&self, part: Range<u64>) {
        let name = format!("{}..{}", part.start, part.end);
        // It cannot fail.
        let _ = self.hook.before(Op::WriteBack, name.as_ref());
        self.handle.write_back(part);
    }
}

/// A listing with a hook.
pub(crate) struct Entries<K> {
    entries: <Dir as DirHandle>::Entries,
    hook: K,
}

impl<K: Hook> Iterator for Entries<K> {
    type Item = Result<Listed, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.hook.before(Op::List, ITSELF.as_ref()) {
            Ok(()) => self.entries.next(),
            Err(failure) => Some(Err(failure)),
        }
    }
}
