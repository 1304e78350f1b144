//! Files and directories in memory, to save and to restore to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::tree::Tree;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::{TreeReader, TreeSource, TreeTarget, TreeWriter};

/// A file or a directory in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryTree(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Interrupted,
    Whole(Tree, Bytes),
}

impl MemoryTree {
    pub(super) fn holding(tree: Tree, contents: Bytes) -> Self {
        Self(Arc::new(Mutex::new(Held::Whole(tree, contents))))
    }

    pub(super) fn held(&self) -> Option<(Tree, Bytes)> {
        match &*self.0.lock().unwrap() {
            Held::Whole(tree, contents) => Some((tree.clone(), contents.clone())),
            Held::Nothing | Held::Interrupted => None,
        }
    }
}

impl TreeSource for MemoryTree {
    fn reader(&self, _limits: &Limits, _cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        let held = self.held();
        let (tree, rest) = held.ok_or_else(|| Error::new(ErrorKind::InvalidPath, "nothing"))?;
        Ok(Box::new(Reader { tree, rest }))
    }
}

impl TreeTarget for MemoryTree {
    fn state(&self) -> Result<TargetState> {
        Ok(match &*self.0.lock().unwrap() {
            Held::Nothing => TargetState::Absent,
            Held::Interrupted => TargetState::Interrupted,
            Held::Whole(tree, _) if tree.is_dir() => TargetState::Dir,
            Held::Whole(..) => TargetState::File,
        })
    }

    fn writer(
        &self,
        tree: &Tree,
        _existing: Existing,
        _cancel: &Cancel,
    ) -> Result<Box<dyn TreeWriter>> {
        *self.0.lock().unwrap() = Held::Interrupted;
        Ok(Box::new(Writer {
            target: self.clone(),
            tree: tree.clone(),
            written: Vec::new(),
        }))
    }
}

struct Reader {
    tree: Tree,
    rest: Bytes,
}

impl TreeReader for Reader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let taken = into.len().min(self.rest.len());
        into[..taken].copy_from_slice(&self.rest.split_to(taken));
        Ok(taken)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Ok(self.tree)
    }
}

struct Writer {
    target: MemoryTree,
    tree: Tree,
    written: Vec<u8>,
}

impl TreeWriter for Writer {
    fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.written.extend_from_slice(piece);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        *self.target.0.lock().unwrap() = Held::Whole(self.tree, self.written.into());
        Ok(())
    }
}
