//! The payload of a commit.
//!
//! Decoding validates, so the rest of the crate may rely on what a [`Commit`] says about itself:
//! its tree upholds the invariants of [`Tree`], and its contents are as long as its files.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::claim::LocationId;
use super::pack::MAX_OBJECT_BYTES;
use super::payload::{WriteId, from_slice, keep, keep_field, to_vec};
use super::{MAX_GIVEN_UP, MAX_RETAINED, canonical};
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::tree::{Entry, Node, Tree};

/// The longest chunk, before and after compression. A reader holds several of them at a time.
pub(crate) const MAX_CHUNK_BYTES: u32 = 16 << 20;

/// The record that makes a checkpoint visible.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Commit {
    pub(crate) epoch: u64,
    pub(crate) write_id: WriteId,
    pub(crate) attempt: u32,
    pub(crate) saved_at: SystemTime,
    /// The sequence numbers of the commits that stay restorable, including this one.
    pub(crate) retains: Vec<u64>,
    pub(crate) tree: Tree,
    pub(crate) contents: Contents,
    pub(crate) metadata: Metadata,
    pub(crate) location_id: LocationId,
    /// How many checkpoints to keep.
    pub(crate) keep: NonZeroUsize,
    /// The damaged slots that an operator has given up, ascending.
    pub(crate) given_up: Vec<u64>,
    /// The size of the records up to its claim that are never deleted.
    pub(crate) permanent_bytes: u64,
}

/// Where the contents of the tree's files lie, concatenated in the tree's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contents {
    /// In the commit itself.
    Inline(Bytes),
    /// In chunks of data objects, one after the other.
    Chunks {
        objects: Vec<ObjectRef>,
        chunks: Vec<Chunk>,
    },
}

/// The name of a data object; never reused within a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName {
    pub(crate) epoch: u64,
    pub(crate) counter: u64,
}

/// A data object that a commit refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub(crate) struct ObjectRef {
    #[n(0)]
    pub(crate) epoch: u64,
    #[n(1)]
    pub(crate) counter: u64,
    #[n(2)]
    pub(crate) size_bytes: u64,
}

/// A piece of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub(crate) struct Chunk {
    /// The index of its object in the commit's list.
    #[n(0)]
    pub(crate) object: u32,
    #[n(1)]
    pub(crate) offset: u64,
    /// Its size in the object.
    #[n(2)]
    pub(crate) stored_bytes: u32,
    /// Its size in the contents.
    #[n(3)]
    pub(crate) size_bytes: u32,
    #[n(4)]
    pub(crate) codec: Codec,
    /// BLAKE3 of its uncompressed contents.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub(crate) hash: [u8; 32],
}

/// How a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
#[cbor(index_only)]
pub(crate) enum Codec {
    /// Uncompressed.
    #[n(0)]
    Raw,
    /// As one LZ4 block.
    #[n(1)]
    Lz4,
}

impl ObjectRef {
    pub(crate) fn name(&self) -> ObjectName {
        ObjectName {
            epoch: self.epoch,
            counter: self.counter,
        }
    }
}

impl Chunk {
    /// Returns where it ends in its object. Decoding has checked that there is such an offset.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.stored_bytes.into())
    }
}

impl Contents {
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Chunks { chunks, .. } => chunks.iter().map(|c| u64::from(c.size_bytes)).sum(),
        }
    }

    pub(crate) fn objects(&self) -> &[ObjectRef] {
        match self {
            Self::Inline(_) => &[],
            Self::Chunks { objects, .. } => objects,
        }
    }
}

/// The last key that this program knows.
const LAST_KEY: u64 = 14;

