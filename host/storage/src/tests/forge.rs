//! Forges records and data objects as `FORMAT.md` describes them. The crate's own encoder is not used here
//! because it refuses to write invalid records. The fuzz targets include this file too.

use std::collections::BTreeMap;

/// A value to encode as CBOR.
#[derive(Clone, Debug)]
pub enum Cbor {
    Uint(u64),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Cbor>),
    Map(Vec<(u64, Cbor)>),
    /// Bytes that are copied verbatim, whether they are valid CBOR or not.
    Raw(Vec<u8>),
}

impl Cbor {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_to(&mut bytes);
        bytes
    }

    fn encode_to(&self, to: &mut Vec<u8>) {
        match self {
            Self::Uint(n) => head(to, 0, *n),
            Self::Int(n) => match u64::try_from(*n) {
                Ok(n) => head(to, 0, n),
                Err(_) => head(to, 1, !n.cast_unsigned()),
            },
            Self::Bytes(bytes) => {
                head(to, 2, bytes.len() as u64);
                to.extend(bytes);
            }
            Self::Text(text) => {
                head(to, 3, text.len() as u64);
                to.extend(text.as_bytes());
            }
            Self::Array(items) => {
                head(to, 4, items.len() as u64);
                items.iter().for_each(|item| item.encode_to(to));
            }
            Self::Map(fields) => {
                head(to, 5, fields.len() as u64);
                for (key, value) in fields {
                    head(to, 0, *key);
                    value.encode_to(to);
                }
            }
            Self::Raw(bytes) => to.extend(bytes),
        }
    }

    pub fn uints(numbers: impl IntoIterator<Item = u64>) -> Self {
        Self::Array(numbers.into_iter().map(Self::Uint).collect())
    }
}

