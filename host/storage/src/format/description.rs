//! The description of a checkpoint: its tree, and where the contents of the tree's files lie.
//!
//! A small description is part of the commit. A large one is contents, too: it is cut into nodes, which are stored in
//! data objects, so that what has not changed is not stored again. The list of its nodes is stored in the same way, and
//! so on, until a list is small enough for the commit.

use bytes::Bytes;
use minicbor::{CborLen, Decode, Decoder, Encode};

use super::chunk::{self, Chunk, Objects, check_chunks};
use super::entries::{self, EntryFields, TIME_BYTES};
use super::payload::to_vec;
use crate::error::{Error, Result};
use crate::tree::{Tree, TreeBuilder};

/// The longest description that is written or read: more files than [`MAX_ENTRIES`] if their names are short, or a few
/// TiB.
pub(crate) const MAX_DESCRIPTION_BYTES: u64 = 256 << 20;

/// The most entries of a description that is stored in data objects. The shortest take more memory than they store.
pub(crate) const MAX_ENTRIES: u64 = 4 << 20;

/// The most lists of nodes, each of the nodes of the one before it. Each is far shorter than the one before, so a
/// description of the maximum length has fewer.
const MAX_LEVELS: u8 = 8;

/// What a checkpoint is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Description {
    pub(crate) tree: Tree,
    pub(crate) contents: Contents,
}

/// The contents of the tree's files, concatenated in the tree's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contents {
    /// In the commit itself.
    Inline(Bytes),
    /// In chunks of data objects, one after the other.
    Chunks(Vec<Chunk>),
}

/// A description that is stored in data objects.
#[derive(Clone, Debug, PartialEq, Encode, Decode, CborLen)]
pub(crate) struct Root {
    /// How many lists of nodes there are, with the one in this record.
    #[n(0)]
    pub(crate) levels: u8,
    /// The number of entries of the tree.
    #[n(1)]
    pub(crate) entries: u64,
    /// The number of files among them.
    #[n(2)]
    pub(crate) files: u64,
    /// The size of the encoded entries, with which the description begins. Their times follow, then the chunks.
    #[n(3)]
    pub(crate) entries_bytes: u64,
    /// The size of the encoded chunks.
    #[n(4)]
    pub(crate) chunks_bytes: u64,
    /// The size of the contents.
    #[n(5)]
    pub(crate) contents_bytes: u64,
    /// The last list.
    #[n(6)]
    pub(crate) nodes: Vec<Chunk>,
}

impl Contents {
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Chunks(chunks) => chunk::size_of(chunks),
        }
    }

    pub(crate) fn chunks(&self) -> &[Chunk] {
        match self {
            Self::Inline(_) => &[],
            Self::Chunks(chunks) => chunks,
        }
    }
}

impl Description {
    /// Returns its root, as yet without nodes, and the bytes to store.
    pub(crate) fn encode(&self) -> (Root, Vec<u8>) {
        let mut bytes = Vec::new();
        for entry in entries::of(&self.tree) {
            bytes.append(&mut to_vec(&entry));
        }
        let entries_bytes = bytes.len() as u64;
        bytes.append(&mut entries::encode_times(&self.tree));
        let chunks = encode_list(self.contents.chunks());
        bytes.extend_from_slice(&chunks);
        let root = Root {
            levels: 0,
            entries: self.tree.len() as u64,
            files: self.tree.file_count(),
            entries_bytes,
            chunks_bytes: chunks.len() as u64,
            contents_bytes: self.contents.size_bytes(),
            nodes: Vec::new(),
        };
        (root, bytes)
    }

    /// Checks what every description must uphold.
    pub(super) fn check(&self) -> Result<()> {
        match self.tree.size_bytes() == Some(self.contents.size_bytes()) {
            true => Ok(()),
            false => Err(Error::corrupt(
                "the commit's contents differ in length from its files",
            )),
        }
    }
}

impl Root {
    /// Returns the size of the description.
    pub(crate) fn size_bytes(&self) -> u64 {
        let times = self.entries.saturating_mul(TIME_BYTES as u64);
        let entries = self.entries_bytes.saturating_add(times);
        entries.saturating_add(self.chunks_bytes)
    }

