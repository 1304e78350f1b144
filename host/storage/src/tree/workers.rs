//! Threads that create the small entries of a tree.
//!
//! Creating a file takes the system about as long as writing 100 KiB, and making it durable waits for the disk.
//! Both run on several threads at once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};

use super::handle::{DirHandle, FileHandle};
use super::job::{Job, OpenDir};
use crate::error::{Error, ErrorKind, Result};
use crate::tree::{Entry, Node};

/// The most threads that sync each file. They wait for the disk, which makes the files of all of them durable in few
/// writes of its journal. With the files of their batches they hold some 256 open files.
pub(crate) const WORKERS: usize = 16;

/// The number of batches that wait for a thread, so that none waits for the contents.
const WAITING: usize = 4;

/// The size of the largest file that is written by these threads. The contents of a larger one are written as
/// they arrive, which copies nothing.
pub(super) const SMALL_BYTES: u64 = 128 << 10;

/// When a batch is full. All batches together take less than 6 MiB: each at most this and a small file.
const BATCH_BYTES: usize = 128 << 10;
pub(super) const BATCH_ENTRIES: usize = 16;

/// The number of directories of a batch. Each is an open handle.
const BATCH_DIRS: usize = 4;

/// Entries to create, in the order of the tree.
pub(super) struct Batch<D: DirHandle> {
    entries: Vec<New<D>>,
    contents: Vec<u8>,
    dirs: usize,
    /// Files with all of their contents, to be made durable, and their paths.
    written: Vec<(D::File, String)>,
}

/// A file or a link to create, and where its contents are.
struct New<D> {
    dir: Arc<OpenDir<D>>,
    entry: Entry,
    contents: Range<usize>,
}

impl<D: DirHandle> Default for Batch<D> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            contents: Vec::new(),
            dirs: 0,
            written: Vec::new(),
        }
    }
}

impl<D: DirHandle> Batch<D> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.written.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES
            || self.contents.len() >= BATCH_BYTES
            || self.dirs >= BATCH_DIRS
    }

    /// Adds the next contents of the entry that is pushed next.
    pub(super) fn extend(&mut self, piece: &[u8]) {
        self.contents.extend_from_slice(piece);
    }

    /// Adds an entry, with the contents since the one before it.
    pub(super) fn push(&mut self, dir: Arc<OpenDir<D>>, entry: Entry) {
        let last = self.entries.last();
        if last.is_none_or(|last| !Arc::ptr_eq(&last.dir, &dir)) {
            self.dirs += 1;
        }
        let start = last.map_or(0, |last| last.contents.end);
        self.entries.push(New {
            dir,
            entry,
            contents: start..self.contents.len(),
        });
    }

    /// Adds a file that has all of its contents.
    pub(super) fn push_written(&mut self, file: D::File, path: String) {
        self.written.push((file, path));
    }

    /// Creates the entries. Finishes each directory that nobody else fills any more.
    fn create(self, job: &Job, check: impl Fn() -> Result<()>) -> Result<()> {
        let mut written = self.written;
        let mut filled = Vec::with_capacity(self.entries.len());
        for New {
            dir: open,
            entry,
            contents,
        } in self.entries
        {
            check()?;
            let (dir, name) = (&open.dir, entry.name().as_ref());
            let created = match &entry.node {
                Node::Link { target } => {
                    let linked = dir.create_link(name, target, entry.modified);
                    linked.map(|()| None)
                }
                Node::File { .. } | Node::Dir => dir.create_file(name).and_then(|mut file| {
                    file.write_all(self.contents.get(contents).unwrap_or_default())?;
                    file.set_metadata(entry.mode, entry.modified)?;
                    Ok(Some(file))
                }),
            };
            if let Some(file) = created.map_err(|f| f.at(&entry.path))?
                && !job.syncs_at_once()
            {
                written.push((file, entry.path));
            }
            filled.push(open);
        }
        for (file, path) in written {
            check()?;
            job.sync_file(&file, &path)?;
        }
        for dir in filled {
            check()?;
            job.release(dir)?;
        }
        Ok(())
    }
}

/// Threads, started as batches are sent. When this is dropped, each of them creates at most one more entry.
pub(super) struct Workers<D: DirHandle> {
    batches: Option<SyncSender<Batch<D>>>,
    /// Until the last thread is started.
    receiver: Option<Arc<Mutex<Receiver<Batch<D>>>>>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
    outcome: Arc<Outcome>,
    /// The last field, because the call counts as running until it is dropped.
    job: Arc<Job>,
}

