//! Stores contents: in the commit while they are small, otherwise as chunks in data objects.
//!
//! Threads hash and compress chunks, in order, while others are cut and data objects are uploaded.
//! Each step holds a bounded number of chunks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::blocking::{self, Threads};
use crate::contents::chunks::Chunks;
use crate::contents::codec;
use crate::contents::dedup::KnownChunks;
use crate::contents::lease::Lease;
use crate::contents::objects::StagedObjects;
use crate::contents::packer::{Packer, Prepared};
use crate::error::Result;
use crate::format::{Commit, Contents};
use crate::limits::Limits;
use crate::location::OpenLocation;

/// How many chunks are hashed and compressed at once. More threads than this would only wait for
/// the uploads.
const PREPARING: usize = 4;

/// What a save needs from its attempt to store contents while the attempt continues.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) location: OpenLocation,
    pub(crate) limits: Limits,
    pub(crate) staged: StagedObjects,
    /// The commits whose chunks may be reused.
    pub(crate) reusable: Vec<Arc<Commit>>,
    /// The lease on those commits.
    pub(crate) lease: Lease,
    /// The writer's generation when the stage began.
    pub(crate) generation: u64,
}

/// Contents that are durable, or that the commit will hold.
#[derive(Debug)]
pub(crate) struct StoredContents {
    pub(crate) contents: Contents,
    pub(crate) uploaded_bytes: u64,
    pub(crate) staged: StagedObjects,
    pub(crate) limits: Limits,
    pub(crate) generation: u64,
    /// Keeps reused data from being deleted before the commit succeeds.
    _lease: Lease,
}

impl Stage {
    /// Stores contents.
    pub(crate) async fn store(self, mut chunks: Chunks<'_>) -> Result<StoredContents> {
        let environment = self.location.environment().clone();
        let (sizes, threads) = (*environment.sizes(), environment.threads());
        let Some(first) = chunks.next(&sizes).await? else {
            return Ok(self.inline(Bytes::new()));
        };
        let second = chunks.next(&sizes).await?;
        if second.is_none() && first.len() <= sizes.inline {
            return Ok(self.inline(first));
        }
        let known = Arc::new(KnownChunks::of(&self.reusable));
        let rest = stream::try_unfold(chunks, async |mut chunks| {
            Ok(chunks.next(&sizes).await?.map(|chunk| (chunk, chunks)))
        });
        let limits = self.limits;
        let mut size_bytes: u64 = 0;
        let mut prepared = stream::iter([Some(first), second])
            .filter_map(|chunk| std::future::ready(chunk.map(Ok)))
            .chain(rest)
            .and_then(|chunk: Bytes| {
                size_bytes = size_bytes.saturating_add(chunk.len() as u64);
                std::future::ready(limits.check_size(size_bytes).map(|()| chunk))
            })
            .map_ok(|chunk| prepare(threads, chunk, known.clone()))
            .try_buffered(PREPARING)
            .boxed();
        let mut packer = Packer::new(&self.location, self.staged, limits);
        let packed = async {
            while let Some(prepared) = prepared.try_next().await? {
                packer.add(prepared).await?;
            }
            packer.finish().await
        };
        let packed = packed.await;
        if packed.is_err() {
            // Otherwise uploads in flight would land after their deletion.
            packer.settle().await;
        }
        packed?;
        let (contents, uploaded_bytes, staged) = packer.into_parts();
        Ok(StoredContents {
            contents,
            uploaded_bytes,
            staged,
            limits,
            generation: self.generation,
            _lease: self.lease,
        })
    }

    /// Returns contents that are already stored: those of a checkpoint that the stage may reuse.
    pub(crate) fn again(self, contents: Contents) -> StoredContents {
        StoredContents {
            contents,
            uploaded_bytes: 0,
            staged: self.staged,
            limits: self.limits,
            generation: self.generation,
            _lease: self.lease,
        }
    }

    fn inline(self, contents: Bytes) -> StoredContents {
        self.again(Contents::Inline(contents))
    }
}

fn prepare(
    threads: Threads,
    contents: Bytes,
    known: Arc<KnownChunks>,
) -> impl Future<Output = Result<Prepared>> + Send + 'static {
    blocking::run(threads, move || {
        let hash = blake3::hash(&contents).into();
        let size_bytes = contents.len();
        match known.get(&hash, size_bytes) {
            Some(known) => Prepared::Known(known),
            None => Prepared::New {
                hash,
                size_bytes,
                packed: codec::pack(contents, hash),
            },
        }
    })
}
