//! The contents that simulated tasks save. They identify the save that wrote them and share chunks with the
//! contents of other saves.

use std::sync::LazyLock;
use std::time::SystemTime;

use bytes::Bytes;

use super::dice::Dice;
use crate::tests::memory_tree::MemoryTree;
use crate::tests::noise::noise;
use crate::tree::{Entry, Node, Tree};

/// Pieces that contents share. In a simulation each is a few chunks, and a quarter of a data object.
static BODIES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| (0..8).map(|seed| noise(seed, 16 << 10)).collect());

/// The contents of one save. No two saves have equal contents, except for [`Shape::Shared`], which has few
/// values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) number: u32,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A single file small enough to be stored in the record.
    Small,
    /// A single file: the save's number, then bodies.
    Large(Vec<u8>),
    /// A single file of bodies only, all of which may be stored already.
    Shared(Vec<u8>),
    /// A directory with a file of bodies, a small file and an empty file.
    Tree(Vec<u8>),
}

impl Contents {
    pub(super) fn draw(number: u32, single: bool, dice: &mut Dice) -> Self {
        let bodies = |dice: &mut Dice| {
            let count = dice.within(1..7);
            (0..count).map(|_| dice.below(8) as u8).collect()
        };
        let shape = match dice.below(if single { 8 } else { 10 }) {
            0..3 => Shape::Small,
            3..5 => Shape::Large(bodies(dice)),
            5..8 => Shape::Shared(bodies(dice)),
            _ => Shape::Tree(bodies(dice)),
        };
        Self { number, shape }
    }

    /// The contents of all files, concatenated.
    pub(super) fn bytes(&self) -> Bytes {
        let (text, bodies) = (format!("save {}", self.number), |bodies: &[u8]| {
            let bodies = bodies.iter().map(|body| &BODIES[usize::from(*body)][..]);
            bodies.collect::<Vec<_>>().concat()
        });
        match &self.shape {
            Shape::Small => text.into(),
            Shape::Large(of) => [text.into_bytes(), bodies(of)].concat().into(),
            Shape::Shared(of) => bodies(of).into(),
            Shape::Tree(of) => [bodies(of), text.into_bytes()].concat().into(),
        }
    }

    /// The directory, or `None` if the contents are one unnamed file.
    pub(super) fn tree(&self) -> Option<MemoryTree> {
        let Shape::Tree(of) = &self.shape else {
            return None;
        };
        let size_bytes = self.bytes().len() as u64;
        let body_bytes = BODIES[0].len() as u64 * of.len() as u64;
        let file = |size_bytes| Node::File { size_bytes };
        let small = file(size_bytes - body_bytes);
        let empty = format!("is {}", self.number);
        let nodes = [
            ("", Node::Dir),
            ("bodies", file(body_bytes)),
            ("empty", Node::Dir),
            (&format!("empty/{empty}"), file(0)),
            ("small", small),
        ];
        let entries = nodes.map(|(path, node)| Entry {
            path: path.to_owned(),
            node,
            mode: 0o644,
            modified: SystemTime::UNIX_EPOCH,
        });
        let tree = Tree::new(entries.to_vec()).unwrap();
        Some(MemoryTree::holding(tree, self.bytes()))
    }

    /// Whether a restored tree equals the saved one.
    pub(super) fn equal(&self, restored: &MemoryTree) -> bool {
        let Some((tree, contents)) = restored.held() else {
            return false;
        };
        let expected = self.tree().and_then(|tree| tree.held());
        let same_tree = match expected {
            Some((expected, _)) => tree == expected,
            None => tree.file_count() == 1 && !tree.is_dir(),
        };
        same_tree && contents == self.bytes()
    }
}
