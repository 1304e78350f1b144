//! Packs chunks into data objects and uploads them.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use crate::contents::codec::{self, Packed};
use crate::contents::dedup::Known;
use crate::contents::objects::StagedObjects;
use crate::contents::read::get_range;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Chunk, Contents, ObjectName, ObjectRef, by_place, pack};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// How many data objects are uploaded at once.
const UPLOADS: usize = 4;

/// The contents of one checkpoint while they are being stored. At most [`UPLOADS`] + 1 data objects
/// are in memory.
pub(crate) struct Packer<'a> {
    location: &'a OpenLocation,
    staged: StagedObjects,
    limits: Limits,
    objects: Vec<ObjectRef>,
    index_of: HashMap<ObjectName, u32>,
    chunks: Vec<Chunk>,
    /// The chunks that this save has stored, by the hash of their contents.
    fresh: HashMap<[u8; 32], Chunk>,
    /// The data objects of this save.
    own: HashSet<ObjectName>,
    open: Option<Open>,
    uploads: JoinSet<Result<()>>,
    uploaded_bytes: u64,
}

/// A chunk, and what to do with it.
pub(crate) enum Prepared {
    /// It is already stored.
    Known(Known),
    New {
        hash: [u8; 32],
        size_bytes: usize,
        packed: Packed,
    },
}

/// A data object that is not full.
struct Open {
    index: u32,
    name: ObjectName,
    parts: Vec<Bytes>,
    stored: Vec<pack::StoredChunk>,
    size_bytes: u64,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(location: &'a OpenLocation, staged: StagedObjects, limits: Limits) -> Self {
        Self {
            location,
            staged,
            limits,
            objects: Vec::new(),
            index_of: HashMap::new(),
            chunks: Vec::new(),
            fresh: HashMap::new(),
            own: HashSet::new(),
            open: None,
            uploads: JoinSet::new(),
            uploaded_bytes: 0,
        }
    }

    /// Adds the next chunk of the contents.
    pub(crate) async fn add(&mut self, prepared: Prepared) -> Result<()> {
        let chunk = match prepared {
            Prepared::Known(known) => Chunk {
                object: self.intern(known.object)?,
                ..known.chunk
            },
            Prepared::New {
                hash,
                size_bytes,
                packed,
            } => match self.fresh.get(&hash) {
                Some(chunk) => *chunk,
                None => {
                    let chunk = self.append(packed, to_u32(size_bytes)?, hash).await?;
                    self.fresh.insert(hash, chunk);
                    chunk
                }
            },
        };
        self.chunks.push(chunk);
        Ok(())
    }

