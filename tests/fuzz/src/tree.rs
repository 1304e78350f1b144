//! Commits that may contradict themselves, and the verdict of `FORMAT.md` on each.

mod forged;
mod verdict;

use std::collections::BTreeMap;

use crate::Place;
use crate::forge::{self, COMMIT, Cbor, Chunk};

pub use forged::Forged;
use forged::{Lie, Size, Stored, Target};
pub use verdict::{Verdict, is_kept};

/// An entry of a commit.
pub struct Entry {
    /// The path that its depth and name have after the entries before it.
    pub path: String,
    /// Whether no directory is open at its depth.
    is_adrift: bool,
    depth: u64,
    name: String,
    pub size: Option<u64>,
    pub target: Option<String>,
    pub mode: u32,
    pub modified: (i64, u32),
    /// The contents, if this is a file and its size is correct.
    pub contents: Vec<u8>,
}

/// A commit and the data objects it refers to.
pub struct Commit {
    pub entries: Vec<Entry>,
    inline: Option<Vec<u8>>,
    /// The epoch, counter and size of each data object.
    references: Option<Vec<(u64, u64, u64)>>,
    chunks: Option<Vec<Chunk>>,
    objects: BTreeMap<(u64, u64), Vec<u8>>,
    /// Whether the stored contents may differ from those of the entries.
    is_changed: bool,
}

/// Number of chunks per data object.
const CHUNKS: usize = 3;

impl Entry {
    fn new(
        path: String,
        size: Option<Size>,
        target: Option<Target>,
        mode: u32,
        modified: (i64, u32),
    ) -> Self {
        let mut contents = Vec::new();
        let size = size.map(|size| match size {
            Size::Noise(n) => {
                contents.resize(usize::from(n), 0);
                let hasher = blake3::Hasher::new_derive_key(&path);
                hasher.finalize_xof().fill(&mut contents);
                n.into()
            }
            Size::Zeros(n) => {
                contents.resize(usize::from(n), 0);
                n.into()
            }
            Size::Lie(n) => n,
        });
        let (depth, name) = forge::depth_and_name(&path);
        Self {
            is_adrift: false,
            depth,
            name: name.to_owned(),
            path,
            size,
            target: target.map(Target::text),
            mode,
            modified,
            contents,
        }
    }

    fn components(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|c| !c.is_empty())
    }

    fn is_dir(&self) -> bool {
        self.size.is_none() && self.target.is_none()
    }

    fn encoded(&self) -> Cbor {
        let size = self.size.map(|size| (4, Cbor::Uint(size)));
        let target = self.target.clone().map(|target| (5, Cbor::Text(target)));
        let modified = (self.modified.0, self.modified.1.into());
        let node = size.into_iter().chain(target);
        forge::named_entry(self.depth, &self.name, self.mode.into(), modified, node)
    }
}

/// Finds the path of each entry.
fn resolve(entries: &mut [Entry]) {
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        let parents = entry.depth.saturating_sub(1) as usize;
        entry.is_adrift = parents > names.len();
        names.truncate(parents);
        if entry.depth > 0 {
            names.push(entry.name.clone());
        }
        entry.path = names.join("/");
    }
}

impl Commit {
    /// Creates a commit of an empty directory, which every target can hold.
    pub fn empty_dir() -> Self {
        let root = Entry::new(String::new(), None, None, 0o755, (0, 0));
        Self::new(vec![root], Vec::new(), Stored::Inline { more: 0 })
    }

    fn new(mut entries: Vec<Entry>, mut contents: Vec<u8>, stored: Stored) -> Self {
        resolve(&mut entries);
        let lies = |entry: &Entry| entry.size.is_some_and(|s| s != entry.contents.len() as u64);
        let is_changed = entries.iter().any(lies);
        let mut commit = Self {
            entries,
            inline: None,
            references: None,
            chunks: None,
            objects: BTreeMap::new(),
            is_changed,
        };
        match stored {
            Stored::Inline { more } => {
                let length = contents.len().saturating_add_signed(more.into());
                commit.is_changed |= more != 0;
                contents.resize(length, 1);
                commit.inline = Some(contents);
            }
            Stored::Chunks { cuts, lies } => {
                commit.cut(&contents, &cuts);
                commit.is_changed |= !lies.is_empty();
                lies.into_iter().for_each(|lie| commit.lie(lie));
            }
            Stored::Both => {
                commit.cut(&contents, &[]);
                commit.inline = Some(contents);
            }
            Stored::Nowhere => {}
        }
        commit
    }

