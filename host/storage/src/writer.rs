//! The writing side of an attempt: its next slot, its commits, and what they leave behind.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt, stream};

use crate::checkpoint::Checkpoint;
use crate::dedup::KnownChunks;
use crate::format::{Commit, Contents, ObjectName, Record, WriteId};
use crate::log::Put;
use crate::save::Stored;
use crate::{AttemptSettings, Error, ErrorKind, Location, Result, Tree, log, paths};

/// What an attempt needs to know to write.
#[derive(Debug)]
pub(crate) struct Writer {
    location: Location,
    epoch: u64,
    attempt: u32,
    keep: NonZeroUsize,
    /// The last record of the log that this attempt knows.
    last: u64,
    /// The number of the next data object.
    counter: u64,
    /// The commits of the log that the newest one names, newest first.
    retained: Vec<Checkpoint>,
    /// Commits that the next one does not name: those that landed after their save had failed, and
    /// one that is made anew.
    late: Vec<Checkpoint>,
    /// Commits whose answer was lost or is awaited.
    undecided: Vec<Undecided>,
    /// Data objects that no commit refers to, unless it is the one being made.
    garbage: Vec<ObjectName>,
    /// Records of older epochs that stay in the log: each may be the last before a claim, on which a
    /// stale writer must collide.
    protected: HashSet<u64>,
    /// Whether the location held something damaged since this attempt began.
    damaged: bool,
    fenced: bool,
}

/// A commit of which it is not known whether it stands.
#[derive(Debug)]
struct Undecided {
    sequence: u64,
    write_id: WriteId,
    objects: Vec<ObjectName>,
}

