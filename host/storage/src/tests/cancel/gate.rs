//! A directory whose operations of one kind wait at a gate.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::future::{Either, select};
use tokio::sync::{Notify, watch};

use crate::tree::handle::{DirHandle, Failure, FileHandle, Links, Listed, Stat};

/// What waits at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    List,
    OpenFile,
    Read,
    Create,
    Remove,
    SyncFile,
}

/// The gate, how many operations pass it freely, and how many have begun.
#[derive(Debug)]
pub(super) struct Gate {
    op: Op,
    free: usize,
    begun: AtomicUsize,
    arrived: Notify,
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Each handle holds a receiver.
    handles: watch::Sender<()>,
}

impl Gate {
    /// Creates a gate that lets operations pass until the `nth`, from 1, arrives.
    pub(super) fn before(op: Op, nth: usize) -> Arc<Self> {
        Arc::new(Self {
            op,
            free: nth - 1,
            begun: AtomicUsize::new(0),
            arrived: Notify::new(),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
            handles: watch::Sender::new(()),
        })
    }

    pub(super) fn open(self: &Arc<Self>, dir: &Path) -> Gated {
        let dir = Dir::open_ambient_dir(dir, ambient_authority()).unwrap();
        self.around(dir)
    }

    /// Polls `call` until an operation waits, drops it, and lets every operation pass.
    pub(super) async fn drop_at_gate<T>(&self, call: impl Future<Output = T>) {
        let waits = match select(pin!(self.arrived.notified()), Box::pin(call)).await {
            // This drops the call.
            Either::Left(_) => true,
            Either::Right(_) => false,
        };
        self.open_for_good();
        assert!(waits, "the call ended before it came to {:?}", self.op);
    }

    pub(super) fn open_for_good(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Returns how many operations have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until every handle is closed.
    pub(super) async fn closed(&self) {
        self.handles.closed().await;
    }

    fn pass(&self, op: Op) {
        if op != self.op {
            return;
        }
        if self.begun.fetch_add(1, Ordering::SeqCst) < self.free {
            return;
        }
        self.arrived.notify_one();
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn around<H>(self: &Arc<Self>, handle: H) -> Gated<H> {
        Gated {
            handle,
            gate: self.clone(),
            _alive: self.handles.subscribe(),
        }
    }
}

/// A handle behind a gate.
#[derive(Debug)]
pub(super) struct Gated<H = Dir> {
    handle: H,
    gate: Arc<Gate>,
    _alive: watch::Receiver<()>,
}

impl DirHandle for Gated {
    type File = Gated<<Dir as DirHandle>::File>;
    type Entries = Entries;

    const KEEPS_MODES: bool = true;

    fn stat(&self, path: &Path, links: Links) -> Result<Stat, Failure> {
        DirHandle::stat(&self.handle, path, links)
    }

    fn open_dir(&self, path: &Path, links: Links) -> Result<Self, Failure> {
        let dir = DirHandle::open_dir(&self.handle, path, links)?;
        Ok(self.gate.around(dir))
    }

    fn open_file(&self, path: &Path, links: Links) -> Result<Self::File, Failure> {
        self.gate.pass(Op::OpenFile);
        let file = DirHandle::open_file(&self.handle, path, links)?;
        Ok(self.gate.around(file))
    }

    fn entries(&self) -> Result<Entries, Failure> {
        Ok(Entries {
            entries: DirHandle::entries(&self.handle)?,
            gate: self.gate.clone(),
        })
    }

    fn read_link(&self, name: &Path) -> Result<String, Failure> {
        DirHandle::read_link(&self.handle, name)
    }

    fn create_link(&self, name: &Path, target: &str, modified: SystemTime) -> Result<(), Failure> {
        DirHandle::create_link(&self.handle, name, target, modified)
    }

    fn create_dir(&self, path: &Path) -> Result<(), Failure> {
        DirHandle::create_dir(&self.handle, path)
    }

    fn create_file(&self, name: &Path) -> Result<Self::File, Failure> {
        self.gate.pass(Op::Create);
        let file = DirHandle::create_file(&self.handle, name)?;
        Ok(self.gate.around(file))
    }

    fn rename(&self, name: &Path, to: &Self, new_name: &Path) -> Result<(), Failure> {
        DirHandle::rename(&self.handle, name, &to.handle, new_name)
    }

    fn remove_file(&self, path: &Path) -> Result<(), Failure> {
        self.gate.pass(Op::Remove);
        DirHandle::remove_file(&self.handle, path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), Failure> {
        DirHandle::remove_dir(&self.handle, path)
    }

    fn unlock_dir(&self, path: &Path) -> Result<(), Failure> {
        self.handle.unlock_dir(path)
    }

    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        DirHandle::set_metadata(&self.handle, mode, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        DirHandle::sync(&self.handle)
    }
}

impl FileHandle for Gated<<Dir as DirHandle>::File> {
    fn stat(&self) -> Result<Stat, Failure> {
        FileHandle::stat(&self.handle)
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Failure> {
        self.gate.pass(Op::Read);
        FileHandle::read(&mut self.handle, into)
    }

    fn write_all(&mut self, piece: &[u8]) -> Result<(), Failure> {
        FileHandle::write_all(&mut self.handle, piece)
    }

    fn set_metadata(&self, mode: u32, modified: SystemTime) -> Result<(), Failure> {
        FileHandle::set_metadata(&self.handle, mode, modified)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.gate.pass(Op::SyncFile);
        FileHandle::sync(&self.handle)
    }
}

/// A listing behind a gate.
pub(super) struct Entries {
    entries: <Dir as DirHandle>::Entries,
    gate: Arc<Gate>,
}

impl Iterator for Entries {
    type Item = Result<Listed, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.gate.pass(Op::List);
        self.entries.next()
    }
}
