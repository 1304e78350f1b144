//! An attempt: the owner of a location until a newer one claims it.

use std::num::NonZeroUsize;
use std::sync::{Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::checkpoint::{Checkpoint, CheckpointInfo};
use crate::claim::{self, Claimed};
use crate::format::Commit;
use crate::history::Damage;
use crate::pipe::Chunks;
use crate::save::{Stored, store_contents};
use crate::writer::Writer;
use crate::{
    Error, ErrorKind, Existing, FileTree, Location, Result, Tree, blocking, log, pipe, restore,
};

/// How many checkpoints are kept unless told otherwise: the newest, one to fall back to, and one
/// more for the case that both were saved by a task that was already failing.
const DEFAULT_KEEP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// What an attempt is told when it begins.
#[derive(Clone, Debug)]
pub struct AttemptSettings {
    pub(crate) number: u32,
    pub(crate) component: Option<[u8; 32]>,
    pub(crate) previous: Option<Location>,
    pub(crate) keep: NonZeroUsize,
}

impl Default for AttemptSettings {
    fn default() -> Self {
        Self {
            number: 0,
            component: None,
            previous: None,
            keep: DEFAULT_KEEP,
        }
    }
}

impl AttemptSettings {
    /// The number of the attempt, counted from 0. It is written into claims and commits for people;
    /// nothing relies on it. Default 0.
    pub fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// The BLAKE3 digest of the component that runs, which is written into the claim. Default none.
    pub fn component(mut self, digest: [u8; 32]) -> Self {
        self.component = Some(digest);
        self
    }

    /// An earlier attempt's location, where that is another one. It is written into the claim, so
    /// that later attempts look through this one even if it dies before its first save. Default none.
    pub fn previous(mut self, previous: Location) -> Self {
        self.previous = Some(previous);
        self
    }

    /// How many checkpoints are kept. Older ones are deleted after a save. Default 3.
    pub fn keep(mut self, keep: NonZeroUsize) -> Self {
        self.keep = keep;
        self
    }
}

/// What an attempt goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// Nothing: no earlier attempt has committed a checkpoint.
    Fresh,
    /// The newest checkpoint of the earlier attempts.
    Resumed(CheckpointInfo),
    /// An older checkpoint, because what is newer is damaged.
    FellBack {
        /// What this attempt goes on from.
        checkpoint: CheckpointInfo,
        /// The position of the newest damaged record that was passed over.
        damaged: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a save did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The checkpoint's position in the log.
    pub sequence: u64,
    /// The size of the checkpoint's contents.
    pub logical_bytes: u64,
    /// What went to the storage for it, the record included.
    pub uploaded_bytes: u64,
}

/// What an attempt has committed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of saves.
    pub saves: u64,
    /// The size of their contents, all saves added up.
    pub logical_bytes: u64,
    /// What went to the storage for them, records included.
    pub uploaded_bytes: u64,
}

/// One run of a task, which owns its location until a newer attempt begins.
///
/// The calls of one attempt take effect one after the other, from however many threads they come.
/// A save is atomic: it is committed as a whole when it returns `Ok`. A save that fails with
/// [`ErrorKind::Unavailable`] may still take effect later, as a whole, but never over a later save
/// of this attempt or over anything of a newer one. A save that is dropped half-way counts as such.
#[derive(Debug)]
pub struct Attempt {
    location: Location,
    state: Mutex<State>,
    totals: SyncMutex<Totals>,
}

#[derive(Debug)]
struct State {
    writer: Writer,
    /// What this attempt found when it began, newest first, without what turned out damaged since.
    found: Vec<Checkpoint>,
    /// Damage above the first of `found`, newest first.
    damaged: Vec<Damage>,
    /// The newest save of this attempt.
    own: Option<Checkpoint>,
}

