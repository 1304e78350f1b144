//! Stores contents: in the commit while they are small, otherwise as chunks in data objects.
//!
//! Threads hash and compress chunks, in order, while others are cut and data objects are uploaded.
//! Each step holds a bounded number of chunks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::blocking::{self, Threads};
use crate::checkpoint::Checkpoint;
use crate::contents::chunks::Chunks;
use crate::contents::cutter;
use crate::contents::dedup::{KnownChunks, StoredChunks};
use crate::contents::lease::Lease;
use crate::contents::list::List;
use crate::contents::objects::StagedObjects;
use crate::contents::packer::{Nodes, Packer};
use crate::contents::prepare::{self, Prepared};
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    Chunk, Commit, Contents, Described, Description, MAX_DESCRIPTION_BYTES, MAX_ENTRIES, ObjectRef,
    Objects, Root, check_chunks, encode_list,
};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::tree::Tree;

/// How many batches are hashed and compressed at once. More threads than this would only wait for
/// the uploads.
const PREPARING: usize = 4;

/// What a save needs from its attempt to store contents while the attempt continues.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) location: OpenLocation,
    pub(crate) limits: Limits,
    pub(crate) staged: StagedObjects,
    /// The checkpoint whose chunks may be reused, and those chunks if they are known.
    pub(crate) reusable: Option<(Checkpoint, Option<Arc<StoredChunks>>)>,
    /// The lease on that checkpoint.
    pub(crate) lease: Lease,
    /// The writer's generation when the stage began.
    pub(crate) generation: u64,
}

/// Contents that are stored, or that the commit will hold. Their tree is not stored yet.
pub(crate) struct Storing {
    contents: Contents,
    packer: Packer,
    environment: Environment,
    limits: Limits,
    generation: u64,
    lease: Lease,
}

/// A checkpoint that is durable, except for its commit.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) description: Described,
    pub(crate) objects: Vec<ObjectRef>,
    /// All chunks that it refers to, if they are known.
    pub(crate) chunks: Option<StoredChunks>,
    pub(crate) uploaded_bytes: u64,
    pub(crate) staged: StagedObjects,
    pub(crate) limits: Limits,
    pub(crate) generation: u64,
    /// Keeps reused data from being deleted before the commit succeeds.
    _lease: Lease,
}

impl Stage {
    /// Stores contents.
    pub(crate) async fn store(self, mut chunks: Chunks<'_>) -> Result<Storing> {
        let environment = self.location.environment().clone();
        let (sizes, threads) = (*environment.sizes(), environment.threads());
        let first = chunks.next_batch().await?;
        let first_bytes: usize = first.iter().map(Bytes::len).sum();
        // A batch that is followed by another is longer than this.
        let least_bytes = sizes.batch_at(0) - sizes.chunks.max;
        if first_bytes <= sizes.inline && first_bytes < least_bytes {
            // Copied, because the commit may stay in memory for long, and the chunks keep a larger buffer alive.
            let contents = first.concat().into();
            return Ok(self.begin(Contents::Inline(contents), Arc::default()));
        }
        let known = self.known().await?;
        let mut storing = self.begin(Contents::Chunks(Vec::new()), known.clone());
        let rest = stream::try_unfold(chunks, async |mut chunks| {
            let batch = chunks.next_batch().await?;
            Ok((!batch.is_empty()).then_some((batch, chunks)))
        });
        let limits = storing.limits;
        let mut size_bytes: u64 = 0;
        let mut prepared = stream::iter([Ok(first)])
            .chain(rest)
            .and_then(|batch: Vec<Bytes>| {
                let batch_bytes: usize = batch.iter().map(Bytes::len).sum();
                size_bytes = size_bytes.saturating_add(batch_bytes as u64);
                std::future::ready(limits.check_size(size_bytes).map(|()| batch))
            })
            .map_ok(|batch| prepare(threads, batch, known.clone(), sizes.block))
            .try_buffered(PREPARING)
            .boxed();
        let mut list = List::default();
        let packed = async {
            while let Some(batch) = prepared.try_next().await? {
                storing.packer.add(batch, &mut list).await?;
            }
            let chunks = list.chunks_mut();
            storing.packer.settle_list(chunks, Nodes::Expected).await
        };
        let packed = packed.await;
        drop(prepared);
        storing.contents = Contents::Chunks(list.into_chunks());
        match packed {
            Ok(()) => Ok(storing),
            Err(error) => Err(storing.abandon(error).await),
        }
    }