impl Writer {
    pub(crate) fn new(
        location: Location,
        epoch: u64,
        settings: &AttemptSettings,
        retained: Vec<Checkpoint>,
        sequences: &[u64],
        damaged: bool,
    ) -> Self {
        let followed = |record: &Checkpoint| {
            let next = sequences.iter().find(|s| **s > record.sequence);
            retained
                .iter()
                .any(|c| Some(&c.sequence) == next && c.commit.epoch == record.commit.epoch)
        };
        let protected = retained.iter().filter(|c| !followed(c));
        Self {
            protected: protected.map(|c| c.sequence).collect(),
            location,
            epoch,
            attempt: settings.number,
            keep: settings.keep,
            last: epoch,
            counter: 0,
            retained,
            late: Vec::new(),
            undecided: Vec::new(),
            garbage: Vec::new(),
            damaged,
            fenced: false,
        }
    }

    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last
    }

    /// A name that no data object of this location has had. From the moment it is given until a
    /// commit refers to it, its object is garbage: a save may be dropped at any await.
    pub(crate) fn next_object(&mut self) -> ObjectName {
        let name = ObjectName {
            epoch: self.epoch,
            counter: self.counter,
        };
        self.counter += 1;
        self.garbage.push(name);
        name
    }

    /// Commits a tree whose contents are durable. Returns the checkpoint and the bytes uploaded for it.
    pub(crate) async fn commit(
        &mut self,
        tree: Tree,
        stored: Stored,
        saved_at: SystemTime,
    ) -> Result<(Checkpoint, u64)> {
        if self.fenced {
            return Err(Error::fenced());
        }
        let write_id = WriteId::random()?;
        let objects: Vec<_> = objects_of(&stored.contents).collect();
        let mut commit = Commit {
            epoch: self.epoch,
            write_id,
            attempt: self.attempt,
            saved_at,
            retains: Vec::new(),
            tree,
            contents: stored.contents,
        };
        loop {
            let sequence = log::next(self.last)?;
            let kept = self.retained.iter().take(self.keep.get() - 1);
            commit.retains = kept.map(|c| c.sequence).chain([sequence]).collect();
            let bytes = Record::Commit(Box::new(commit.clone())).encode()?;
            let uploaded_bytes = stored.uploaded_bytes + bytes.len() as u64;
            // Noted before the put, which may be dropped while it is under way. From here on the
            // data stays until the slot is seen to hold something else.
            self.garbage.retain(|name| !objects.contains(name));
            self.undecided.push(Undecided {
                sequence,
                write_id,
                objects: objects.clone(),
            });
            match log::put(&self.location, sequence, bytes, write_id).await {
                Ok(Put::Stands) => {
                    self.decide(sequence, write_id);
                    let checkpoint = Checkpoint {
                        location: self.location.clone(),
                        sequence,
                        commit: Arc::new(commit),
                    };
                    self.retained.insert(0, checkpoint.clone());
                    return Ok((checkpoint, uploaded_bytes));
                }
                // An earlier save of this attempt landed late. The slot after it is free.
                Ok(Put::Taken(Record::Commit(late))) if late.epoch == self.epoch => {
                    self.decide(sequence, late.write_id);
                    self.late.push(Checkpoint {
                        location: self.location.clone(),
                        sequence,
                        commit: Arc::from(late),
                    });
                }
                // A fenced attempt deletes nothing: the newer one sweeps.
                Ok(Put::Taken(_)) => {
                    self.fenced = true;
                    return Err(Error::fenced());
                }
                Ok(Put::Unknown(error)) => return Err(error),
                Err(error) => {
                    if error.kind() != ErrorKind::Corrupt {
                        self.undecided.retain(|u| u.write_id != write_id);
                        self.garbage.extend(objects);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Takes the newest retained commit out, to be committed anew.
    pub(crate) fn take_newest(&mut self) -> Option<Checkpoint> {
        if self.retained.is_empty() {
            return None;
        }
        let newest = self.retained.remove(0);
        self.late.push(newest.clone());
        Some(newest)
    }

    /// Deletes what no retained commit needs: records first, so that a reader finds no record whose
    /// data is gone. The list is computed once, from this attempt's own acknowledged commit; names
    /// are never used again, so the deletions may be late, repeated or fail.
    pub(crate) async fn retire(&mut self) {
        let mut dead: Vec<Checkpoint> = std::mem::take(&mut self.late);
        if self.retained.len() > self.keep.get() {
            dead.extend(self.retained.drain(self.keep.get()..));
        }
        let contents = |c: &Checkpoint| objects_of(&c.commit.contents).collect::<Vec<_>>();
        let needed: HashSet<_> = self.retained.iter().flat_map(contents).collect();
        let mut data = std::mem::take(&mut self.garbage);
        data.extend(dead.iter().flat_map(contents));
        data.retain(|name| !needed.contains(name));
        let records = dead.iter().map(|c| c.sequence);
        let records = records.filter(|sequence| !self.protected.contains(sequence));
        let prefix = self.location.prefix();
        let paths: Vec<_> = records
            .map(|sequence| paths::record(prefix, sequence))
            .chain(data.into_iter().map(|name| paths::object(prefix, name)))
            .map(Ok)
            .collect();
        if paths.is_empty() {
            return;
        }
        let deleted = self
            .location
            .store()
            .delete_stream(stream::iter(paths).boxed());
        deleted.for_each(|_| async {}).await;
    }

    /// What need not be stored again. Nothing, where something turned out damaged: what looks whole
    /// beside it may not be.
    pub(crate) fn known_chunks(&self) -> KnownChunks {
        match self.damaged {
            true => KnownChunks::default(),
            false => KnownChunks::of(&self.retained),
        }
    }

    /// A checkpoint turned out damaged: no later commit names it.
    pub(crate) fn forget(&mut self, damaged: &Checkpoint) {
        self.damaged = true;
        self.retained.retain(|c| c.sequence != damaged.sequence);
    }

    /// The slot is seen to hold the record `standing`, and so is the last one known. Whatever else was
    /// put there never stands.
    fn decide(&mut self, sequence: u64, standing: WriteId) {
        self.last = sequence;
        // The newest entry is that of the put being decided: it stands, or goes on to the next slot.
        self.undecided.pop();
        let (decided, open) = std::mem::take(&mut self.undecided)
            .into_iter()
            .partition::<Vec<_>, _>(|u| u.sequence == sequence);
        self.undecided = open;
        let lost = decided.into_iter().filter(|u| u.write_id != standing);
        self.garbage.extend(lost.flat_map(|u| u.objects));
    }
}

fn objects_of(contents: &Contents) -> impl Iterator<Item = ObjectName> + '_ {
    contents.objects().iter().map(|object| object.name())
}