impl Attempt {
    /// Claims the location, which fences every earlier attempt, and finds what there is to go on from.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage, or that of a previous location that is needed, cannot
    /// be reached; [`ErrorKind::ReadOnly`] if it may not be written; [`ErrorKind::InvalidLocation`] if
    /// it cannot put an object only where none is. Damage is no error here: the calls report it.
    pub async fn begin(location: Location, settings: AttemptSettings) -> Result<Self> {
        let Claimed {
            epoch,
            own,
            damaged,
            history,
        } = claim::claim(&location, &settings).await?;
        let writer = Writer::new(
            location.clone(),
            epoch,
            &settings,
            own,
            &history.sequences,
            damaged,
        );
        Ok(Self {
            location,
            state: Mutex::new(State {
                writer,
                found: history.checkpoints,
                damaged: history.damaged,
                own: None,
            }),
            totals: SyncMutex::default(),
        })
    }

    /// The location that this attempt has claimed.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What this attempt goes on from. Its own saves do not change the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are checkpoints but each of them is damaged.
    pub async fn resume_point(&self) -> Result<ResumePoint> {
        let state = self.state.lock().await;
        match (state.found.first(), state.damaged.first()) {
            (None, None) => Ok(ResumePoint::Fresh),
            (None, Some(damage)) => Err(damage.error()),
            (Some(checkpoint), None) => Ok(ResumePoint::Resumed(checkpoint.info())),
            (Some(checkpoint), Some(damage)) => Ok(ResumePoint::FellBack {
                checkpoint: checkpoint.info(),
                damaged: damage.sequence,
                reason: damage.reason.clone(),
            }),
        }
    }

    /// Whether there is a checkpoint that [`read`](Self::read) or [`restore`](Self::restore) would give.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are checkpoints but each of them is damaged.
    pub async fn prev_exists(&self) -> Result<bool> {
        Ok(self.state.lock().await.newest()?.is_some())
    }

    /// The contents of the only file of this attempt's newest save, else of the newest checkpoint
    /// that earlier attempts left. `None` if there is no checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::NotSingle`] if it does not hold exactly one file; [`ErrorKind::Corrupt`] if every
    /// checkpoint is damaged; [`ErrorKind::Unavailable`]; [`ErrorKind::Fenced`] if the checkpoint is
    /// gone because a newer attempt has replaced it.
    pub async fn read(&self) -> Result<Option<Bytes>> {
        let mut state = self.state.lock().await;
        while let Some(checkpoint) = state.newest()? {
            match checkpoint.read_single().await {
                Ok(contents) => return Ok(Some(contents)),
                Err(error) => state.pass_over(&checkpoint, error).await?,
            }
        }
        Ok(None)
    }

    /// Replaces the checkpoint by one unnamed file with these contents.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`], [`ErrorKind::Unavailable`] or [`ErrorKind::ReadOnly`]; see [`Attempt`].
    pub async fn write(&self, contents: Bytes) -> Result<Saved> {
        let mut state = self.state.lock().await;
        let now = SystemTime::now();
        let tree = Tree::single_file(contents.len() as u64, now);
        let stored = store_contents(&mut state.writer, Chunks::whole(contents)).await?;
        self.commit(&mut state, tree, stored, now).await
    }

    /// Replaces the checkpoint by the file or directory that `source` is.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) and of [`FileTree::read`].
    pub async fn save(&self, source: impl FileTree) -> Result<Saved> {
        let mut state = self.state.lock().await;
        let (mut sink, chunks) = pipe::pipe();
        let reading = async {
            blocking::run(move || {
                let tree = source.read(&mut sink)?;
                sink.finish()?;
                Ok(tree)
            })
            .await?
        };
        let storing = store_contents(&mut state.writer, chunks);
        let (tree, stored) = pipe::both(reading, storing).await;
        // A storage that fails breaks the pipe, so its error is the cause of the source's.
        let stored = stored?;
        self.commit(&mut state, tree?, stored, SystemTime::now())
            .await
    }

