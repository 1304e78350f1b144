//! The bytes of records and data objects, as `FORMAT.md` specifies them. No I/O happens here.

mod canonical;
mod frame;
pub(crate) mod pack;
mod payload;

pub(crate) use payload::{Chunk, Claim, Codec, Commit, Contents, ObjectName, ObjectRef, WriteId};

use std::num::NonZeroUsize;

use crate::error::Result;

/// The largest record that is written or read. The record of a 4 TiB checkpoint in 1 MiB chunks, or
/// of some two million files, is smaller.
pub(crate) const MAX_RECORD_BYTES: u64 = 256 << 20;

/// The most checkpoints that a commit retains: reading a location reads that many records.
pub(crate) const MAX_RETAINED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

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

    /// Returns whether the record may lie in this slot: a claim names its own slot, and a commit
    /// lies above its claim and is the newest of those that it retains.
    pub(crate) fn fits(&self, sequence: u64) -> bool {
        match self {
            Self::Claim(claim) => claim.epoch == sequence,
            Self::Commit(commit) => {
                commit.epoch < sequence && commit.retains.iter().max() == Some(&sequence)
            }
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        match self {
            Self::Claim(claim) => frame::encode(frame::Kind::Claim, &payload::encode_claim(claim)),
            Self::Commit(commit) => {
                frame::encode(frame::Kind::Commit, &payload::encode_commit(commit))
            }
        }
    }

    /// # Errors
    /// `Corrupt` for anything that [`encode`](Self::encode) cannot have produced.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (kind, payload) = frame::decode(bytes)?;
        Ok(match kind {
            frame::Kind::Claim => Self::Claim(payload::decode_claim(payload)?),
            frame::Kind::Commit => Self::Commit(Box::new(payload::decode_commit(payload)?)),
        })
    }
}