#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
struct Fields {
    #[n(0)]
    epoch: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    write_id: [u8; 16],
    #[n(2)]
    attempt: u32,
    #[n(3)]
    saved_at_ms: u64,
    #[n(4)]
    retains: Vec<u64>,
    #[n(5)]
    tree: Vec<EntryFields>,
    #[cbor(n(6), with = "minicbor::bytes")]
    inline: Option<Vec<u8>>,
    #[n(7)]
    objects: Option<Vec<ObjectRef>>,
    #[n(8)]
    chunks: Option<Vec<Chunk>>,
    #[n(9)]
    annotations: Option<BTreeMap<String, String>>,
    #[n(10)]
    schema: Option<String>,
    #[cbor(n(11), with = "minicbor::bytes")]
    location_id: [u8; 16],
    #[n(12)]
    keep: u32,
    #[n(13)]
    given_up: Option<Vec<u64>>,
    #[n(14)]
    permanent_bytes: u64,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
struct EntryFields {
    #[n(0)]
    path: String,
    #[n(1)]
    mode: u32,
    #[n(2)]
    modified_s: i64,
    #[n(3)]
    modified_ns: u32,
    /// Only for a file.
    #[n(4)]
    size_bytes: Option<u64>,
    /// Only for a link. An entry with neither field is a directory.
    #[n(5)]
    target: Option<String>,
}

pub(super) fn encode(commit: &Commit) -> Vec<u8> {
    let Commit {
        epoch,
        write_id,
        attempt,
        saved_at,
        retains,
        tree,
        contents,
        metadata,
        location_id,
        keep,
        given_up,
        permanent_bytes,
    } = commit;
    let (inline, objects, chunks) = match contents {
        Contents::Inline(bytes) => (Some(bytes.to_vec()), None, None),
        Contents::Chunks { objects, chunks } => (None, Some(objects.clone()), Some(chunks.clone())),
    };
    let saved_at = saved_at.duration_since(SystemTime::UNIX_EPOCH);
    to_vec(&Fields {
        epoch: *epoch,
        write_id: write_id.0,
        attempt: *attempt,
        saved_at_ms: saved_at.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        retains: retains.clone(),
        tree: tree.entries().iter().map(EntryFields::of).collect(),
        inline,
        objects,
        chunks,
        annotations: (!metadata.annotations.is_empty()).then(|| metadata.annotations.clone()),
        schema: metadata.schema.clone(),
        location_id: location_id.0,
        keep: keep_field(*keep),
        given_up: (!given_up.is_empty()).then(|| given_up.clone()),
        permanent_bytes: *permanent_bytes,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Commit> {
    let fields: Fields = from_slice(bytes)?;
    let entries: Result<Vec<Entry>> = fields.tree.into_iter().map(EntryFields::entry).collect();
    let tree = Tree::in_order(entries?)
        .map_err(|e| Error::corrupt("the commit's tree is invalid").with_source(e))?;
    let contents = match (fields.inline, fields.objects, fields.chunks) {
        (Some(inline), None, None) => Contents::Inline(inline.into()),
        (None, Some(objects), Some(chunks)) => {
            check_objects(fields.epoch, &objects, &chunks)?;
            check_chunks(&objects, &chunks)?;
            Contents::Chunks { objects, chunks }
        }
        _ => {
            return Err(Error::corrupt(
                "the commit must hold contents either inline or in chunks",
            ));
        }
    };
    if fields.epoch == 0 {
        return Err(Error::corrupt("the commit names no claim"));
    }
    let distinct: BTreeSet<u64> = fields.retains.iter().copied().collect();
    if distinct.len() < fields.retains.len() || distinct.contains(&0) {
        return Err(Error::corrupt("the commit retains a slot twice, or slot 0"));
    }
    if fields.retains.len() > MAX_RETAINED.get() {
        return Err(Error::corrupt("the commit retains too many commits"));
    }
    if tree.size_bytes() != Some(contents.size_bytes()) {
        return Err(Error::corrupt(
            "the commit's contents differ in length from its files",
        ));
    }
    let saved_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(fields.saved_at_ms));
    let commit = Commit {
        epoch: fields.epoch,
        write_id: WriteId(fields.write_id),
        attempt: fields.attempt,
        saved_at: saved_at.ok_or_else(|| Error::corrupt("the commit's time is out of range"))?,
        retains: fields.retains,
        tree,
        contents,
        metadata: Metadata {
            annotations: fields.annotations.unwrap_or_default(),
            schema: fields.schema,
        },
        location_id: LocationId(fields.location_id),
        keep: keep(fields.keep)?,
        given_up: fields.given_up.unwrap_or_default(),
        permanent_bytes: fields.permanent_bytes,
    };
    check_given_up(&commit.given_up)?;
    canonical::check(bytes, &encode(&commit), LAST_KEY)?;
    Ok(commit)
}

fn check_given_up(slots: &[u64]) -> Result<()> {
    if slots.len() > MAX_GIVEN_UP {
        return Err(Error::corrupt("the commit gives up too many slots"));
    }
    match slots.is_sorted_by(|a, b| a < b) && slots.first() != Some(&0) {
        true => Ok(()),
        false => Err(Error::corrupt(
            "the slots that the commit gives up are not in order",
        )),
    }
}

fn check_objects(epoch: u64, objects: &[ObjectRef], chunks: &[Chunk]) -> Result<()> {
    let mut names = BTreeSet::new();
    for object in objects {
        // Otherwise a forged commit could make a later attempt overwrite what the commit refers to.
        if object.epoch > epoch {
            return Err(Error::corrupt(
                "the commit refers to a data object of a newer epoch",
            ));
        }
        if object.size_bytes > MAX_OBJECT_BYTES {
            return Err(Error::corrupt(
                "the commit refers to a data object that is too large",
            ));
        }
        if !names.insert(object.name()) {
            return Err(Error::corrupt("the commit lists a data object twice"));
        }
    }
    let used: BTreeSet<u32> = chunks.iter().map(|chunk| chunk.object).collect();
    match used.len() == objects.len() {
        true => Ok(()),
        // A chunk of an object that is not listed is found next.
        false if used.len() > objects.len() => Ok(()),
        false => Err(Error::corrupt(
            "the commit lists a data object that no chunk is in",
        )),
    }
}

/// Returns the distinct chunks, in the order in which they lie in the objects. Together they are no longer than the
/// objects, however often the contents repeat them.
///
/// # Errors
/// `Corrupt` if chunks overlap. No writer makes such chunks, and reading each would take any number of times as long
/// as reading the objects.
pub(crate) fn by_place(chunks: &[Chunk]) -> Result<Vec<&Chunk>> {
    let mut chunks: Vec<&Chunk> = chunks.iter().collect();
    chunks.sort_unstable_by_key(|chunk| (chunk.object, chunk.offset));
    chunks.dedup();
    let overlap = |(a, b): (&&Chunk, &&Chunk)| a.object == b.object && a.end() > b.offset;
    match chunks.iter().zip(chunks.iter().skip(1)).any(overlap) {
        true => Err(Error::corrupt("the commit has chunks that overlap")),
        false => Ok(chunks),
    }
}

fn check_chunks(objects: &[ObjectRef], chunks: &[Chunk]) -> Result<()> {
    for chunk in chunks {
        let object = usize::try_from(chunk.object).ok();
        let object = object.and_then(|index| objects.get(index));
        let end = chunk.offset.checked_add(u64::from(chunk.stored_bytes));
        let inside = object.is_some_and(|object| end.is_some_and(|end| end <= object.size_bytes));
        let sizes = match chunk.codec {
            Codec::Raw => chunk.stored_bytes == chunk.size_bytes,
            // A block is never empty, and stores refuse empty ranges.
            Codec::Lz4 => (1..chunk.size_bytes).contains(&chunk.stored_bytes),
        };
        if !inside || !sizes || chunk.size_bytes == 0 || chunk.size_bytes > MAX_CHUNK_BYTES {
            return Err(Error::corrupt("the commit has an invalid chunk"));
        }
    }
    by_place(chunks).map(drop)
}

impl EntryFields {
    fn of(entry: &Entry) -> Self {
        let (modified_s, modified_ns) = match entry.modified.duration_since(SystemTime::UNIX_EPOCH)
        {
            Ok(after) => (to_i64(after.as_secs()), after.subsec_nanos()),
            // Before 1970: round seconds down, then count nanoseconds up, as POSIX does.
            Err(before) => match (
                before.duration().as_secs(),
                before.duration().subsec_nanos(),
            ) {
                (s, 0) => (0i64.saturating_sub_unsigned(s), 0),
                (s, ns) => ((-1i64).saturating_sub_unsigned(s), 1_000_000_000 - ns),
            },
        };
        let (size_bytes, target) = match &entry.node {
            Node::File { size_bytes } => (Some(*size_bytes), None),
            Node::Dir => (None, None),
            Node::Link { target } => (None, Some(target.clone())),
        };
        Self {
            path: entry.path.clone(),
            mode: entry.mode & 0o777,
            modified_s,
            modified_ns,
            size_bytes,
            target,
        }
    }

    fn entry(self) -> Result<Entry> {
        let seconds = Duration::from_secs(self.modified_s.unsigned_abs());
        let modified = if self.modified_s < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        let modified = modified
            .filter(|_| self.modified_ns < 1_000_000_000)
            .and_then(|t| t.checked_add(Duration::from_nanos(self.modified_ns.into())));
        let node = match (self.size_bytes, self.target) {
            (Some(size_bytes), None) => Node::File { size_bytes },
            (None, None) => Node::Dir,
            (None, Some(target)) => Node::Link { target },
            (Some(_), Some(_)) => return Err(Error::corrupt("an entry of two kinds")),
        };
        Ok(Entry {
            path: self.path,
            node,
            mode: self.mode,
            modified: modified
                .ok_or_else(|| Error::corrupt("a file's modification time is out of range"))?,
        })
    }
}

fn to_i64(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