    /// Returns a checkpoint that is stored already: the one that the stage may reuse.
    pub(crate) fn again(self, commit: &Commit) -> Stored {
        Stored {
            description: commit.description.clone(),
            objects: commit.objects.clone(),
            chunks: None,
            uploaded_bytes: 0,
            staged: self.staged,
            limits: self.limits,
            generation: self.generation,
            _lease: self.lease,
        }
    }

    fn begin(self, contents: Contents, known: Arc<KnownChunks>) -> Storing {
        let environment = self.location.environment().clone();
        Storing {
            contents,
            packer: Packer::new(self.location, self.staged, self.limits, known),
            environment,
            limits: self.limits,
            generation: self.generation,
            lease: self.lease,
        }
    }

    /// Returns the chunks that may be reused.
    async fn known(&self) -> Result<Arc<KnownChunks>> {
        let Some((checkpoint, chunks)) = &self.reusable else {
            return Ok(Arc::default());
        };
        let chunks = match chunks {
            Some(chunks) => chunks.clone(),
            None => {
                let mut nodes = Vec::new();
                let description = checkpoint.load(&mut nodes).await?;
                let chunks = [description.contents.chunks(), &nodes].concat();
                Arc::new(StoredChunks::new(chunks, nodes.len()))
            }
        };
        let commit = checkpoint.commit.clone();
        let known = blocking::run(self.location.threads(), move || {
            KnownChunks::of(&commit, chunks)
        });
        Ok(Arc::new(known.await?))
    }
}

