//! A committed checkpoint, and the verified reading of its contents.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;

use crate::format::{Chunk, Commit, Contents, ObjectName};
use crate::simulated::scaled;
use crate::{
    Error, ErrorKind, Existing, FileTree, Labels, Limits, Location, Result, Tree, blocking, chunk,
    paths, restore,
};

/// How many ranges are read at once, ahead of what is being consumed: enough to hide the latency of a
/// far store.
const READS: usize = 4;

/// The most that one read fetches, before and after decompression. Half a data object, so that a
/// restore holds no more than a save.
const READ_BYTES: usize = 8 << 20;

/// The most that is read into memory as a whole: what a 32-bit guest can address; and where this is such a
/// guest itself, a part of that, because memory that grows is copied.
const MAX_WHOLE_BYTES: u64 = match cfg!(target_pointer_width = "32") {
    true => 1 << 29,
    false => u32::MAX as u64,
};

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
    /// What the task said about it.
    pub labels: Labels,
}

/// A committed checkpoint of a location, to be looked at or restored without an [`Attempt`](crate::Attempt).
/// Cloning it is cheap. Its data may be pruned at any time by an attempt that goes on.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(crate) location: Location,
    pub(crate) sequence: u64,
    pub(crate) commit: Arc<Commit>,
}

impl Checkpoint {
    /// The files that it holds.
    pub fn tree(&self) -> &Tree {
        &self.commit.tree
    }

    /// Makes `target` equal to this checkpoint. A target that equals it already is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the target has other content and `existing` says to refuse;
    /// [`ErrorKind::QuotaExceeded`] if the checkpoint exceeds the limits, before anything is written;
    /// [`ErrorKind::Corrupt`] if it is damaged; those of [`FileTree::writer`] and what it returns.
    pub async fn restore(
        &self,
        target: impl FileTree,
        existing: Existing,
        limits: &Limits,
    ) -> Result<()> {
        limits.check_tree(&self.commit.tree)?;
        match restore::prepare(target, self, existing).await? {
            None => Ok(()),
            Some(target) => restore::write(target, self, existing).await?.1,
        }
    }

    /// What is known of it without reading its contents.
    pub fn info(&self) -> CheckpointInfo {
        let Commit {
            attempt,
            saved_at,
            tree,
            labels,
            ..
        } = &*self.commit;
        CheckpointInfo {
            sequence: self.sequence,
            attempt: *attempt,
            saved_at: *saved_at,
            logical_bytes: tree.size_bytes().unwrap_or(u64::MAX),
            files: tree.file_count(),
            location: self.location.url().to_owned(),
            labels: labels.clone(),
        }
    }

    /// # Errors
    /// `NotSingle`, if it does not hold exactly one file.
    pub(crate) fn check_single(&self) -> Result<()> {
        match self.commit.tree.file_count() {
            1 => Ok(()),
            files => Err(Error::new(
                ErrorKind::NotSingle(files),
                format!("checkpoint {} holds {files} files, not one", self.sequence),
            )),
        }
    }