/// The head of a CBOR item: its major type and its number, in as few bytes as possible.
fn head(to: &mut Vec<u8>, major: u8, n: u64) {
    let bytes = n.to_be_bytes();
    let (info, skipped) = match n {
        0..24 => return to.push(major << 5 | bytes[7]),
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    to.push(major << 5 | info);
    to.extend(&bytes[skipped..]);
}

/// The kinds of records.
pub const CLAIM: u16 = 1;
pub const COMMIT: u16 = 2;

/// The id of the location that every forged record belongs to.
pub const LOCATION_ID: [u8; 16] = [9; 16];
/// How many checkpoints forged records keep.
pub const KEEP: u64 = 3;

/// A record whose length and hash are correct.
pub fn record(version: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93TCKL\r\n\x1a".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// A claim for the slot `epoch`, which says that no record below it is permanent. Every byte of its write-id is that
/// number.
pub fn claim(epoch: u64) -> Vec<u8> {
    claim_with(epoch, [])
}

/// A claim with fields beyond the mandatory ones, or in place of them.
pub fn claim_with(epoch: u64, fields: impl IntoIterator<Item = (u64, Cbor)>) -> Vec<u8> {
    let mut all = BTreeMap::from([
        (0, Cbor::Uint(epoch)),
        (1, Cbor::Bytes(vec![epoch as u8; 16])),
        (2, Cbor::Uint(0)),
        (5, Cbor::Bytes(LOCATION_ID.to_vec())),
        (6, Cbor::Uint(KEEP)),
        (8, Cbor::Uint(0)),
    ]);
    all.extend(fields);
    record(1, CLAIM, &Cbor::Map(all.into_iter().collect()).encode())
}

/// The payload of a commit for slot 2, made under the claim in slot 1. `fields` are added to the mandatory
/// fields or replace them. The times of entries in field 5 become field 15.
pub fn commit(fields: impl IntoIterator<Item = (u64, Cbor)>) -> Vec<u8> {
    let mut all = BTreeMap::from([
        (0, Cbor::Uint(1)),
        (1, Cbor::Bytes(vec![7; 16])),
        (2, Cbor::Uint(0)),
        (3, Cbor::Uint(1_700_000_000_000)),
        (4, Cbor::uints([2])),
        (11, Cbor::Bytes(LOCATION_ID.to_vec())),
        (12, Cbor::Uint(KEEP)),
        (14, Cbor::Uint(claim(1).len() as u64)),
    ]);
    all.extend(fields);
    if let Some(Cbor::Array(entries)) = all.get_mut(&5) {
        let times = entries.iter_mut().flat_map(take_time).collect();
        all.entry(15).or_insert(Cbor::Bytes(times));
    }
    Cbor::Map(all.into_iter().collect()).encode()
}

/// Takes the modification time out of an entry, as the nanoseconds since 1970.
fn take_time(entry: &mut Cbor) -> [u8; 8] {
    let mut nanoseconds = 0i64;
    if let Cbor::Map(fields) = entry {
        fields.retain(|(key, value)| {
            let (unit, n) = match (key, value) {
                (&SECONDS, Cbor::Int(seconds)) => (1_000_000_000, *seconds),
                (&NANOSECONDS, Cbor::Uint(n)) => (1, *n as i64),
                _ => return true,
            };
            nanoseconds = nanoseconds.wrapping_add(n.wrapping_mul(unit));
            false
        });
    }
    nanoseconds.to_le_bytes()
}

/// The keys of a modification time in an entry, until [`commit`] takes it out.
const SECONDS: u64 = u64::MAX;
const NANOSECONDS: u64 = u64::MAX - 1;

/// An entry of a tree. `node` is what makes it a file or a link. Only the last name of the path is stored, so the entry
/// lies in whatever directory the entries before it have opened at that depth.
pub fn entry(
    path: &str,
    mode: u64,
    time: (i64, u64),
    node: impl IntoIterator<Item = (u64, Cbor)>,
) -> Cbor {
    let (depth, name) = depth_and_name(path);
    named_entry(depth, name, mode, time, node)
}

/// The depth and the last name of a path.
pub fn depth_and_name(path: &str) -> (u64, &str) {
    match path {
        "" => (0, ""),
        path => {
            let slashes = path.matches('/').count() as u64;
            (slashes + 1, path.rsplit('/').next().unwrap())
        }
    }
}

/// An entry of this depth and name, which may hold slashes.
pub fn named_entry(
    depth: u64,
    name: &str,
    mode: u64,
    (seconds, nanoseconds): (i64, u64),
    node: impl IntoIterator<Item = (u64, Cbor)>,
) -> Cbor {
    let common = [
        (0, Cbor::Text(name.to_owned())),
        (1, Cbor::Uint(mode)),
        (2, Cbor::Uint(depth)),
    ];
    let time = [
        (SECONDS, Cbor::Int(seconds)),
        (NANOSECONDS, Cbor::Uint(nanoseconds)),
    ];
    Cbor::Map(common.into_iter().chain(node).chain(time).collect())
}

/// A reference to a data object.
pub fn object_ref(epoch: u64, counter: u64, size_bytes: u64) -> Cbor {
    Cbor::uints([epoch, counter, size_bytes])
}

/// A chunk of the contents.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The counter of its data object, which is of epoch 1.
    pub object: u64,
    pub offset: u64,
    pub stored_bytes: u64,
    pub size_bytes: u64,
    /// 0 for raw bytes, 1 for an LZ4 block of this chunk.
    pub codec: u64,
    pub hash: [u8; 32],
}

impl Chunk {
    /// A chunk that is stored raw at the start of the first data object.
    pub fn raw(contents: &[u8]) -> Self {
        let size_bytes = contents.len() as u64;
        Self {
            object: 0,
            offset: 0,
            stored_bytes: size_bytes,
            size_bytes,
            codec: 0,
            hash: blake3::hash(contents).into(),
        }
    }

    pub fn encoded(&self) -> Cbor {
        let Self {
            object,
            offset,
            stored_bytes,
            size_bytes,
            codec,
            hash,
        } = self;
        let numbers = match codec {
            0 => vec![1, *object, *offset, *size_bytes],
            _ => {
                let block = [1, *object, *offset, *stored_bytes, *size_bytes];
                [&block[..], &[0, *size_bytes]].concat()
            }
        };
        let numbers = numbers.into_iter().map(Cbor::Uint);
        Cbor::Array(numbers.chain([Cbor::Bytes(hash.to_vec())]).collect())
    }
}

/// A data object that holds these chunks, given as they are stored.
pub fn data_object<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let chunks: Vec<_> = chunks.into_iter().collect();
    let entries = chunks.iter().map(|chunk| (chunk.len() as u32, *chunk));
    let index = object_index(entries, chunks.len() as u32);
    [chunks.concat(), index].concat()
}

/// The index of a data object, whose hash is correct. It claims `count` chunks and lists these: the size and
/// the bytes whose hash to store.
pub fn object_index<'a>(entries: impl IntoIterator<Item = (u32, &'a [u8])>, count: u32) -> Vec<u8> {
    let mut index = Vec::new();
    for (size, bytes) in entries {
        index.extend(size.to_le_bytes());
        index.extend(blake3::hash(bytes).as_bytes());
    }
    index.extend(b"\x93TCKD\r\n\x1a");
    index.extend(count.to_le_bytes());
    let hash = blake3::hash(&index);
    index.extend(hash.as_bytes());
    index
}