    /// Makes `target` equal to the checkpoint that [`read`](Self::read) would give, whatever its
    /// number of files, and returns its sequence number. `None`, and an untouched target, if there is
    /// no checkpoint. A target that equals the checkpoint already is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the target has other content and `existing` says to refuse; else
    /// those of [`read`](Self::read) and of [`FileTree::write`].
    pub async fn restore(&self, target: impl FileTree, existing: Existing) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let Some(mut checkpoint) = state.newest()? else {
            return Ok(None);
        };
        let prepared = restore::prepare(target, &checkpoint, existing).await?;
        let Some((mut target, mut target_state)) = prepared else {
            return Ok(Some(checkpoint.sequence));
        };
        loop {
            let written;
            (target, written) = restore::write(target, target_state, &checkpoint).await?;
            match written {
                Ok(()) => return Ok(Some(checkpoint.sequence)),
                Err(error) => state.pass_over(&checkpoint, error).await?,
            }
            match state.newest()? {
                Some(older) => checkpoint = older,
                None => return Ok(None),
            }
            (target, target_state) = restore::state_of(target).await?;
        }
    }

    /// Commits the newest checkpoint of the location once more, without storing it again, and retires
    /// all but the newest [`keep`](AttemptSettings::keep). So an operator prunes a location whose task
    /// is not running. Returns the new position of the newest checkpoint; `None` if there is none.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub async fn prune(&self) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let Some(newest) = state.writer.take_newest() else {
            return Ok(None);
        };
        let Commit {
            saved_at,
            tree,
            contents,
            ..
        } = newest.commit.as_ref().clone();
        let stored = Stored {
            contents,
            uploaded_bytes: 0,
        };
        let (checkpoint, _) = state.writer.commit(tree, stored, saved_at).await?;
        let sequence = checkpoint.sequence;
        state.own = Some(checkpoint);
        state.writer.retire().await;
        Ok(Some(sequence))
    }

    /// What this attempt has committed so far.
    pub fn totals(&self) -> Totals {
        *self.lock_totals()
    }

    async fn commit(
        &self,
        state: &mut State,
        tree: Tree,
        stored: Stored,
        now: SystemTime,
    ) -> Result<Saved> {
        let logical_bytes = tree.size_bytes().unwrap_or(u64::MAX);
        // A reader would take such a commit for damaged, so it must never be made.
        if stored.contents.size_bytes() != logical_bytes {
            let what = "the contents that were stored are not as long as the files";
            return Err(Error::new(ErrorKind::Other, what));
        }
        let (checkpoint, uploaded_bytes) = state.writer.commit(tree, stored, now).await?;
        let sequence = checkpoint.sequence;
        state.own = Some(checkpoint);
        state.writer.retire().await;
        let mut totals = self.lock_totals();
        totals.saves += 1;
        totals.logical_bytes = totals.logical_bytes.saturating_add(logical_bytes);
        totals.uploaded_bytes = totals.uploaded_bytes.saturating_add(uploaded_bytes);
        Ok(Saved {
            sequence,
            logical_bytes,
            uploaded_bytes,
        })
    }

    // A std mutex, because it is never held across an await.
    fn lock_totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The checkpoint that a read gives now.
    fn newest(&self) -> Result<Option<Checkpoint>> {
        match (&self.own, self.found.first(), self.damaged.first()) {
            (Some(checkpoint), _, _) | (None, Some(checkpoint), _) => Ok(Some(checkpoint.clone())),
            (None, None, None) => Ok(None),
            (None, None, Some(damage)) => Err(damage.error()),
        }
    }

    /// Takes note that `checkpoint` turned out damaged. Passes on any other error.
    async fn pass_over(&mut self, checkpoint: &Checkpoint, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        // A newer attempt prunes what it no longer needs, which is no damage.
        let newest = log::list(self.writer.location()).await?.pop();
        if newest > Some(self.writer.last_sequence()) {
            return Err(Error::fenced().with_source(error));
        }
        let damage = Damage::new(checkpoint.sequence, &error);
        let lost = |c: &Checkpoint| {
            c.sequence == checkpoint.sequence && c.location.url() == checkpoint.location.url()
        };
        if self.own.take_if(|own| lost(own)).is_some() {
            // An own save that is damaged already: report it rather than go back in time unseen.
            self.damaged.insert(0, damage);
            return Err(error);
        }
        self.found.retain(|c| !lost(c));
        self.writer.forget(checkpoint);
        self.damaged.insert(0, damage);
        Ok(())
    }
}
