//! Saves of contents in memory and of trees.

use std::fmt;
use std::sync::Arc;

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
use crate::metadata::Metadata;
use crate::tree::Tree;
use crate::tree::walk::TreeSource;

/// A save, which runs when it is awaited.
#[must_use = "a save runs only when it is awaited"]
pub struct Save<'a> {
    attempt: &'a Attempt,
    source: Source<'a>,
    metadata: Metadata,
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
        }
    }

    pub(super) fn of_borrowed(attempt: &'a Attempt, contents: &'a [u8]) -> Self {
        Self {
            attempt,
            source: Source::Borrowed(contents),
            metadata: Metadata::default(),
        }
    }

    pub(super) fn of_tree(attempt: &'a Attempt, source: Arc<dyn TreeSource>) -> Self {
        Self {
            attempt,
            source: Source::Tree(source),
            metadata: Metadata::default(),
        }
    }

    /// Sets the task's metadata for the checkpoint. Default empty.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    async fn make(mut self) -> Result<Saved> {
        match self.try_once().await {
            // The data to be reused is damaged: store everything again.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.attempt.mark_corrupt(error).await?;
                self.try_once().await
            }
            saved => saved,
        }
    }

    async fn try_once(&mut self) -> Result<Saved> {
        let stage = self.attempt.stage(&self.metadata).await?;
        let (tree, stored) = match &self.source {
            Source::Contents(contents) => {
                let tree = single_file(self.attempt, &stage, contents.len())?;
                (tree, stage.store(Chunks::Whole(contents.clone())).await?)
            }
            Source::Borrowed(contents) => {
                let tree = single_file(self.attempt, &stage, contents.len())?;
                (tree, stage.store(Chunks::Borrowed(contents)).await?)
            }
            Source::Tree(source) => {
                let (source, limits) = (source.clone(), stage.limits);
                let reader =
                    blocking::run(stage.location.threads(), move || source.reader(&limits))
                        .await??;
                let mut chunks = TreeChunks::new(reader, stage.location.environment());
                let stored = stage.store(Chunks::Tree(&mut chunks)).await?;
                (chunks.finish().await?, stored)
            }
        };
        let draft = Draft {
            saved_at: self.attempt.now(),
            tree,
            metadata: self.metadata.clone(),
        };
        self.attempt.commit(draft, stored).await
    }
}

fn single_file(attempt: &Attempt, stage: &Stage, size: usize) -> Result<Tree> {
    stage.limits.check_size(size as u64)?;
    Ok(Tree::single_file(size as u64, attempt.now()))
}

impl Attempt {
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