/// What the threads of a tree tell each other.
#[derive(Default)]
struct Outcome {
    /// Nothing more is to be created.
    stopped: AtomicBool,
    /// The first error.
    error: Mutex<Option<Error>>,
}

impl<D: DirHandle> Workers<D> {
    /// Returns `None` on a host without threads.
    pub(super) fn new(job: &Arc<Job>) -> Option<Self> {
        if cfg!(target_family = "wasm") {
            return None;
        }
        let most = match job.syncs_at_once() {
            // They wait for nothing.
            true => available_parallelism().map_or(2, |n| n.get().clamp(2, WORKERS)),
            false => WORKERS,
        };
        let (sender, receiver) = sync_channel(WAITING);
        Some(Self {
            batches: Some(sender),
            receiver: Some(Arc::new(Mutex::new(receiver))),
            threads: Vec::new(),
            most,
            job: job.clone(),
            outcome: Arc::default(),
        })
    }

    /// Starts another thread, up to the maximum. Does without it if the system permits no more.
    ///
    /// # Errors
    /// `Other` if the system permits none.
    fn start(&mut self) -> Result<()> {
        if self.threads.len() == self.most {
            // Sending fails if all threads have ended, because they alone hold the receiver.
            self.receiver = None;
        }
        let Some(receiver) = self.receiver.clone() else {
            return Ok(());
        };
        let (job, outcome) = (self.job.clone(), self.outcome.clone());
        let work = move || {
            while let Some(batch) = next(&receiver) {
                outcome.note(batch.create(&job, || outcome.check(&job)));
            }
        };
        match Builder::new().name("checkpoint-restore".into()).spawn(work) {
            Ok(thread) => self.threads.push(thread),
            Err(error) if self.threads.is_empty() => {
                let what = "cannot start a thread that restores files";
                return Err(Error::new(ErrorKind::Other, what).with_source(error));
            }
            Err(_) => self.most = self.threads.len(),
        }
        Ok(())
    }

    /// Hands a batch to the next thread that is free. Waits if several batches are waiting already.
    ///
    /// # Errors
    /// The first error of a thread. No thread is working any more then.
    pub(super) fn send(&mut self, batch: Batch<D>) -> Result<()> {
        self.start()?;
        let sent = match &self.batches {
            Some(batches) if !self.outcome.is_stopped() => batches.send(batch).is_ok(),
            _ => false,
        };
        match sent {
            true => Ok(()),
            false => Err(self.finish().err().unwrap_or_else(ended)),
        }
    }

    /// Waits until everything that was sent is created. No thread is working any more when this returns.
    ///
    /// # Errors
    /// The first error of a thread.
    pub(super) fn finish(&mut self) -> Result<()> {
        (self.batches, self.receiver) = (None, None);
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                result = Err(ended());
            }
        }
        match self.outcome.take_error() {
            Some(error) => Err(error),
            None => result,
        }
    }

    /// Waits until the threads have stopped: each creates at most one more entry.
    pub(super) fn stop(&mut self) {
        self.outcome.stop();
        // The caller has an error already.
        let _ = self.finish();
    }
}

impl<D: DirHandle> Drop for Workers<D> {
    fn drop(&mut self) {
        // Does not wait: this may run on the thread of an executor. Each thread holds a token of the call.
        self.outcome.stop();
    }
}

impl Outcome {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn check(&self, job: &Job) -> Result<()> {
        match self.is_stopped() {
            false => job.check(),
            true => Err(Error::new(ErrorKind::Other, "stopped")),
        }
    }

    /// Stops all threads at the first error, and keeps it.
    fn note(&self, created: Result<()>) {
        if let Err(error) = created {
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_stopped() {
                *first = Some(error);
            }
            self.stop();
        }
    }

    fn take_error(&self) -> Option<Error> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take()
    }
}

fn ended() -> Error {
    let what = "a storage thread ended before its work was done";
    Error::new(ErrorKind::Other, what)
}

fn next<D: DirHandle>(receiver: &Mutex<Receiver<Batch<D>>>) -> Option<Batch<D>> {
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    receiver.recv().ok()
}
