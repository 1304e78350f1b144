//! The writing side of an attempt: its next slot, its commits, and the garbage they leave behind.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt, stream};
use tracing::{debug, info, warn};

use crate::blocking::Background;
use crate::checkpoint::Checkpoint;
use crate::contents::dedup::StoredChunks;
use crate::contents::lease::{Lease, Leases, Purpose};
use crate::contents::objects::{Objects, SizedObject, StagedObjects};
use crate::contents::stage::{Stage, Stored};
use crate::contents::usage::{Usage, sum};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Commit, LocationId, MAX_RETAINED, ObjectRef, Record};
use crate::inspect::prune::PrunePlan;
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::log::claim::Claimed;
use crate::log::holdings::{Held, Holdings};
use crate::log::slot::{Put, Sized};
use crate::log::{slot, sweep};
use crate::paths;

/// The state that an attempt needs to write.
#[derive(Debug)]
pub(crate) struct LogWriter {
    location: OpenLocation,
    epoch: u64,
    attempt: u32,
    location_id: LocationId,
    /// The size of the records up to its claim that are never deleted.
    permanent_bytes: u64,
    /// How many checkpoints to keep.
    keep: NonZeroUsize,
    /// What the location holds, until that is [known](Self::ready).
    unread: Option<Holdings>,
    /// The damaged slots that are no longer reported, ascending.
    given_up: Vec<u64>,
    /// The last record of the log known to this attempt.
    last: u64,
    objects: Arc<Objects>,
    /// The commits of the log that the newest one retains, newest first.
    retained: Vec<Checkpoint>,
    /// The chunks of the newest retained commit, if this attempt knows them.
    newest_chunks: Option<(u64, Arc<StoredChunks>)>,
    /// Commits that no later one names: those that are no longer among the newest, those that
    /// landed after their save had failed, and those that were committed again.
    dead: Vec<Checkpoint>,
    /// Records of older epochs that stay in the log: each may be the last before a claim, which
    /// makes a stale writer collide.
    protected: HashSet<u64>,
    /// Whether damage was found in the location since this attempt began.
    damaged: bool,
    /// Counts damage found: a save that reuses data which was whole when the save began is refused.
    generation: u64,
    fenced: bool,
    leases: Leases,
    deletion: Background,
}

/// What a commit says besides what is stored.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) saved_at: SystemTime,
    pub(crate) metadata: crate::metadata::Metadata,
}

/// Where a commit goes among the retained ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On top of the retained commits.
    OnTop,
    /// In place of the newest commit, which it repeats.
    OfNewest,
}

impl LogWriter {
    pub(crate) fn new(location: OpenLocation, attempt: u32, claimed: Claimed) -> Self {
        let Claimed {
            epoch,
            location_id,
            keep,
            permanent_bytes,
            own,
            resumable: _,
        } = claimed;
        Self {
            location,
            epoch,
            attempt,
            location_id,
            permanent_bytes,
            keep,
            unread: Some(own),
            given_up: Vec::new(),
            last: epoch,
            objects: Objects::new(epoch),
            retained: Vec::new(),
            newest_chunks: None,
            dead: Vec::new(),
            protected: HashSet::new(),
            damaged: false,
            generation: 0,
            fenced: false,
            leases: Leases::default(),
            deletion: Background::default(),
        }
    }

    /// Waits until it is known what the location holds, before anything is stored or deleted, and begins to delete what
    /// earlier attempts left behind. Returns whether it was not known before.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt has claimed the location; otherwise those of reading it, which the next call tries
    /// again.
    pub(crate) async fn ready(&mut self) -> Result<bool> {
        let Some(unread) = &mut self.unread else {
            return Ok(false);
        };
        let held = match unread.wait().await {
            Ok(held) => std::mem::take(held),
            Err(error) => {
                self.fenced |= error.kind() == ErrorKind::Fenced;
                return Err(error);
            }
        };
        self.unread = None;
        let Held { history, leftovers } = held;
        self.protected = history.protected();
        self.given_up = history.given_up;
        self.damaged |= !history.damaged.is_empty();
        // An attempt that begins afresh keeps the old checkpoints until it has saved.
        match history.fresh {
            true => self.dead = history.checkpoints,
            false => self.retained = history.checkpoints,
        }
        self.recount();
        self.delete(leftovers.records, leftovers.data).await;
        Ok(true)
    }