    /// The contents of the only file.
    pub(crate) async fn read_single(&self) -> Result<Bytes> {
        self.check_single()?;
        let size = self.commit.tree.size_bytes();
        let size = size.filter(|size| *size <= MAX_WHOLE_BYTES);
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return Err(Error::new(
                ErrorKind::QuotaExceeded,
                "the checkpoint is larger than what can be read into memory; restore it to a file",
            ));
        };
        let mut contents = self.contents();
        let Some(first) = contents.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        if first.len() == size {
            return Ok(first);
        }
        // Memory follows what was verified, not what was promised.
        let mut whole = BytesMut::with_capacity(size.min(READS * READ_BYTES));
        whole.extend_from_slice(&first);
        while let Some(piece) = contents.next().await.transpose()? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The contents of all files one after the other, several pieces at a time, each piece verified
    /// before it is given. Reading goes on while pieces are consumed.
    pub(crate) fn runs(&self) -> BoxStream<'static, Result<Vec<Bytes>>> {
        match &self.commit.contents {
            Contents::Inline(bytes) => {
                let piece = (!bytes.is_empty()).then(|| Ok(vec![bytes.clone()]));
                stream::iter(piece).boxed()
            }
            Contents::Chunks { chunks, .. } => {
                let checkpoint = self.clone();
                stream::iter(runs(chunks))
                    .map(move |run| blocking::start(checkpoint.clone().read_run(run)))
                    .buffered(READS)
                    .boxed()
            }
        }
    }

    /// The same, piece by piece.
    pub(crate) fn contents(&self) -> BoxStream<'static, Result<Bytes>> {
        let pieces = self
            .runs()
            .map_ok(|pieces| stream::iter(pieces).map(Ok))
            .try_flatten();
        pieces.boxed()
    }

    /// Reads chunks that lie one after the other in one object, in one request.
    async fn read_run(self, run: Range<usize>) -> Result<Vec<Bytes>> {
        let Contents::Chunks { objects, chunks } = &self.commit.contents else {
            return Err(Error::corrupt("an inline checkpoint has no chunks"));
        };
        let chunks = chunks.get(run).unwrap_or_default().to_vec();
        let Some((first, last)) = chunks.first().zip(chunks.last()) else {
            return Ok(Vec::new());
        };
        // Decoding checked that each chunk lies in an object of the list.
        let Some(object) = objects.get(first.object as usize) else {
            return Err(Error::corrupt("a chunk without an object"));
        };
        let end = last.offset + u64::from(last.stored_bytes);
        let mut bytes = get_range(&self.location, object.name(), first.offset..end).await?;
        let name = object.name();
        blocking::run(move || {
            let unpack = |chunk: &Chunk| {
                let stored = bytes.split_to(chunk.stored_bytes as usize);
                chunk::unpack(stored, chunk.codec, chunk.size_bytes, chunk.hash).map_err(|e| {
                    let (epoch, counter) = (name.epoch, name.counter);
                    let what = format!("data object {epoch}-{counter} is damaged");
                    Error::corrupt(what).with_source(e)
                })
            };
            chunks.iter().map(unpack).collect()
        })
        .await?
    }
}

/// The chunks that are read in one request each.
fn runs(chunks: &[Chunk]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let most = scaled(READ_BYTES) as u64;
    let (mut stored, mut size) = (0, 0);
    for (index, chunk) in chunks.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| chunks.get(before));
        let adjoins = before.is_some_and(|before| {
            before.object == chunk.object
                && before.offset + u64::from(before.stored_bytes) == chunk.offset
        });
        stored += u64::from(chunk.stored_bytes);
        size += u64::from(chunk.size_bytes);
        match runs.last_mut() {
            Some(run) if adjoins && stored <= most && size <= most => {
                run.end = index + 1;
            }
            _ => {
                runs.push(index..index + 1);
                (stored, size) = (chunk.stored_bytes.into(), chunk.size_bytes.into());
            }
        }
    }
    runs
}

/// Reads a part of a data object.
pub(crate) async fn get_range(
    location: &Location,
    object: ObjectName,
    range: Range<u64>,
) -> Result<Bytes> {
    let path = paths::object(location.prefix(), object);
    let name = path.filename().unwrap_or_default();
    match location.store().get_range(&path, range.clone()).await {
        Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
        Ok(_) => Err(Error::corrupt(format!("data object {name} is cut short"))),
        Err(object_store::Error::NotFound { .. }) => {
            Err(Error::corrupt(format!("data object {name} is missing")))
        }
        // A range beyond the end is an error of many forms; the size tells it from the others.
        Err(error) => match location.store().head(&path).await {
            Ok(meta) if meta.size < range.end => {
                Err(Error::corrupt(format!("data object {name} is cut short")))
            }
            _ => Err(location.error(format!("data object {name} cannot be read"), error)),
        },
    }
}
