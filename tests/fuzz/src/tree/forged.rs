//! Arbitrary trees, most of them nearly valid.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use super::{Commit, Entry};
use crate::disk::MARKER;

/// A description of a tree and of how its contents are stored, from which a commit is built.
#[derive(Arbitrary, Debug)]
pub struct Forged {
    root: Root,
    entries: Vec<Made>,
    unsorted: bool,
    contents: Stored,
}

#[derive(Arbitrary, Debug)]
enum Root {
    Dir,
    File(Size),
    Link(Target),
    Missing,
}

#[derive(Arbitrary, Debug)]
struct Made {
    /// Selects the parent among the preceding directories, or among all entries if `anywhere`.
    parent: u8,
    anywhere: bool,
    name: Name,
    kind: Kind,
    mode: u32,
    modified: (i64, u32),
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Dir,
    File(Size),
    Link(Target),
    Both(Size, Target),
}

#[derive(Arbitrary, Debug)]
enum Name {
    /// One of a few letters, so that some names collide.
    Letter(u8),
    Text(String),
    Up,
    Dot,
    Nothing,
    Nul,
    Marker,
    Long(u16),
    /// A whole path, which ignores the parent.
    Path(String),
    Absolute,
}

#[derive(Arbitrary, Debug)]
pub(super) enum Target {
    Outside,
    Up,
    Text(String),
    Nothing,
    Nul,
    Long(u16),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Size {
    Noise(u16),
    Zeros(u16),
    Lie(u64),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Stored {
    Inline { more: i8 },
    Chunks { cuts: Vec<u16>, lies: Vec<Lie> },
    Both,
    Nowhere,
}

/// A change to a valid commit of chunks. The first number selects the chunk or the data object.
#[derive(Arbitrary, Debug)]
pub(super) enum Lie {
    Offset(u8, u64),
    StoredBytes(u8, u32),
    SizeBytes(u8, u32),
    Codec(u8, u8),
    Hash(u8),
    Object(u8, u8),
    Twice(u8),
    ObjectSize(u8, u64),
    Epoch(u8, u8),
    Cut(u8, u16),
    Flip(u8, u16),
    Missing(u8),
}

impl Forged {
    /// Builds the commit. Unless `any_mode`, the owner gets all permissions, so that this process can read the
    /// restored tree.
    pub fn build(self, any_mode: bool) -> Commit {
        // One mode in 256 is wider than permission bits, which is damage.
        let bits = |mode: u32| match mode >> 24 {
            0xff => mode,
            _ => mode & 0o777,
        };
        let mode = |mode: u32| bits(mode) | if any_mode { 0 } else { 0o700 };
        let mut entries = Vec::new();
        let mut dirs = vec![String::new()];
        let root = match self.root {
            Root::Dir => Some((None, None)),
            Root::File(size) => Some((Some(size), None)),
            Root::Link(target) => Some((None, Some(target))),
            Root::Missing => None,
        };
        entries.extend(root.map(|(size, target)| {
            Entry::new(String::new(), size, target, mode(0o750), (1_700_000_000, 5))
        }));
        for made in self.entries.into_iter().take(40) {
            let parents: Vec<&str> = match made.anywhere {
                true => entries
                    .iter()
                    .map(|entry: &Entry| entry.path.as_str())
                    .collect(),
                false => dirs.iter().map(String::as_str).collect(),
            };
            let parent = parents.get(usize::from(made.parent) % parents.len().max(1));
            let path = made.name.beneath(parent.copied().unwrap_or_default());
            let (size, target) = match made.kind {
                Kind::Dir => (None, None),
                Kind::File(size) => (Some(size), None),
                Kind::Link(target) => (None, Some(target)),
                Kind::Both(size, target) => (Some(size), Some(target)),
            };
            if size.is_none() && target.is_none() {
                dirs.push(path.clone());
            }
            entries.push(Entry::new(
                path,
                size,
                target,
                mode(made.mode),
                made.modified,
            ));
        }
        if !self.unsorted {
            entries.sort_by(|a, b| a.components().cmp(b.components()));
        }
        let contents: Vec<u8> = entries.iter().flat_map(|e| e.contents.clone()).collect();
        Commit::new(entries, contents, self.contents)
    }
}

impl Name {
    fn beneath(self, parent: &str) -> String {
        let name = match self {
            Self::Letter(n) => char::from(b'a' + n % 8).to_string(),
            Self::Text(text) => text,
            Self::Up => "..".to_owned(),
            Self::Dot => ".".to_owned(),
            Self::Nothing => String::new(),
            Self::Nul => "a\0".to_owned(),
            Self::Marker => MARKER.to_owned(),
            Self::Long(n) => "n".repeat(usize::from(n) % 300),
            Self::Path(path) => return path,
            Self::Absolute => return "/canary".to_owned(),
        };
        match parent {
            "" => name,
            parent => format!("{parent}/{name}"),
        }
    }
}

impl Target {
    pub(super) fn text(self) -> String {
        match self {
            Self::Outside => "../../outside/canary".to_owned(),
            Self::Up => "..".to_owned(),
            Self::Text(text) => text,
            Self::Nothing => String::new(),
            Self::Nul => "a\0".to_owned(),
            Self::Long(n) => "t/".repeat(usize::from(n) % 3000),
        }
    }
}
