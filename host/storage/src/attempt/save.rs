//! Saves of contents in memory and of trees.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Attempt;
use super::saved::Saved;
use crate::attempt::log_writer::Draft;
use crate::blocking;
use crate::contents::chunks::{Chunks, TreeChunks};
use crate::contents::stage::Stage;
use crate::error::{ErrorKind, Result};
use crate::limits::SaveRate;
use crate::metadata::Metadata;
use crate::tree::Tree;
use crate::tree::walk::TreeSource;

/// A save, which runs when it is awaited.
#[must_use = "a save runs only when it is awaited"]
pub struct Save<'a> {
    attempt: &'a Attempt,
    source: Source<'a>,
    metadata: Metadata,
    admission: Option<Admission>,
}

enum Source<'a> {
    Contents(Bytes),
    Borrowed(&'a [u8]),
    Tree(Arc<dyn TreeSource>),
}

impl fmt::Debug for Save<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = &self.metadata;
        let mut save = f.debug_struct("Save");
        save.field("metadata", metadata).finish_non_exhaustive()
    }
}

impl<'a> Save<'a> {
    pub(super) fn of_contents(attempt: &'a Attempt, contents: Bytes) -> Self {
        Self {
            attempt,
            source: Source::Contents(contents),
            metadata: Metadata::default(),
            admission: None,
        }
    }

    pub(super) fn of_borrowed(attempt: &'a Attempt, contents: &'a [u8]) -> Self {
        Self {
            attempt,
            source: Source::Borrowed(contents),
            metadata: Metadata::default(),
            admission: None,
        }
    }

    pub(super) fn of_tree(attempt: &'a Attempt, source: Arc<dyn TreeSource>) -> Self {
        Self {
            attempt,
            source: Source::Tree(source),
            metadata: Metadata::default(),
            admission: None,
        }
    }

    /// Sets the task's metadata for the checkpoint. Default empty.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Uses a save that was [admitted](Attempt::admit) before its contents were copied, so that it is not
    /// counted again.
    pub fn admitted(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    async fn make(mut self) -> Result<Saved> {
        match self.admission.take() {
            Some(admission) => admission,
            None => self.attempt.admit(&self.metadata)?,
        }
        .used();
        let saved = match self.try_once().await {
            // The data to be reused is damaged: store everything again.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.attempt.mark_corrupt(error).await?;
                self.try_once().await
            }
            saved => saved,
        };
        if let Err(error) = &saved {
            self.attempt.make_room_after(error).await;
        }
        saved
    }

    async fn try_once(&mut self) -> Result<Saved> {
        let stage = self.attempt.stage().await?;
        let stored = match &self.source {
            Source::Contents(contents) => {
                let tree = single_file(self.attempt, &stage, contents.len())?;
                let sizes = *stage.location.environment().sizes();
                let chunks = Chunks::whole(contents.clone(), &sizes);
                let storing = stage.store(chunks).await?;
                storing.describe(tree).await?
            }
            Source::Borrowed(contents) => {
                let tree = single_file(self.attempt, &stage, contents.len())?;
                let sizes = *stage.location.environment().sizes();
                let storing = stage.store(Chunks::borrowed(contents, &sizes)).await?;
                storing.describe(tree).await?
            }
            Source::Tree(source) => {
                let call = self.attempt.begin_work();
                let (source, limits, cancel) = (source.clone(), stage.limits, call.token());
                let reader = blocking::run(stage.location.threads(), move || {
                    cancel.check()?;
                    source.reader(&limits, &cancel)
                });
                let environment = stage.location.environment();
                let mut chunks = TreeChunks::new(reader.await??, environment, call.token());
                let storing = stage.store(Chunks::tree(&mut chunks)).await?;
                let tree = match chunks.finish().await {
                    Ok(tree) => tree,
                    Err(error) => return Err(storing.abandon(error).await),
                };
                storing.describe(tree).await?
            }
        };
        let draft = Draft {
            saved_at: self.attempt.now(),
            metadata: self.metadata.clone(),
        };
        self.attempt.commit(draft, stored).await
    }
}

/// Permission for one save, counted against [`saves_per_minute`](crate::Limits::saves_per_minute). It is
/// given back if no save is begun with it.
#[derive(Debug)]
#[must_use = "an admission that is dropped is given back"]
pub struct Admission(Option<Arc<Mutex<SaveRate>>>);

impl Admission {
    pub(super) fn used(mut self) {
        self.0 = None;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(rate) = &self.0 {
            rate.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .give_back();
        }
    }
}

fn single_file(attempt: &Attempt, stage: &Stage, size: usize) -> Result<Tree> {
    stage.limits.check_size(size as u64)?;
    Ok(Tree::single_file(size as u64, attempt.now()))
}

impl Attempt {
    /// Checks whether a save with this metadata may begin now, and counts it against the rate. Every save
    /// does this itself; call it only to find out before copying the contents of a save. Does not wait
    /// for a save in flight.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if the metadata is too large or the rate is exceeded.
    pub fn admit(&self, metadata: &Metadata) -> Result<Admission> {
        self.limits.check_metadata(metadata)?;
        let now = self.location.environment().clock().instant();
        let rate = self.rate.clone();
        rate.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count(now)?;
        Ok(Admission(Some(rate)))
    }

    /// Replaces the checkpoint with one unnamed file with these contents.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`], [`ErrorKind::Unavailable`] or [`ErrorKind::ReadOnly`], see
    /// [`Attempt`]; [`ErrorKind::QuotaExceeded`], see [`Limits`](crate::Limits).
    pub fn write(&self, contents: Bytes) -> Save<'_> {
        Save::of_contents(self, contents)
    }

    /// Like [`write`](Self::write), but borrows contents that other threads may not hold, such as
    /// the memory of a guest. Copies a few chunks at a time, so the save takes no more memory than
    /// a stream.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_borrowed<'a>(&'a self, contents: &'a [u8]) -> Save<'a> {
        Save::of_borrowed(self, contents)
    }

    /// Replaces the checkpoint with the file or directory `source`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write), of [`TreeSource::reader`] and of the reader it returns.
    pub fn save(&self, source: impl TreeSource) -> Save<'_> {
        Save::of_tree(self, Arc::new(source))
    }
}

impl<'a> IntoFuture for Save<'a> {
    type Output = Result<Saved>;
    type IntoFuture = BoxFuture<'a, Result<Saved>>;

    fn into_future(self) -> Self::IntoFuture {
        self.make().boxed()
    }
}
