//! The payload of a claim.

use std::fmt;
use std::num::NonZeroUsize;

use minicbor::{CborLen, Decode, Encode};

use super::canonical;
use super::payload::{WriteId, from_slice, keep, keep_field, to_vec};
use crate::error::{Error, Result};

/// The record by which an attempt claims a location.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) epoch: u64,
    pub(crate) write_id: WriteId,
    pub(crate) attempt: u32,
    /// The BLAKE3 digest of the component that runs.
    pub(crate) component: Option<[u8; 32]>,
    /// The location to search if this one holds no checkpoint.
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) location_id: LocationId,
    /// How many checkpoints to keep.
    pub(crate) keep: NonZeroUsize,
    /// Whether the commits below this claim are replaced by the next one instead of resumed from.
    pub(crate) fresh: bool,
    /// The size of the records below this one that are never deleted.
    pub(crate) permanent_bytes: u64,
    pub(crate) below: Below,
}

/// What its maker found below a claim. However many claims a task that dies early has put on top of one another, a
/// reader of the newest knows where the newest commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// Claims, if anything.
    NoCommit,
    /// The commit in this slot, with nothing but claims above it.
    Commit(u64),
    /// Something that could not be read, so a reader must look at every record.
    Unknown,
}

/// Identifies a location, wherever it is moved. Its first claim makes it, and every record repeats it. Random,
/// so a record can name only a location that its writer could read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocationId(pub(crate) [u8; 16]);

// Whoever knows the id of a location can make another one inherit from it.
impl fmt::Debug for LocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocationId(..)")
    }
}

/// What a claim says of the location that it inherits from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predecessor {
    /// Its absolute URL.
    pub(crate) url: String,
    /// What was found there; `None` if it held no record.
    pub(crate) found: Option<Found>,
}

/// What was found in a predecessor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) id: LocationId,
    /// Its newest checkpoint, if it had one.
    pub(crate) newest: Option<u64>,
}

/// The last key that this program knows.
const LAST_KEY: u64 = 9;

#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
struct Fields {
    #[n(0)]
    epoch: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    write_id: [u8; 16],
    #[n(2)]
    attempt: u32,
    #[cbor(n(3), with = "minicbor::bytes")]
    component: Option<[u8; 32]>,
    #[n(4)]
    predecessor: Option<PredecessorFields>,
    #[cbor(n(5), with = "minicbor::bytes")]
    location_id: [u8; 16],
    #[n(6)]
    keep: u32,
    #[n(7)]
    fresh: Option<bool>,
    #[n(8)]
    permanent_bytes: u64,
    /// The slot of the newest commit, or 0 if there is none.
    #[n(9)]
    newest: Option<u64>,
}

#[derive(Encode, Decode, CborLen)]
#[cbor(map)]
struct PredecessorFields {
    #[n(0)]
    url: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    id: Option<[u8; 16]>,
    #[n(2)]
    newest: Option<u64>,
}

pub(super) fn encode(claim: &Claim) -> Vec<u8> {
    let Claim {
        epoch,
        write_id,
        attempt,
        component,
        predecessor,
        location_id,
        keep,
        fresh,
        permanent_bytes,
        below,
    } = claim;
    to_vec(&Fields {
        epoch: *epoch,
        write_id: write_id.0,
        attempt: *attempt,
        component: *component,
        predecessor: predecessor.as_ref().map(PredecessorFields::of),
        location_id: location_id.0,
        keep: keep_field(*keep),
        fresh: fresh.then_some(true),
        permanent_bytes: *permanent_bytes,
        newest: match below {
            Below::NoCommit => Some(0),
            Below::Commit(sequence) => Some(*sequence),
            Below::Unknown => None,
        },
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Claim> {
    let fields: Fields = from_slice(bytes)?;
    let predecessor = fields.predecessor.map(PredecessorFields::predecessor);
    let claim = Claim {
        epoch: fields.epoch,
        write_id: WriteId(fields.write_id),
        attempt: fields.attempt,
        component: fields.component,
        predecessor: predecessor.transpose()?,
        location_id: LocationId(fields.location_id),
        keep: keep(fields.keep)?,
        fresh: fields.fresh.unwrap_or(false),
        permanent_bytes: fields.permanent_bytes,
        below: match fields.newest {
            Some(0) => Below::NoCommit,
            Some(newest) if newest >= fields.epoch => {
                return Err(Error::corrupt(
                    "the claim names a commit that is not below it",
                ));
            }
            Some(newest) => Below::Commit(newest),
            None => Below::Unknown,
        },
    };
    canonical::check(bytes, &encode(&claim), LAST_KEY)?;
    Ok(claim)
}

impl PredecessorFields {
    fn of(predecessor: &Predecessor) -> Self {
        let found = predecessor.found.as_ref();
        Self {
            url: predecessor.url.clone(),
            id: found.map(|found| found.id.0),
            newest: found.and_then(|found| found.newest),
        }
    }

    fn predecessor(self) -> Result<Predecessor> {
        let found = match (self.id, self.newest) {
            (None, Some(_)) => {
                return Err(Error::corrupt(
                    "the claim names a checkpoint of a predecessor that held nothing",
                ));
            }
            (id, newest) => id.map(|id| Found {
                id: LocationId(id),
                newest,
            }),
        };
        Ok(Predecessor {
            url: self.url,
            found,
        })
    }
}
