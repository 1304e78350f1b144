//! The bytes of records and data objects, as `FORMAT.md` specifies them. No I/O happens here.

mod canonical;
mod chunk;
mod claim;
mod commit;
mod description;
mod entries;
mod frame;
pub(crate) mod pack;
mod payload;

pub(crate) use chunk::{
    Block, Chunk, Codec, ObjectName, ObjectRef, Objects, blocks, check_chunks, size_of,
};
pub(crate) use claim::{Below, Claim, Found, LocationId, Predecessor};
pub(crate) use commit::{Commit, Described};
pub(crate) use description::{
    Contents, Description, MAX_DESCRIPTION_BYTES, MAX_ENTRIES, Root, decode_list, encode_list,
};
pub(crate) use payload::WriteId;

use std::num::NonZeroUsize;

use crate::error::Result;

/// The largest record that is written or read. What is large about a checkpoint does not lie in its record: a commit
/// of 1 TiB lists 65,536 data objects or more, in a record of this size.
pub(crate) const MAX_RECORD_BYTES: u64 = 1 << 20;

/// The most checkpoints that a commit retains: reading a location reads that many records.
pub(crate) const MAX_RETAINED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// The most damaged slots that a commit gives up.
pub(crate) const MAX_GIVEN_UP: usize = 10_000;

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Claim(Claim),
    Commit(Box<Commit>),
}

impl Record {
    pub(crate) fn write_id(&self) -> WriteId {
        match self {
            Self::Claim(claim) => claim.write_id,
            Self::Commit(commit) => commit.write_id,
        }
    }

    /// Returns the id of the location that it belongs to.
    pub(crate) fn location_id(&self) -> LocationId {
        match self {
            Self::Claim(claim) => claim.location_id,
            Self::Commit(commit) => commit.location_id,
        }
    }

    /// Returns how many checkpoints it says to keep.
    pub(crate) fn keep(&self) -> NonZeroUsize {
        match self {
            Self::Claim(claim) => claim.keep,
            Self::Commit(commit) => commit.keep,
        }
    }

    /// Returns how many bytes the records below it occupy that are never deleted, as it says.
    pub(crate) fn permanent_bytes(&self) -> u64 {
        match self {
            Self::Claim(claim) => claim.permanent_bytes,
            Self::Commit(commit) => commit.permanent_bytes,
        }
    }

    /// Returns whether the record may lie in this slot: a claim names its own slot, and a commit
    /// lies above its claim and is the newest of those that it retains.
    pub(crate) fn fits(&self, sequence: u64) -> bool {
        match self {
            Self::Claim(claim) => claim.epoch == sequence,
            Self::Commit(commit) => {
                let is_newest = commit.retains.iter().max() == Some(&sequence);
                let given_up = commit.given_up.last();
                commit.epoch < sequence && is_newest && given_up.is_none_or(|s| *s < sequence)
            }
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        match self {
            Self::Claim(claim) => frame::encode(frame::Kind::Claim, &claim::encode(claim)),
            Self::Commit(commit) => frame::encode(frame::Kind::Commit, &commit::encode(commit)),
        }
    }

    /// # Errors
    /// `Corrupt` for anything that [`encode`](Self::encode) cannot have produced.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (kind, payload) = frame::decode(bytes)?;
        Ok(match kind {
            frame::Kind::Claim => Self::Claim(claim::decode(payload)?),
            frame::Kind::Commit => Self::Commit(Box::new(commit::decode(payload)?)),
        })
    }
}
