//! Packs chunks into data objects and uploads them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use crate::contents::codec::Packed;
use crate::contents::dedup::KnownChunks;
use crate::contents::list::List;
use crate::contents::objects::StagedObjects;
use crate::contents::prepare::{Prepared, detach, prepare};
use crate::contents::read;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Block, Chunk, ObjectName, ObjectRef, blocks, pack};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// The number of data objects in memory: those being uploaded, and the one being filled.
const UPLOADS: usize = 4;

/// How many data objects may be less than half full. Beyond that, the smallest of them are merged: a commit lists every
/// data object that it needs, and restoring reads each of them.
const SMALL_OBJECTS: usize = 64;

/// How many small data objects are merged at a time. What is merged is not small any more, or is merged again with as
/// many others, so a byte is copied a few times at the most.
const MERGED_OBJECTS: usize = 32;

/// The contents of one checkpoint while they are being stored. At most [`UPLOADS`] data objects are in memory.
pub(crate) struct Packer {
    location: OpenLocation,
    staged: StagedObjects,
    limits: Limits,
    known: Arc<KnownChunks>,
    /// The nodes that this save has stored, by their hashes.
    nodes: HashMap<[u8; 32], Chunk>,
    /// The data objects of this save, with their sizes once they are sealed.
    own: BTreeMap<ObjectName, u64>,
    /// Other data objects that this save refers to.
    reused: BTreeMap<ObjectName, u64>,
    /// Those of them that are less than half alive, unless the nodes that they hold are reused too.
    relying: BTreeSet<ObjectName>,
    open: Option<Open>,
    uploads: JoinSet<Result<()>>,
    uploaded_bytes: u64,
}

/// Whether the nodes in a data object count when it is decided whether chunks of contents are left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nodes {
    /// Most nodes do not change, so those of the newest commit are expected to be reused.
    Expected,
    Apart,
}

/// A data object that is not full.
struct Open {
    name: ObjectName,
    parts: Vec<Bytes>,
    stored: Vec<pack::StoredChunk>,
    size_bytes: u64,
}

impl Packer {
    pub(crate) fn new(
        location: OpenLocation,
        staged: StagedObjects,
        limits: Limits,
        known: Arc<KnownChunks>,
    ) -> Self {
        Self {
            location,
            staged,
            limits,
            known,
            nodes: HashMap::new(),
            own: BTreeMap::new(),
            reused: BTreeMap::new(),
            relying: BTreeSet::new(),
            open: None,
            uploads: JoinSet::new(),
            uploaded_bytes: 0,
        }
    }

    pub(crate) fn known(&self) -> &Arc<KnownChunks> {
        &self.known
    }

    /// Stores the chunks of a batch, and adds them to `list`.
    pub(crate) async fn add(&mut self, mut batch: Vec<Prepared>, list: &mut List) -> Result<()> {
        let is_stored = |prepared: &Prepared| match prepared {
            Prepared::New(packed) => packed
                .chunks
                .iter()
                .all(|c| self.find(&c.0, list).is_some()),
            Prepared::Known(_) | Prepared::Repeated(_) => false,
        };
        // Threads prepare several batches at once, so they do not know the chunks of the others.
        if batch.iter().any(is_stored) {
            detach(&mut batch);
        }
        for prepared in batch {
            self.add_one(prepared, list).await?;
        }
        Ok(())
    }

    async fn add_one(&mut self, prepared: Prepared, list: &mut List) -> Result<()> {
        match prepared {
            Prepared::Known(chunk) => list.push(chunk),
            Prepared::Repeated(hash) => match self.find(&hash, list) {
                Some(chunk) => list.push(chunk),
                None => return Err(Error::new(ErrorKind::Other, "a chunk repeats none")),
            },
            Prepared::New(packed) => {
                let stored = packed.chunks.iter();
                let stored: Option<Vec<_>> =
                    stored.map(|(hash, _)| self.find(hash, list)).collect();
                match stored {
                    Some(chunks) => chunks.into_iter().for_each(|chunk| list.push(chunk)),
                    None => self.append(packed, list).await?,
                }
            }
        }
        Ok(())
    }

    /// Returns a chunk of this list that this save has stored, or a node.
    fn find(&self, hash: &[u8; 32], list: &List) -> Option<Chunk> {
        list.find(hash).or_else(|| self.nodes.get(hash).copied())
    }

    /// Lets the lists of nodes that follow refer to the nodes of this one that were stored.
    pub(crate) fn remember(&mut self, nodes: &[Chunk]) {
        let own = &self.own;
        let stored = nodes.iter().filter(|n| own.contains_key(&n.block.object));
        self.nodes.extend(stored.map(|node| (node.hash, *node)));
    }

