//! The payload of a commit.
//!
//! Decoding validates, so the rest of the crate may rely on what a [`Commit`] says about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::chunk::{self, Chunk, ObjectRef, check_chunks, check_objects, check_used};
use super::claim::LocationId;
use super::description::{Contents, Description, Root};
use super::entries::{self, EntryFields};
use super::payload::{WriteId, from_slice, keep, keep_field, to_vec};
use super::{MAX_GIVEN_UP, MAX_RETAINED, canonical};
use crate::error::{Error, Result};
use crate::metadata::Metadata;

/// The record that makes a checkpoint visible.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Commit {
    pub(crate) epoch: u64,
    pub(crate) write_id: WriteId,
    pub(crate) attempt: u32,
    pub(crate) saved_at: SystemTime,
    /// The sequence numbers of the commits that stay restorable, including this one.
    pub(crate) retains: Vec<u64>,
    pub(crate) description: Described,
    /// The data objects that the description, its nodes and the contents lie in, by name.
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) metadata: Metadata,
    pub(crate) location_id: LocationId,
    /// How many checkpoints to keep.
    pub(crate) keep: NonZeroUsize,
    /// The damaged slots that an operator has given up, ascending.
    pub(crate) given_up: Vec<u64>,
    /// The size of the records up to its claim that are never deleted.
    pub(crate) permanent_bytes: u64,
}

/// Where the description of a checkpoint is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Described {
    /// In the commit.
    Here(Arc<Description>),
    /// In data objects, except for the contents if they are small.
    Stored { root: Root, inline: Option<Bytes> },
}

impl Described {
    /// Returns the size of the contents.
    pub(crate) fn contents_bytes(&self) -> u64 {
        match self {
            Self::Here(description) => description.contents.size_bytes(),
            Self::Stored { root, .. } => root.contents_bytes,
        }
    }

    /// Returns the number of files.
    pub(crate) fn files(&self) -> u64 {
        match self {
            Self::Here(description) => description.tree.file_count(),
            Self::Stored { root, .. } => root.files,
        }
    }
}

/// The last key that this program knows.
const LAST_KEY: u64 = 16;

#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
struct Fields<'a> {
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
    #[b(5)]
    entries: Option<Vec<EntryFields<'a>>>,
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
    #[cbor(n(15), with = "minicbor::bytes")]
    times: Option<Vec<u8>>,
    #[n(16)]
    root: Option<Root>,
}

pub(super) fn encode(commit: &Commit) -> Vec<u8> {
    let Commit {
        epoch,
        write_id,
        attempt,
        saved_at,
        retains,
        description,
        objects,
        metadata,
        location_id,
        keep,
        given_up,
        permanent_bytes,
    } = commit;
    let saved_at = saved_at.duration_since(SystemTime::UNIX_EPOCH);
    let mut fields = Fields {
        epoch: *epoch,
        write_id: write_id.0,
        attempt: *attempt,
        saved_at_ms: saved_at.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        retains: retains.clone(),
        entries: None,
        inline: None,
        objects: (!objects.is_empty()).then(|| objects.clone()),
        chunks: None,
        annotations: (!metadata.annotations.is_empty()).then(|| metadata.annotations.clone()),
        schema: metadata.schema.clone(),
        location_id: location_id.0,
        keep: keep_field(*keep),
        given_up: (!given_up.is_empty()).then(|| given_up.clone()),
        permanent_bytes: *permanent_bytes,
        times: None,
        root: None,
    };
    match description {
        Described::Here(description) => {
            let Description { tree, contents } = description.as_ref();
            fields.entries = Some(entries::of(tree).collect());
            fields.times = Some(entries::encode_times(tree));
            match contents {
                Contents::Inline(bytes) => fields.inline = Some(bytes.to_vec()),
                Contents::Chunks(chunks) => fields.chunks = Some(chunks.clone()),
            }
        }
        Described::Stored { root, inline } => {
            fields.inline = inline.as_ref().map(|bytes| bytes.to_vec());
            fields.root = Some(root.clone());
        }
    }
    to_vec(&fields)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Commit> {
    let fields: Fields<'_> = from_slice(bytes)?;
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
    let objects = fields.objects.unwrap_or_default();
    let sizes = check_objects(fields.epoch, &objects)?;
    let inline = fields.inline.map(Bytes::from);
    let description = match (fields.entries, fields.times, fields.chunks, fields.root) {
        (Some(entries), Some(times), chunks, None) => {
            let contents = match (inline, chunks) {
                (Some(inline), None) => Contents::Inline(inline),
                (None, Some(chunks)) => Contents::Chunks(chunks),
                _ => return Err(misplaced()),
            };
            check_chunks(&sizes, contents.chunks())?;
            check_used(&sizes, contents.chunks().iter())?;
            chunk::blocks(contents.chunks())?;
            let tree = entries::tree(&entries, &times)?;
            let description = Description { tree, contents };
            description.check()?;
            Described::Here(description.into())
        }
        (None, None, None, Some(root)) => {
            root.check(&sizes, inline.as_ref())?;
            Described::Stored { root, inline }
        }
        _ => return Err(misplaced()),
    };
    let saved_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(fields.saved_at_ms));
    let commit = Commit {
        epoch: fields.epoch,
        write_id: WriteId(fields.write_id),
        attempt: fields.attempt,
        saved_at: saved_at.ok_or_else(|| Error::corrupt("the commit's time is out of range"))?,
        retains: fields.retains,
        description,
        objects,
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

fn misplaced() -> Error {
    Error::corrupt("the commit must hold its description, or say where it is, and its contents")
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
