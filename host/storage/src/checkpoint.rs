//! A committed checkpoint, and the verified reading of its contents.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::ObjectStoreExt;

use crate::format::{Chunk, Commit, Contents, ObjectRef};
use crate::{Error, ErrorKind, Location, Result, blocking, paths};

/// How many chunks are read ahead of the one that is being consumed. With chunks of 1 MiB this hides
/// the latency of a far store and holds little memory.
const READ_AHEAD: usize = 16;

/// What is known of a checkpoint without reading its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its position in the log of its location.
    pub sequence: u64,
    /// The number of the attempt that saved it, counted from 0.
    pub attempt: u32,
    /// When it was saved, by that host's clock.
    pub saved_at: SystemTime,
    /// The size of its contents.
    pub logical_bytes: u64,
    /// The number of its files.
    pub files: u64,
    /// The URL of the location that holds it.
    pub location: String,
}

/// A committed checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) location: Location,
    pub(crate) sequence: u64,
    pub(crate) commit: Arc<Commit>,
}

impl Checkpoint {
    pub(crate) fn info(&self) -> CheckpointInfo {
        let Commit {
            attempt,
            saved_at,
            tree,
            ..
        } = &*self.commit;
        CheckpointInfo {
            sequence: self.sequence,
            attempt: *attempt,
            saved_at: *saved_at,
            logical_bytes: tree.size_bytes().unwrap_or(u64::MAX),
            files: tree.file_count(),
            location: self.location.url().to_owned(),
        }
    }

    /// The contents of the only file.
    pub(crate) async fn read_single(&self) -> Result<Bytes> {
        let files = self.commit.tree.file_count();
        if files != 1 {
            return Err(Error::new(
                ErrorKind::NotSingle(files),
                format!("checkpoint {} holds {files} files, not one", self.sequence),
            ));
        }
        let size = self
            .commit
            .tree
            .size_bytes()
            .and_then(|n| n.try_into().ok());
        let size = size.ok_or_else(|| Error::corrupt("a file larger than memory"))?;
        let mut contents = self.contents();
        let Some(first) = contents.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        if first.len() == size {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(size);
        whole.extend_from_slice(&first);
        while let Some(piece) = contents.next().await.transpose()? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The contents of all files one after the other, each piece verified before it is given.
    pub(crate) fn contents(&self) -> BoxStream<'static, Result<Bytes>> {
        match &self.commit.contents {
            Contents::Inline(bytes) => {
                let piece = (!bytes.is_empty()).then(|| Ok(bytes.clone()));
                stream::iter(piece).boxed()
            }
            Contents::Chunks { chunks, .. } => {
                let checkpoint = self.clone();
                let count = chunks.len();
                stream::iter(0..count)
                    .map(move |index| checkpoint.clone().read_chunk(index))
                    .buffered(READ_AHEAD)
                    .boxed()
            }
        }
    }

    async fn read_chunk(self, index: usize) -> Result<Bytes> {
        let Contents::Chunks { objects, chunks } = &self.commit.contents else {
            return Err(Error::corrupt("an inline checkpoint has no chunks"));
        };
        // Decoding checked that the chunk lies in an object of the list.
        let Some((chunk, object)) = chunks
            .get(index)
            .and_then(|chunk| Some((*chunk, objects.get(chunk.object as usize)?)))
        else {
            return Err(Error::corrupt("a chunk without an object"));
        };
        let bytes = self.get_range(object, &chunk).await?;
        let name = object.name();
        blocking::run(move || {
            if blake3::hash(&bytes) == chunk.hash {
                return Ok(bytes);
            }
            Err(Error::corrupt(format!(
                "data object {}-{} is damaged",
                name.epoch, name.counter
            )))
        })
        .await?
    }

    async fn get_range(&self, object: &ObjectRef, chunk: &Chunk) -> Result<Bytes> {
        let path = paths::object(self.location.prefix(), object.name());
        let end = chunk.offset + u64::from(chunk.size_bytes);
        let name = path.filename().unwrap_or_default();
        match self
            .location
            .store()
            .get_range(&path, chunk.offset..end)
            .await
        {
            Ok(bytes) if bytes.len() == chunk.size_bytes as usize => Ok(bytes),
            Ok(_) => Err(Error::corrupt(format!("data object {name} is cut short"))),
            Err(object_store::Error::NotFound { .. }) => {
                Err(Error::corrupt(format!("data object {name} is missing")))
            }
            // A range beyond the end is an error of many forms; the size tells it from the others.
            Err(error) => match self.location.store().head(&path).await {
                Ok(meta) if meta.size < end => {
                    Err(Error::corrupt(format!("data object {name} is cut short")))
                }
                _ => Err(self
                    .location
                    .error(format!("data object {name} cannot be read"), error)),
            },
        }
    }
}
