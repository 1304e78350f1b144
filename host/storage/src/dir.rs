//! Files and directories of this machine.
use std::io::{Read, Write};

use cap_std::fs::Dir;

use crate::{FileTree, Result, TargetState, Tree};

/// A path beneath a directory.
#[derive(Debug)]
pub struct BeneathDir {}

impl BeneathDir {
    /// `path` beneath `dir`.
    pub fn new(_dir: Dir, _path: &str) -> Result<Self> {
        todo!()
    }
}

impl FileTree for BeneathDir {
    fn state(&self) -> Result<TargetState> {
        todo!()
    }
    fn read(&self, _contents: &mut dyn Write) -> Result<Tree> {
        todo!()
    }
    fn clear(&self) -> Result<()> {
        todo!()
    }
    fn write(&self, _tree: &Tree, _contents: &mut dyn Read) -> Result<()> {
        todo!()
    }
}
