//! The storing of contents: in the commit while they are small, else in data objects.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::{ObjectStoreExt, PutPayload};

use crate::format::{Chunk, Contents, ObjectName, ObjectRef};
use crate::pipe::Pieces;
use crate::writer::Writer;
use crate::{Error, ErrorKind, Location, Result, blocking, paths};

/// Contents up to this size lie in the commit, so that a small save is one request. Larger ones would
/// make the log slow to read.
const INLINE_BYTES: usize = 64 << 10;

/// The size at which a data object is full: large enough that the time of a request does not count,
/// small enough that several are in flight in little memory.
const OBJECT_BYTES: u64 = 16 << 20;

/// How many data objects are uploaded at once.
const UPLOADS: usize = 4;

/// Contents that are durable, or that the commit will hold.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) contents: Contents,
    pub(crate) uploaded_bytes: u64,
}

/// Stores contents. At most [`UPLOADS`] + 1 data objects are in memory.
pub(crate) async fn store_contents(writer: &mut Writer, mut pieces: Pieces) -> Result<Stored> {
    let Some(first) = pieces.next().await else {
        return Ok(Stored::inline(Bytes::new()));
    };
    let mut next = pieces.next().await;
    if next.is_none() && first.len() <= INLINE_BYTES {
        return Ok(Stored::inline(first));
    }
    let location = writer.location().clone();
    let mut objects: Vec<ObjectRef> = Vec::new();
    let mut chunks = Vec::new();
    let mut object = Vec::new();
    let mut size_bytes = 0;
    let mut uploads = FuturesUnordered::new();
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        let (bytes, hash) = blocking::run(move || {
            let hash = blake3::hash(&bytes);
            (bytes, hash)
        })
        .await?;
        chunks.push(Chunk {
            object: to_u32(objects.len())?,
            offset: size_bytes,
            size_bytes: to_u32(bytes.len())?,
            hash: hash.into(),
        });
        size_bytes += bytes.len() as u64;
        object.push(bytes);
        piece = match next.take() {
            Some(piece) => Some(piece),
            None => pieces.next().await,
        };
        if size_bytes >= OBJECT_BYTES || piece.is_none() {
            let name = writer.next_object();
            objects.push(ObjectRef {
                epoch: name.epoch,
                counter: name.counter,
                size_bytes,
            });
            let payload = PutPayload::from_iter(std::mem::take(&mut object));
            size_bytes = 0;
            if uploads.len() == UPLOADS {
                uploads.next().await.transpose()?;
            }
            uploads.push(upload(&location, name, payload));
        }
    }
    while uploads.next().await.transpose()?.is_some() {}
    let uploaded_bytes = objects.iter().map(|object| object.size_bytes).sum();
    Ok(Stored {
        contents: Contents::Chunks { objects, chunks },
        uploaded_bytes,
    })
}

impl Stored {
    fn inline(contents: Bytes) -> Self {
        Self {
            contents: Contents::Inline(contents),
            uploaded_bytes: 0,
        }
    }
}

/// A plain put: the name is this attempt's alone, so a repetition writes the same bytes.
async fn upload(location: &Location, name: ObjectName, payload: PutPayload) -> Result<()> {
    let path = paths::object(location.prefix(), name);
    match location.store().put(&path, payload).await {
        Ok(_) => Ok(()),
        Err(error) => Err(location.error("a data object cannot be put", error)),
    }
}

fn to_u32(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::new(ErrorKind::QuotaExceeded, "too many data objects"))
}
