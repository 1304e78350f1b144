//! A save of contents in memory, or of a tree.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attempt, Saved};
use crate::save::Stage;
use crate::source::{Chunks, TreeChunks};
use crate::writer::Draft;
use crate::{ErrorKind, FileTree, Labels, Result, Tree, blocking};

/// A save that is made when it is awaited.
#[must_use = "a save is made when it is awaited"]
pub struct Save<'a> {
    attempt: &'a Attempt,
    source: Source<'a>,
    labels: Labels,
}

enum Source<'a> {
    Contents(Bytes),
    Lent(&'a [u8]),
    Tree(Arc<dyn FileTree>),
}

impl<'a> Save<'a> {
    pub(super) fn of_contents(attempt: &'a Attempt, contents: Bytes) -> Self {
        Self {
            attempt,
            source: Source::Contents(contents),
            labels: Labels::default(),
        }
    }

    pub(super) fn of_lent(attempt: &'a Attempt, contents: &'a [u8]) -> Self {
        Self {
            attempt,
            source: Source::Lent(contents),
            labels: Labels::default(),
        }
    }

    pub(super) fn of_tree(attempt: &'a Attempt, source: Arc<dyn FileTree>) -> Self {
        Self {
            attempt,
            source: Source::Tree(source),
            labels: Labels::default(),
        }
    }

    /// What the task says about the checkpoint. Default nothing.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    async fn make(mut self) -> Result<Saved> {
        match self.try_once().await {
            // What it would have reused is damaged: all is stored anew.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.attempt.distrust(error).await?;
                self.try_once().await
            }
            saved => saved,
        }
    }

    async fn try_once(&mut self) -> Result<Saved> {
        let stage = self.attempt.stage(&self.labels).await?;
        let (tree, stored) = match &self.source {
            Source::Contents(contents) => {
                let tree = single_file(&stage, contents.len())?;
                (tree, stage.store(Chunks::Whole(contents.clone())).await?)
            }
            Source::Lent(contents) => {
                let tree = single_file(&stage, contents.len())?;
                (tree, stage.store(Chunks::Lent(contents)).await?)
            }
            Source::Tree(source) => {
                let (source, limits) = (source.clone(), stage.limits);
                let reader = blocking::run(move || source.reader(&limits)).await??;
                let mut chunks = TreeChunks::new(reader);
                let stored = stage.store(Chunks::Tree(&mut chunks)).await?;
                (chunks.finish().await?, stored)
            }
        };
        let draft = Draft {
            saved_at: SystemTime::now(),
            tree,
            labels: self.labels.clone(),
        };
        self.attempt.commit(draft, stored).await
    }
}

fn single_file(stage: &Stage, size: usize) -> Result<Tree> {
    stage.limits.check_size(size as u64)?;
    Ok(Tree::single_file(size as u64, SystemTime::now()))
}

impl<'a> IntoFuture for Save<'a> {
    type Output = Result<Saved>;
    type IntoFuture = BoxFuture<'a, Result<Saved>>;

    fn into_future(self) -> Self::IntoFuture {
        self.make().boxed()
    }
}