impl Storing {
    /// Returns the size of the contents.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.contents.size_bytes()
    }

    /// Stores the description of a tree with these contents, unless the commit can hold it, and waits until everything
    /// is durable.
    pub(crate) async fn describe(mut self, tree: Tree) -> Result<Stored> {
        let contents = std::mem::replace(&mut self.contents, Contents::Inline(Bytes::new()));
        let described = self.store_description(Description { tree, contents }).await;
        let (description, objects, chunks) = match described {
            Ok(described) => described,
            Err(error) => return Err(self.abandon(error).await),
        };
        let (uploaded_bytes, staged) = self.packer.into_parts();
        Ok(Stored {
            description,
            objects,
            chunks: Some(chunks),
            uploaded_bytes,
            staged,
            limits: self.limits,
            generation: self.generation,
            _lease: self.lease,
        })
    }

    async fn store_description(
        &mut self,
        mut description: Description,
    ) -> Result<(Described, Vec<ObjectRef>, StoredChunks)> {
        self.limits.check_tree(&description.tree)?;
        // Readers would treat such a commit as damaged, so it must never be made.
        if description.tree.size_bytes() != Some(description.contents.size_bytes()) {
            let what = "the stored contents differ in length from the files";
            return Err(Error::new(ErrorKind::Other, what));
        }
        let (mut root, mut lists) = self.store_lists(&description).await?;
        let all = |lists: &[Vec<Chunk>], description: &Description| {
            let contents = description.contents.chunks().iter();
            contents.chain(lists.iter().flatten()).copied().collect()
        };
        let mut chunks: Vec<Chunk> = all(&lists, &description);
        if self.packer.relied_in_vain(&chunks) {
            if let Contents::Chunks(list) = &mut description.contents {
                self.packer.settle_list(list, Nodes::Apart).await?;
            }
            (root, lists) = self.store_lists(&description).await?;
            chunks = all(&lists, &description);
        }
        let objects = self.packer.finish(&chunks).await?;
        let sizes: Objects = objects.iter().map(|o| (o.name(), o.size_bytes)).collect();
        // Other writers' chunks are valid one by one. Readers would treat some ways of combining them as damage.
        for list in [description.contents.chunks()]
            .into_iter()
            .chain(lists.iter().map(Vec::as_slice))
        {
            check_chunks(&sizes, list)?;
        }
        let nodes = lists.iter().map(Vec::len).sum();
        let stored = StoredChunks::new(chunks, nodes);
        let described = match root {
            None => Described::Here(description.into()),
            Some(root) => Described::Stored {
                root,
                inline: match description.contents {
                    Contents::Inline(bytes) => Some(bytes),
                    Contents::Chunks(_) => None,
                },
            },
        };
        Ok((described, objects, stored))
    }

    /// Stores a description as nodes, unless the commit can hold it. Returns its root, and all lists of nodes.
    async fn store_lists(
        &mut self,
        description: &Description,
    ) -> Result<(Option<Root>, Vec<Vec<Chunk>>)> {
        let most = self.environment.sizes().root;
        let (mut root, mut bytes) = description.encode();
        let mut lists = Vec::new();
        if bytes.len() <= most {
            return Ok((None, lists));
        }
        check_description(bytes.len(), description.tree.len())?;
        while lists.is_empty() || bytes.len() > most {
            root.nodes = self.store_nodes(bytes).await?;
            root.levels += 1;
            bytes = encode_list(&root.nodes);
            lists.push(root.nodes.clone());
        }
        Ok((Some(root), lists))
    }

    /// Cuts a description, or a list of nodes, and stores the pieces.
    async fn store_nodes(&mut self, bytes: Vec<u8>) -> Result<Vec<Chunk>> {
        let (sizes, threads) = (*self.environment.sizes(), self.environment.threads());
        let (mut rest, mut list) = (Bytes::from(bytes), List::default());
        while !rest.is_empty() {
            let known = self.packer.known().clone();
            let batch = blocking::run(threads, move || {
                let (mut nodes, mut taken) = (Vec::new(), 0);
                while taken < sizes.batch
                    && let Some(node) = cutter::next_piece(&mut rest, sizes.nodes)
                {
                    taken += node.len();
                    nodes.push(node);
                }
                // Each is compressed alone, so that it can be read alone.
                (prepare::prepare(nodes, &known, 0), rest)
            });
            let (batch, left) = batch.await?;
            rest = left;
            self.packer.add(batch, &mut list).await?;
        }
        let mut nodes = list.into_chunks();
        self.packer.settle_list(&mut nodes, Nodes::Apart).await?;
        self.packer.remember(&nodes);
        Ok(nodes)
    }

    /// Ends storing because of an error, which it returns. Waits for the uploads in flight, which would land after their
    /// deletion.
    pub(crate) async fn abandon(mut self, error: Error) -> Error {
        self.packer.settle().await;
        error
    }
}

/// # Errors
/// `QuotaExceeded` if readers would not read such a description.
fn check_description(size_bytes: usize, entries: usize) -> Result<()> {
    let (size_bytes, entries) = (size_bytes as u64, entries as u64);
    let what = if size_bytes > MAX_DESCRIPTION_BYTES {
        format!("take {size_bytes} bytes to describe, more than the {MAX_DESCRIPTION_BYTES}")
    } else if entries > MAX_ENTRIES {
        format!("and directories are {entries}, more than the {MAX_ENTRIES}")
    } else {
        return Ok(());
    };
    let what = format!("the files of the checkpoint {what} that a checkpoint may have; save fewer");
    Err(Error::new(ErrorKind::QuotaExceeded, what))
}

fn prepare(
    threads: Threads,
    batch: Vec<Bytes>,
    known: Arc<KnownChunks>,
    block_bytes: usize,
) -> impl Future<Output = Result<Vec<Prepared>>> + Send + 'static {
    blocking::run(threads, move || {
        prepare::prepare(batch, &known, block_bytes)
    })
}