    pub(super) fn check(&self, objects: &Objects, inline: Option<&Bytes>) -> Result<()> {
        let levels = (1..=MAX_LEVELS).contains(&self.levels);
        let entries = (1..=self.entries_bytes.min(MAX_ENTRIES)).contains(&self.entries);
        let size_bytes = chunk::size_of(&self.nodes);
        let size = match self.levels {
            1 => size_bytes == self.size_bytes(),
            _ => size_bytes <= MAX_DESCRIPTION_BYTES,
        };
        let contents = match inline {
            Some(inline) => self.chunks_bytes == 0 && inline.len() as u64 == self.contents_bytes,
            None => self.chunks_bytes > 0,
        };
        let files = self.files <= self.entries;
        if !(levels && entries && size && contents && files)
            || self.size_bytes() > MAX_DESCRIPTION_BYTES
        {
            return Err(Error::corrupt(
                "the commit contradicts itself about its description",
            ));
        }
        check_chunks(objects, &self.nodes)?;
        chunk::blocks(&self.nodes).map(drop)
    }

    /// Decodes a description from its bytes. `inline` are the contents, if they are part of the commit; `nodes` are the
    /// nodes of all lists.
    ///
    /// # Errors
    /// `Corrupt` for anything that [`Description::encode`] cannot have produced.
    pub(crate) fn decode(
        &self,
        bytes: &[u8],
        objects: &Objects,
        inline: Option<&Bytes>,
        nodes: &[Chunk],
    ) -> Result<Description> {
        let contradicts = || Error::corrupt("the description differs from what its commit says");
        let times_bytes = self.entries.saturating_mul(TIME_BYTES as u64);
        let (entries, rest) = split(bytes, self.entries_bytes).ok_or_else(contradicts)?;
        let (times, list) = split(rest, times_bytes).ok_or_else(contradicts)?;
        let tree = decode_tree(entries, times)?;
        let contents = match inline {
            Some(inline) if list.is_empty() => Contents::Inline(inline.clone()),
            Some(_) => return Err(contradicts()),
            None => Contents::Chunks(decode_list(list, objects)?),
        };
        let description = Description { tree, contents };
        description.check()?;
        let chunks = description.contents.chunks();
        chunk::check_used(objects, chunks.iter().chain(nodes))?;
        chunk::blocks(chunks.iter().chain(nodes))?;
        let is_as_stated = self.entries == description.tree.len() as u64
            && self.files == description.tree.file_count()
            && self.chunks_bytes == list.len() as u64
            && self.contents_bytes == description.contents.size_bytes();
        match is_as_stated {
            true => Ok(description),
            false => Err(contradicts()),
        }
    }
}

fn split(bytes: &[u8], at: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(at).ok()?)
}

/// Decodes entries, one after the other, and makes a tree of them. There must be as many as times.
fn decode_tree(bytes: &[u8], times: &[u8]) -> Result<Tree> {
    let (times, _) = times.as_chunks::<TIME_BYTES>();
    let (mut decoder, mut times) = (Decoder::new(bytes), times.iter());
    let (mut tree, mut encoded) = (TreeBuilder::default(), Vec::new());
    while decoder.position() < bytes.len() {
        let Some(time) = times.next() else {
            return Err(Error::corrupt(
                "the description has more entries than its commit says",
            ));
        };
        let start = decoder.position();
        let entry: EntryFields<'_> = decoder.decode().map_err(undecodable)?;
        encoded.clear();
        // Writing to memory does not fail. If it did, the bytes would differ.
        let _ = minicbor::encode(&entry, &mut encoded);
        if bytes.get(start..decoder.position()) != Some(&encoded) {
            return Err(not_canonical());
        }
        entry.push_to(&mut tree, *time)?;
    }
    tree.finish().map_err(entries::invalid)
}

fn undecodable(error: minicbor::decode::Error) -> Error {
    Error::corrupt("the commit's description cannot be decoded").with_source(error)
}

fn not_canonical() -> Error {
    Error::corrupt("the description is not encoded the way a writer encodes it")
}

/// Encodes a list of chunks.
pub(crate) fn encode_list(chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.iter().map(minicbor::len).sum());
    for chunk in chunks {
        bytes.append(&mut to_vec(chunk));
    }
    bytes
}

/// Decodes a list of chunks that lie in these data objects.
pub(crate) fn decode_list(bytes: &[u8], objects: &Objects) -> Result<Vec<Chunk>> {
    let (mut decoder, mut chunks) = (Decoder::new(bytes), Vec::new());
    while decoder.position() < bytes.len() {
        chunks.push(decoder.decode().map_err(undecodable)?);
    }
    check_chunks(objects, &chunks)?;
    chunk::blocks(&chunks)?;
    match encode_list(&chunks) == bytes {
        true => Ok(chunks),
        false => Err(not_canonical()),
    }
}