    /// Decides which of the data objects that a list refers to the commit will need. Copies the chunks of the others to
    /// new ones:
    ///
    /// - of mostly dead objects. At least half of every object that a commit refers to is therefore used by that commit
    ///   alone, and a location never holds more than twice what its checkpoints need.
    /// - of small objects, if there are many.
    ///
    /// Call it for each list, when it is complete: first for the contents, then for each list of nodes.
    pub(crate) async fn settle_list(&mut self, list: &mut [Chunk], nodes: Nodes) -> Result<()> {
        let left = self.objects_to_leave(list, nodes)?;
        if left.is_empty() {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let moving = list.iter().filter(|c| left.contains(&c.block.object));
        let moving: Vec<Chunk> = moving.filter(|c| seen.insert(**c)).copied().collect();
        let moved = self.copy(&moving).await?;
        for chunk in list {
            if let Some(copy) = moved.get(chunk) {
                *chunk = *copy;
            }
        }
        Ok(())
    }

    /// Chooses the data objects whose chunks are copied, and takes the others of the list into use.
    fn objects_to_leave(&mut self, list: &[Chunk], nodes: Nodes) -> Result<BTreeSet<ObjectName>> {
        let is_settled =
            |name: &ObjectName| self.own.contains_key(name) || self.reused.contains_key(name);
        let live = live(list, |name| !is_settled(name));
        let half = self.location.environment().sizes().object as u64 / 2;
        let before = self.reused.values().filter(|size| **size < half).count();
        let (mut left, mut small) = (BTreeSet::new(), Vec::new());
        for (name, live_bytes) in live {
            let Some(size_bytes) = self.known.object_bytes(name) else {
                return Err(Error::corrupt("a chunk lies in an unknown data object"));
            };
            if live_bytes < size_bytes / 2 {
                let with_nodes = live_bytes + self.known.node_bytes(name);
                if nodes == Nodes::Apart || with_nodes < size_bytes / 2 {
                    left.insert(name);
                    continue;
                }
                self.relying.insert(name);
            }
            self.reused.insert(name, size_bytes);
            if size_bytes < half {
                small.push((size_bytes, name));
            }
        }
        if before + small.len() > SMALL_OBJECTS {
            small.sort_unstable();
            for (_, name) in small.into_iter().take(MERGED_OBJECTS) {
                self.reused.remove(&name);
                left.insert(name);
            }
        }
        Ok(left)
    }

    /// Returns whether the contents must be settled again, with their nodes apart, because so few nodes are reused that a
    /// data object would be mostly dead. `all` are all chunks that the commit refers to.
    pub(crate) fn relied_in_vain(&mut self, all: &[Chunk]) -> bool {
        let live = live(all, |name| self.relying.contains(name));
        let is_dense = |name: &ObjectName| {
            let size_bytes = self.reused.get(name).copied().unwrap_or_default();
            live.get(name).copied().unwrap_or_default() >= size_bytes / 2
        };
        if self.relying.iter().all(is_dense) {
            return false;
        }
        for name in std::mem::take(&mut self.relying) {
            self.reused.remove(&name);
        }
        true
    }

    /// Stores chunks again. Returns where each is now; not those that cannot be read now, which stay where they are.
    ///
    /// # Errors
    /// `Corrupt` if one is damaged: a commit must not refer to data that is known to be damaged.
    async fn copy(&mut self, chunks: &[Chunk]) -> Result<HashMap<Chunk, Chunk>> {
        let mut moved = HashMap::new();
        let mut rest = chunks;
        let mut read = read::chunks(&self.location, chunks.to_vec());
        let block_bytes = self.location.environment().sizes().block;
        while let Some(window) = read.next().await {
            let window = match window {
                Ok(window) => window,
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
                Err(_) => break,
            };
            let from;
            (from, rest) = rest.split_at_checked(window.len()).unwrap_or((rest, &[]));
            let nothing = KnownChunks::default();
            let prepared = blocking::run(self.location.threads(), move || {
                // The window also holds what lies between the chunks, so it is not kept until they are uploaded.
                let copies = window.iter().map(|chunk| Bytes::copy_from_slice(chunk));
                prepare(copies.collect(), &nothing, block_bytes)
            });
            let mut to = List::default();
            self.add(prepared.await?, &mut to).await?;
            moved.extend(from.iter().copied().zip(to.into_chunks()));
        }
        for chunk in rest {
            let name = chunk.block.object;
            let size_bytes = self.known.object_bytes(name);
            self.reused.insert(name, size_bytes.unwrap_or_default());
        }
        Ok(moved)
    }

    /// Waits until everything is durable. `lists` are all chunks that the commit refers to. Returns the data objects that
    /// they lie in, by name.
    pub(crate) async fn finish<'a>(
        &mut self,
        lists: impl IntoIterator<Item = &'a Chunk> + Clone,
    ) -> Result<Vec<ObjectRef>> {
        self.seal().await?;
        while let Some(uploaded) = self.uploads.join_next().await {
            ended(uploaded)?;
        }
        // Forged commits may have given blocks that overlap. Readers would not accept this commit.
        blocks(lists.clone())?;
        let used: BTreeSet<_> = lists.into_iter().map(|chunk| chunk.block.object).collect();
        let size_of = |name: &ObjectName| self.own.get(name).or_else(|| self.reused.get(name));
        let objects = used.iter().map(|name| {
            let size_bytes = size_of(name);
            let size_bytes = size_bytes
                .ok_or_else(|| Error::new(ErrorKind::Other, "a chunk lies in no data object"))?;
            Ok(ObjectRef {
                epoch: name.epoch,
                counter: name.counter,
                size_bytes: *size_bytes,
            })
        });
        objects.collect()
    }