    pub(crate) fn location(&self) -> &OpenLocation {
        &self.location
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Leases a checkpoint if it belongs to this log; checkpoints of a predecessor are never
    /// deleted.
    pub(crate) fn lease(&mut self, purpose: Purpose, checkpoint: &Checkpoint) -> Lease {
        let own = checkpoint.location.url() == self.location.url();
        self.leases
            .take(purpose, own.then_some(checkpoint.sequence))
    }

    /// Returns what a save needs to store contents while the attempt continues.
    pub(crate) fn stage(&mut self, limits: Limits) -> Stage {
        // Reuse nothing once damage was found: data that looks whole beside it may not be.
        let reused = self.retained.first().filter(|_| !self.damaged);
        let lease = reused.map(|c| c.sequence);
        let chunks = self.newest_chunks.as_ref();
        let chunks = chunks.filter(|(sequence, _)| lease == Some(*sequence));
        Stage {
            location: self.location.clone(),
            limits,
            staged: self.objects.stage(),
            reusable: reused.map(|c| (c.clone(), chunks.map(|(_, chunks)| chunks.clone()))),
            lease: self.leases.take(Purpose::Reuse, lease),
            generation: self.generation,
        }
    }

    /// Returns how many bytes the location holds.
    pub(crate) fn usage(&self) -> &Usage {
        self.objects.usage()
    }

    /// Counts what the checkpoints occupy. Call it after each change of their lists.
    fn recount(&self) {
        let mut seen = HashSet::new();
        let kept = self.retained.iter().chain(&self.dead);
        let objects = kept.clone().flat_map(objects_of);
        let objects = objects.filter(|(name, _)| seen.insert(*name));
        // The records that are never deleted include the protected ones.
        let records = kept.filter(|c| !self.protected.contains(&c.sequence));
        let sizes = objects.map(|(_, size_bytes)| size_bytes);
        let kept_bytes = sum(sizes.chain(records.map(|c| c.record_bytes)));
        self.usage().set_records(self.permanent_bytes, kept_bytes);
    }

    /// # Errors
    /// `Fenced` if the attempt already knows that it is fenced.
    pub(crate) fn check_unfenced(&self) -> Result<()> {
        match self.fenced {
            true => Err(Error::fenced()),
            false => Ok(()),
        }
    }

    /// Returns the newest retained commit.
    pub(crate) fn newest(&self) -> Option<&Checkpoint> {
        self.retained.first()
    }

    /// Commits a tree whose contents are durable. Returns the checkpoint and the number of bytes
    /// uploaded for it.
    pub(crate) async fn commit(
        &mut self,
        draft: Draft,
        mut stored: Stored,
        place: Place,
    ) -> Result<(Checkpoint, u64)> {
        self.check_unfenced()?;
        self.check_reused(stored.generation, &stored.objects, &stored.staged)?;
        let write_id = self.location.environment().write_id()?;
        let mut commit = Commit {
            epoch: self.epoch,
            write_id,
            attempt: self.attempt,
            saved_at: draft.saved_at,
            retains: Vec::new(),
            description: stored.description,
            objects: stored.objects,
            metadata: draft.metadata,
            location_id: self.location_id,
            keep: self.keep,
            given_up: self.given_up.clone(),
            permanent_bytes: self.permanent_bytes,
        };
        loop {
            let sequence = slot::next(self.last)?;
            commit.retains = self.retained_with(sequence, place);
            let bytes = Record::Commit(Box::new(commit.clone())).encode()?;
            let record_bytes = bytes.len() as u64;
            let uploaded_bytes = stored.uploaded_bytes + record_bytes;
            // What commits a checkpoint again does so to delete others.
            if place == Place::OnTop {
                let save_bytes = stored.staged.size_bytes();
                let usage = self.usage();
                usage
                    .check(record_bytes, save_bytes, &stored.limits)
                    .await?;
            }
            stored.staged.offer();
            match slot::put_commit(&self.location, sequence, bytes, write_id).await? {
                Put::Committed => {
                    debug!(location = %self.location, sequence, uploaded_bytes, "committed a checkpoint");
                    let checkpoint = self.checkpoint(sequence, Arc::new(commit), record_bytes);
                    let chunks = stored.chunks.take();
                    self.newest_chunks = chunks.map(|chunks| (sequence, chunks.into()));
                    self.committed(checkpoint.clone(), place);
                    stored.staged.keep();
                    return Ok((checkpoint, uploaded_bytes));
                }
                // An earlier save of this attempt landed late. The slot after it is free.
                Put::Conflict(Sized {
                    record: Record::Commit(late),
                    size_bytes,
                }) if late.epoch == self.epoch => {
                    info!(location = %self.location, sequence, "an earlier save landed late");
                    self.last = sequence;
                    let late = self.checkpoint(sequence, Arc::from(late), size_bytes);
                    self.dead.push(late);
                    self.recount();
                }
                // A fenced attempt deletes nothing: the newer one sweeps.
                Put::Conflict(_) => {
                    warn!(location = %self.location, epoch = self.epoch, "fenced: a newer attempt has claimed the location");
                    self.fenced = true;
                    return Err(Error::fenced());
                }
                // Nobody prunes a record above the last one that its attempt knows.
                Put::Vanished => {
                    let what = format!(
                        "{}: the storage reports that record {sequence} exists, but does not return it",
                        self.location
                    );
                    return Err(Error::new(ErrorKind::Unavailable, what));
                }
                Put::Unknown(error) => return Err(error),
            }
        }
    }

    /// Returns what a commit in this slot retains: itself and the newest of the commits retained
    /// now.
    fn retained_with(&self, sequence: u64, place: Place) -> Vec<u64> {
        let replaced = match place {
            Place::OnTop => 0,
            Place::OfNewest => 1,
        };
        let kept = self.retained.iter().skip(replaced);
        let kept = kept.take(self.most_retained(place) - 1);
        kept.map(|c| c.sequence).chain([sequence]).collect()
    }

    /// Makes the next commit retain what a plan keeps, and give up what it gives up.
    ///
    /// # Errors
    /// `Other` if the log holds other checkpoints than when the plan was made; `Fenced` if that is because a
    /// newer attempt has saved.
    pub(crate) async fn follow(&mut self, plan: &PrunePlan) -> Result<()> {
        self.check_unfenced()?;
        let found: Vec<_> = self.retained.iter().map(|c| c.sequence).collect();
        if found != plan.found {
            let above = slot::list(&self.location).await?;
            for sequence in above.into_iter().rev().take_while(|s| *s > self.last) {
                match slot::read(&self.location, sequence).await {
                    Ok(Some(Record::Claim(_))) => {
                        self.fenced = true;
                        return Err(Error::fenced());
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Corrupt => {}
                    Err(error) => return Err(error),
                }
            }
            let what = format!(
                "{}: the location changed while it was examined, so nothing was pruned; try again",
                self.location
            );
            return Err(Error::new(ErrorKind::Other, what));
        }
        let is_dropped = |c: &mut Checkpoint| !plan.kept.contains(&c.sequence);
        self.dead.extend(self.retained.extract_if(.., is_dropped));
        self.given_up.extend_from_slice(&plan.given_up);
        self.given_up.sort_unstable();
        self.given_up.dedup();
        Ok(())
    }

    /// Deletes the data that no retained commit refers to. Only for an attempt that saves nothing else.
    pub(crate) async fn sweep(&mut self) -> Result<()> {
        let orphans = sweep::find_data(&self.location, self.epoch, &self.retained).await?;
        self.delete(Vec::new(), orphans).await;
        Ok(())
    }

    /// Records that a commit succeeded.
    fn committed(&mut self, checkpoint: Checkpoint, place: Place) {
        self.last = checkpoint.sequence;
        if place == Place::OfNewest && !self.retained.is_empty() {
            self.dead.push(self.retained.remove(0));
        }
        self.retained.insert(0, checkpoint);
        let most = self.most_retained(place);
        if self.retained.len() > most {
            self.dead.extend(self.retained.drain(most..));
        }
        self.recount();
    }

    /// Returns how many checkpoints a commit retains. Pruning has chosen them already.
    fn most_retained(&self, place: Place) -> usize {
        match place {
            Place::OnTop => self.keep,
            Place::OfNewest => MAX_RETAINED,
        }
        .get()
    }

    fn checkpoint(&self, sequence: u64, commit: Arc<Commit>, record_bytes: u64) -> Checkpoint {
        Checkpoint {
            location: self.location.clone(),
            sequence,
            commit,
            record_bytes,
        }
    }

    /// Starts to delete everything that no retained commit needs, after a commit of this attempt
    /// was acknowledged. Deletes records first, so that a reader never finds a record whose data is
    /// gone. The list is computed once; names are never reused, so a deletion may run late, run
    /// twice or fail. Leased checkpoints wait for a later call.
    pub(crate) async fn retire(&mut self) {
        let (leased, dead) = std::mem::take(&mut self.dead)
            .into_iter()
            .partition::<Vec<_>, _>(|c| self.leases.cover(c.sequence));
        let needed: HashSet<_> = self
            .retained
            .iter()
            .chain(&leased)
            .flat_map(objects_of)
            .map(|(name, _)| name)
            .collect();
        let mut data = self.objects.take_decided();
        data.extend(dead.iter().flat_map(objects_of));
        data.retain(|(name, _)| !needed.contains(name));
        self.dead = leased;
        self.recount();
        let records = dead.iter().map(|c| (c.sequence, c.record_bytes));
        let records = records.filter(|(sequence, _)| !self.protected.contains(sequence));
        let records: Vec<_> = records.collect();
        self.delete(records, data).await;
    }

    /// Starts to delete what failed saves left behind and no commit can refer to, so that repeated
    /// failures do not fill the storage.
    pub(crate) async fn discard_unused(&mut self) {
        let unused = self.objects.take_unused();
        self.delete(Vec::new(), unused).await;
    }

    /// Waits for the deletions in flight.
    pub(crate) async fn settle(&mut self) {
        self.deletion.wait().await;
    }

    /// Drops a damaged checkpoint, so that no later commit names it. Data that it shares with other
    /// checkpoints is not deleted while a save in flight may reuse it.
    pub(crate) fn forget(&mut self, damaged: &Checkpoint) {
        self.mark_corrupt();
        let is_damaged = |c: &mut Checkpoint| c.is_same(damaged);
        self.dead.extend(self.retained.extract_if(.., is_damaged));
    }

    /// Records damage. Data that looks whole beside it may not be, so no later save reuses any of
    /// it.
    pub(crate) fn mark_corrupt(&mut self) {
        self.damaged = true;
        self.generation += 1;
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the commits that the newest one retains, newest first.
    pub(crate) fn retained(&self) -> &[Checkpoint] {
        &self.retained
    }

    /// # Errors
    /// `Unavailable` for a save that reuses data when damage was found since the save began.
    fn check_reused(
        &self,
        generation: u64,
        objects: &[ObjectRef],
        staged: &StagedObjects,
    ) -> Result<()> {
        let own = |object: &ObjectRef| staged.holds(object.name());
        if generation == self.generation || objects.iter().all(own) {
            return Ok(());
        }
        Err(Error::reused_corrupt())
    }

    async fn delete(&mut self, records: Vec<(u64, u64)>, data: Vec<SizedObject>) {
        if records.is_empty() && data.is_empty() {
            return;
        }
        let location = self.location.clone();
        debug!(%location, records = records.len(), data_objects = data.len(), "deleting what is no longer kept");
        let prefix = location.prefix();
        let records = records.into_iter();
        let records = records.map(|(sequence, size)| (paths::record(prefix, sequence), size));
        let data = data.into_iter();
        let data = data.map(|(name, size)| (paths::object(prefix, name), size));
        let mut deletion = self.objects.usage().delete(records.chain(data));
        let deleting = async move {
            let mut paths: Vec<_> = deletion.paths().cloned().collect();
            // Records first.
            paths.sort_by_key(|path| paths::parse_record(location.prefix(), path).is_none());
            let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
            let mut deleted = location.store().delete_stream(paths);
            // The next deletion tries again what cannot be deleted now, and the next claim sweeps it.
            while let Some(answer) = deleted.next().await {
                deletion.confirm(answer);
            }
        };
        self.deletion.begin(deleting).await;
    }
}

fn objects_of(checkpoint: &Checkpoint) -> impl Iterator<Item = SizedObject> + Clone + '_ {
    let objects = checkpoint.commit.objects.iter();
    objects.map(|o| (o.name(), o.size_bytes))
}
