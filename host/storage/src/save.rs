//! The storing of contents: in the commit while they are small, else as chunks in data objects.
//!
//! Chunks are hashed and compressed on threads, in order, while others are cut and data objects are
//! uploaded. Each stage holds a bounded number of chunks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::chunk::{self, Packed};
use crate::dedup::{Known, KnownChunks};
use crate::format::Contents;
use crate::packer::Packer;
use crate::pipe::Chunks;
use crate::writer::Writer;
use crate::{Result, blocking};

/// Contents up to this size lie in the commit, so that a small save is one request. Larger ones would
/// make the log slow to read.
const INLINE_BYTES: usize = 64 << 10;

/// How many chunks are hashed and compressed at once. More threads than this wait for the uploads.
const PREPARING: usize = 4;

/// Contents that are durable, or that the commit will hold.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) contents: Contents,
    pub(crate) uploaded_bytes: u64,
}

/// A chunk, and what is to be done with it.
pub(crate) enum Prepared {
    /// It is stored already.
    Known(Known),
    New {
        hash: [u8; 32],
        size_bytes: usize,
        packed: Packed,
    },
}

/// Stores contents.
pub(crate) async fn store_contents(writer: &mut Writer, mut chunks: Chunks) -> Result<Stored> {
    let Some(first) = chunks.next().await else {
        return Ok(Stored::inline(Bytes::new()));
    };
    let second = chunks.next().await;
    if second.is_none() && first.len() <= INLINE_BYTES {
        return Ok(Stored::inline(first));
    }
    let known = Arc::new(writer.known_chunks());
    let rest = stream::unfold(chunks, |mut chunks| async {
        chunks.next().await.map(|chunk| (chunk, chunks))
    });
    let mut prepared = stream::iter([Some(first), second])
        .filter_map(std::future::ready)
        .chain(rest)
        .map(|chunk| prepare(chunk, known.clone()))
        .buffered(PREPARING)
        .boxed();
    let mut packer = Packer::new(writer);
    while let Some(prepared) = prepared.next().await.transpose()? {
        packer.add(prepared).await?;
    }
    packer.finish().await
}

async fn prepare(contents: Bytes, known: Arc<KnownChunks>) -> Result<Prepared> {
    blocking::run(move || {
        let hash = blake3::hash(&contents).into();
        let size_bytes = contents.len();
        match known.get(&hash, size_bytes) {
            Some(known) => Prepared::Known(known),
            None => Prepared::New {
                hash,
                size_bytes,
                packed: chunk::pack(contents, hash),
            },
        }
    })
    .await
}

impl Stored {
    fn inline(contents: Bytes) -> Self {
        Self {
            contents: Contents::Inline(contents),
            uploaded_bytes: 0,
        }
    }
}