    /// Waits until no upload is in flight, whether uploads succeed or fail.
    pub(crate) async fn settle(&mut self) {
        while self.uploads.join_next().await.is_some() {}
    }

    /// Returns the bytes uploaded and the objects, once finished.
    pub(crate) fn into_parts(self) -> (u64, StagedObjects) {
        (self.uploaded_bytes, self.staged)
    }

    async fn append(&mut self, packed: Packed, list: &mut List) -> Result<()> {
        let stored_bytes = to_u32(packed.stored.len())?;
        let most = self.location.environment().sizes().object as u64;
        let full = |open: &Open| open.size_bytes + u64::from(stored_bytes) > most;
        if self.open.as_ref().is_some_and(full) {
            self.seal().await?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                if self.uploads.len() == UPLOADS
                    && let Some(uploaded) = self.uploads.join_next().await
                {
                    ended(uploaded)?;
                }
                let name = self.staged.next_name();
                self.own.insert(name, 0);
                self.open.insert(Open {
                    name,
                    parts: Vec::new(),
                    stored: Vec::new(),
                    size_bytes: 0,
                })
            }
        };
        let block = Block {
            object: open.name,
            offset: u32::try_from(open.size_bytes).map_err(|_| too_many())?,
            stored_bytes,
            size_bytes: packed.size_bytes,
            codec: packed.codec,
        };
        open.size_bytes += u64::from(stored_bytes);
        open.parts.push(packed.stored);
        open.stored.push(pack::StoredChunk {
            bytes: stored_bytes,
            hash: packed.stored_hash,
        });
        let mut start = 0;
        for (hash, size_bytes) in packed.chunks {
            let chunk = Chunk {
                block,
                start,
                size_bytes,
                hash,
            };
            start += size_bytes;
            list.push_stored(chunk);
        }
        Ok(())
    }

    /// Starts to upload the open object.
    async fn seal(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let index = pack::encode_index(&open.stored);
        open.size_bytes += index.len() as u64;
        open.parts.push(index.into());
        self.own.insert(open.name, open.size_bytes);
        self.uploaded_bytes += open.size_bytes;
        let (name, size_bytes) = (open.name, open.size_bytes);
        self.staged.grow(name, size_bytes, &self.limits).await?;
        let location = self.location.clone();
        let payload = PutPayload::from_iter(open.parts);
        self.uploads.spawn(upload(location, open.name, payload));
        if cfg!(target_family = "wasm") {
            // There is only this thread: let the upload begin.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Returns how many bytes of each of these data objects a list needs, with what the index takes for their blocks.
fn live(list: &[Chunk], counts: impl Fn(&ObjectName) -> bool) -> BTreeMap<ObjectName, u64> {
    let mut seen = HashSet::new();
    let mut live: BTreeMap<ObjectName, (u64, HashSet<Block>)> = BTreeMap::new();
    for chunk in list {
        let name = chunk.block.object;
        if counts(&name) && seen.insert((chunk.block, chunk.start, chunk.size_bytes)) {
            let (live, blocks) = live.entry(name).or_default();
            *live += chunk.live_bytes();
            blocks.insert(chunk.block);
        }
    }
    let live = live.into_iter();
    let live = live.map(|(name, (live, blocks))| (name, live + pack::index_bytes(blocks.len())));
    live.collect()
}

/// Uploads with a plain put: only this attempt uses the name, so a retry writes the same bytes.
async fn upload(location: OpenLocation, name: ObjectName, payload: PutPayload) -> Result<()> {
    let path = paths::object(location.prefix(), name);
    match location.store().put(&path, payload).await {
        Ok(_) => Ok(()),
        Err(error) => Err(location.error("cannot put a data object", error)),
    }
}

fn ended(upload: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    upload.map_err(|e| Error::new(ErrorKind::Other, "an upload task ended early").with_source(e))?
}

fn to_u32(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| too_many())
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::QuotaExceeded,
        "too many chunks in one checkpoint",
    )
}