    /// Stores contents as chunks of these sizes.
    fn cut(&mut self, mut contents: &[u8], cuts: &[u16]) {
        let mut cuts = cuts.iter();
        let mut chunks: Vec<(Vec<u8>, Chunk)> = Vec::new();
        while !contents.is_empty() {
            let most = cuts.next().map_or(usize::MAX, |cut| usize::from(*cut) + 1);
            let (chunk, rest) = contents.split_at(most.min(contents.len()).min(1 << 20));
            contents = rest;
            let packed = lz4_flex::block::compress(chunk);
            let (stored, codec) = match packed.len() < chunk.len() {
                true => (packed, 1),
                false => (chunk.to_vec(), 0),
            };
            let chunk = Chunk {
                object: 0,
                offset: 0,
                stored_bytes: stored.len() as u64,
                size_bytes: chunk.len() as u64,
                codec,
                hash: blake3::hash(chunk).into(),
            };
            chunks.push((stored, chunk));
        }
        let mut references = Vec::new();
        for (number, group) in chunks.chunks_mut(CHUNKS).enumerate() {
            let mut offset = 0;
            for (_, chunk) in group.iter_mut() {
                (chunk.object, chunk.offset) = (number as u64, offset);
                offset += chunk.stored_bytes;
            }
            let object = forge::data_object(group.iter().map(|(stored, _)| stored.as_slice()));
            references.push((1, number as u64, object.len() as u64));
            self.objects.insert((1, number as u64), object);
        }
        self.references = Some(references);
        self.chunks = Some(chunks.into_iter().map(|(_, chunk)| chunk).collect());
    }

    fn lie(&mut self, lie: Lie) {
        let chunks = self.chunks.get_or_insert_default();
        let references = self.references.get_or_insert_default();
        let (at, of_chunk) = match lie {
            Lie::Offset(at, _)
            | Lie::StoredBytes(at, _)
            | Lie::SizeBytes(at, _)
            | Lie::Codec(at, _)
            | Lie::Hash(at)
            | Lie::Object(at, _)
            | Lie::Twice(at) => (usize::from(at), true),
            Lie::ObjectSize(at, _)
            | Lie::Epoch(at, _)
            | Lie::Cut(at, _)
            | Lie::Flip(at, _)
            | Lie::Missing(at) => (usize::from(at), false),
        };
        if of_chunk {
            let at = at % chunks.len().max(1);
            let Some(chunk) = chunks.get_mut(at) else {
                return;
            };
            match lie {
                Lie::Offset(_, n) => chunk.offset = n,
                Lie::StoredBytes(_, n) => chunk.stored_bytes = n.into(),
                Lie::SizeBytes(_, n) => chunk.size_bytes = n.into(),
                Lie::Codec(_, n) => chunk.codec = n.into(),
                Lie::Hash(_) => chunk.hash[7] ^= 1,
                Lie::Object(_, n) => chunk.object = n.into(),
                _ => {
                    let again = chunk.clone();
                    chunks.insert(at, again);
                }
            }
            return;
        }
        let at = at % references.len().max(1);
        let Some((epoch, counter, size)) = references.get_mut(at) else {
            return;
        };
        let Some(object) = self.objects.get_mut(&(*epoch, *counter)) else {
            return;
        };
        match lie {
            Lie::ObjectSize(_, n) => *size = n,
            Lie::Epoch(_, n) => {
                // Moves the object too, as if a newer attempt had stored it.
                let (object, before) = (std::mem::take(object), (*epoch, *counter));
                self.objects.remove(&before);
                *epoch = n.into();
                self.objects.insert((*epoch, *counter), object);
            }
            Lie::Cut(_, n) => object.truncate(usize::from(n)),
            Lie::Flip(_, n) => {
                let at = usize::from(n) % object.len().max(1);
                object
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1);
            }
            _ => drop(self.objects.remove(&(*epoch, *counter))),
        }
    }

    /// Returns the record of the commit, for the second slot of a location.
    fn record(&self) -> Vec<u8> {
        let entries = self.entries.iter().map(Entry::encoded).collect();
        let mut fields = vec![(5, Cbor::Array(entries))];
        fields.extend(self.inline.clone().map(|inline| (6, Cbor::Bytes(inline))));
        fields.extend(self.references.iter().map(|references| {
            let encoded = references
                .iter()
                .map(|(e, c, s)| forge::object_ref(*e, *c, *s));
            (7, Cbor::Array(encoded.collect()))
        }));
        fields.extend(self.chunks.iter().map(|chunks| {
            let encoded = chunks.iter().map(Chunk::encoded);
            (8, Cbor::Array(encoded.collect()))
        }));
        forge::record(1, COMMIT, &forge::commit(fields))
    }

    /// Stores the commit in the second slot of a location.
    pub async fn put(&self, place: &Place) {
        place.put_record(1, forge::claim(1)).await;
        place.put_record(2, self.record()).await;
        for ((epoch, counter), object) in &self.objects {
            place.put_data(*epoch, *counter, object.clone()).await;
        }
    }
}
