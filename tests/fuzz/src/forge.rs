//! Records and data objects, made from `FORMAT.md` and not with the encoder of the storage, which cannot
//! make the wrong ones.

/// What is encoded as CBOR.
#[derive(Clone, Debug)]
pub enum Cbor {
    Uint(u64),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Cbor>),
    Map(Vec<(u64, Cbor)>),
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
        }
    }
}

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

pub const CLAIM: u16 = 1;
pub const COMMIT: u16 = 2;

/// A record with a right length and a right hash.
pub fn record(version: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93TCKP\r\n\x1a".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// A claim in the slot that it names.
pub fn claim(epoch: u64) -> Vec<u8> {
    let fields = vec![
        (0, Cbor::Uint(epoch)),
        (1, Cbor::Bytes(vec![6; 16])),
        (2, Cbor::Uint(0)),
    ];
    record(1, CLAIM, &Cbor::Map(fields).encode())
}

/// What every commit has, of the claim in the first slot.
pub fn commit(retains: &[u64], fields: impl IntoIterator<Item = (u64, Cbor)>) -> Vec<u8> {
    let retains = retains.iter().map(|sequence| Cbor::Uint(*sequence));
    let mut all = vec![
        (0, Cbor::Uint(1)),
        (1, Cbor::Bytes(vec![7; 16])),
        (2, Cbor::Uint(0)),
        (3, Cbor::Uint(1_700_000_000_000)),
        (4, Cbor::Array(retains.collect())),
    ];
    all.extend(fields);
    Cbor::Map(all).encode()
}

/// An entry as it is stored.
pub fn entry(path: &str, mode: u64, (s, ns): (i64, u64), what: Vec<(u64, Cbor)>) -> Cbor {
    let common = [
        (0, Cbor::Text(path.to_owned())),
        (1, Cbor::Uint(mode)),
        (2, Cbor::Int(s)),
        (3, Cbor::Uint(ns)),
    ];
    Cbor::Map(common.into_iter().chain(what).collect())
}

/// A data object that holds these chunks, as they are stored.
pub fn data_object<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut object, mut index, mut count) = (Vec::new(), Vec::new(), 0u32);
    for chunk in chunks {
        object.extend(chunk);
        index.extend((chunk.len() as u32).to_le_bytes());
        index.extend(blake3::hash(chunk).as_bytes());
        count += 1;
    }
    index.extend(b"\x93TCKD\r\n\x1a");
    index.extend(count.to_le_bytes());
    let hash = blake3::hash(&index);
    object.extend(index);
    object.extend(hash.as_bytes());
    object
}