    /// Waits until everything is durable.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.salvage().await?;
        self.seal().await?;
        while let Some(uploaded) = self.uploads.join_next().await {
            ended(uploaded)?;
        }
        self.drop_unused()?;
        // Forged commits may have given chunks that overlap. Readers would not accept this commit.
        by_place(&self.chunks).map(drop)
    }

    /// Waits until no upload is in flight, whether uploads succeed or fail.
    pub(crate) async fn settle(&mut self) {
        while self.uploads.join_next().await.is_some() {}
    }

    /// Returns the contents, the bytes uploaded and the objects, once finished.
    pub(crate) fn into_parts(self) -> (Contents, u64, StagedObjects) {
        let contents = Contents::Chunks {
            objects: self.objects,
            chunks: self.chunks,
        };
        (contents, self.uploaded_bytes, self.staged)
    }

    /// Copies the chunks of mostly dead objects to new ones. At least half of every object that a
    /// commit refers to is therefore used by that commit alone, and a location never holds more
    /// than twice what its checkpoints need.
    async fn salvage(&mut self) -> Result<()> {
        // Key by hash too: a forged commit may claim that one place holds two different chunks.
        // Sort by offset, so that chunks are fetched in the order in which they are stored.
        let mut used: HashMap<u32, BTreeMap<(u64, [u8; 32]), Chunk>> = HashMap::new();
        for chunk in &self.chunks {
            let chunks = used.entry(chunk.object).or_default();
            chunks.insert((chunk.offset, chunk.hash), *chunk);
        }
        let mut moved: HashMap<(u32, u64, [u8; 32]), Chunk> = HashMap::new();
        for (index, object) in self.objects.clone().into_iter().enumerate() {
            // Objects of this save hold only what it needs.
            if self.own.contains(&object.name()) {
                continue;
            }
            let index = to_u32(index)?;
            let Some(chunks) = used.remove(&index) else {
                continue;
            };
            let live: u64 = chunks.values().map(|c| u64::from(c.stored_bytes)).sum();
            if live + pack::index_bytes(chunks.len()) >= object.size_bytes / 2 {
                continue;
            }
            for ((offset, hash), chunk) in chunks {
                let packed = match fetch(self.location, object, chunk).await {
                    Ok(packed) => packed,
                    // A commit must not refer to data that is known to be damaged.
                    Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
                    // Leave data that cannot be read now where it is: the commit is still correct.
                    Err(_) => continue,
                };
                let copy = self.append(packed, chunk.size_bytes, chunk.hash).await?;
                moved.insert((index, offset, hash), copy);
            }
        }
        for chunk in &mut self.chunks {
            if let Some(copy) = moved.get(&(chunk.object, chunk.offset, chunk.hash)) {
                *chunk = *copy;
            }
        }
        Ok(())
    }

    async fn append(&mut self, packed: Packed, size_bytes: u32, hash: [u8; 32]) -> Result<Chunk> {
        let stored_bytes = to_u32(packed.stored.len())?;
        let most = self.location.environment().sizes().object as u64;
        let full = |open: &Open| open.size_bytes + u64::from(stored_bytes) > most;
        if self.open.as_ref().is_some_and(full) {
            self.seal().await?;
        }
        if self.open.is_none() {
            let name = self.staged.next_name();
            self.own.insert(name);
            let index = self.intern(ObjectRef {
                epoch: name.epoch,
                counter: name.counter,
                size_bytes: 0,
            })?;
            self.open = Some(Open {
                index,
                name,
                parts: Vec::new(),
                stored: Vec::new(),
                size_bytes: 0,
            });
        }
        let Some(open) = &mut self.open else {
            return Err(Error::new(ErrorKind::Other, "no data object is open"));
        };
        let chunk = Chunk {
            object: open.index,
            offset: open.size_bytes,
            stored_bytes,
            size_bytes,
            codec: packed.codec,
            hash,
        };
        open.size_bytes += u64::from(stored_bytes);
        open.parts.push(packed.stored);
        open.stored.push(pack::StoredChunk {
            bytes: stored_bytes,
            hash: packed.stored_hash,
        });
        Ok(chunk)
    }

    /// Starts to upload the open object.
    async fn seal(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let index = pack::encode_index(&open.stored);
        open.size_bytes += index.len() as u64;
        open.parts.push(index.into());
        if let Some(object) = self.objects.get_mut(open.index as usize) {
            object.size_bytes = open.size_bytes;
        }
        self.uploaded_bytes += open.size_bytes;
        let (name, size_bytes) = (open.name, open.size_bytes);
        self.staged.grow(name, size_bytes, &self.limits).await?;
        if self.uploads.len() == UPLOADS
            && let Some(uploaded) = self.uploads.join_next().await
        {
            ended(uploaded)?;
        }
        let location = self.location.clone();
        let payload = PutPayload::from_iter(open.parts);
        self.uploads.spawn(upload(location, open.name, payload));
        Ok(())
    }

    /// Returns the index of an object in the list, and adds it if it is missing.
    fn intern(&mut self, object: ObjectRef) -> Result<u32> {
        if let Some(index) = self.index_of.get(&object.name()) {
            return Ok(*index);
        }
        let index = to_u32(self.objects.len())?;
        self.objects.push(object);
        self.index_of.insert(object.name(), index);
        Ok(index)
    }

    /// Removes objects that no chunk refers to any more from the list.
    fn drop_unused(&mut self) -> Result<()> {
        let mut objects = Vec::new();
        let mut renumbered: HashMap<u32, u32> = HashMap::new();
        for chunk in &mut self.chunks {
            chunk.object = match renumbered.get(&chunk.object) {
                Some(index) => *index,
                None => {
                    let index = to_u32(objects.len())?;
                    objects.extend(self.objects.get(chunk.object as usize));
                    renumbered.insert(chunk.object, index);
                    index
                }
            };
        }
        self.objects = objects;
        Ok(())
    }
}

/// Fetches a chunk in its stored form and verifies it.
async fn fetch(location: &OpenLocation, object: ObjectRef, chunk: Chunk) -> Result<Packed> {
    let stored = get_range(location, object.name(), chunk.offset..chunk.end()).await?;
    blocking::run(location.threads(), move || {
        codec::unpack(stored.clone(), chunk.codec, chunk.size_bytes, chunk.hash)?;
        Ok(Packed {
            stored_hash: blake3::hash(&stored).into(),
            stored,
            codec: chunk.codec,
        })
    })
    .await?
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
    u32::try_from(n).map_err(|_| {
        Error::new(
            ErrorKind::QuotaExceeded,
            "too many chunks in one checkpoint",
        )
    })
}
