//! A copy of a tree in a temporary file, so that the original may change during a background save.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use checkpoint_storage::{Error, ErrorKind, Limits, Result, Tree, TreeReader, TreeSource};

/// The size of the buffer for copying a tree.
const BUFFER_BYTES: usize = 256 << 10;

/// A tree, and the contents of its files in an unnamed file, which the system removes even if the
/// process crashes.
#[derive(Debug)]
pub(crate) struct Spooled {
    contents: File,
    tree: Tree,
}

impl Spooled {
    pub(crate) fn copy(source: &impl TreeSource, limits: &Limits) -> Result<Self> {
        let mut reader = source.reader(limits)?;
        let mut contents = tempfile::tempfile().map_err(failed)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut size_bytes: u64 = 0;
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            size_bytes = size_bytes.saturating_add(read as u64);
            limits.check_size(size_bytes)?;
            contents
                .write_all(buffer.get(..read).unwrap_or_default())
                .map_err(failed)?;
        }
        let tree = reader.finish()?;
        Ok(Self { contents, tree })
    }
}

impl TreeSource for Spooled {
    fn reader(&self, _limits: &Limits) -> Result<Box<dyn TreeReader>> {
        let mut contents = self.contents.try_clone().map_err(failed)?;
        contents.seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Box::new(SpoolReader {
            contents,
            tree: self.tree.clone(),
        }))
    }
}

struct SpoolReader {
    contents: File,
    tree: Tree,
}

impl TreeReader for SpoolReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.contents.read(into).map_err(failed)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Ok(self.tree)
    }
}

fn failed(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ErrorKind::QuotaExceeded
        }
        _ => ErrorKind::Other,
    };
    let what =
        "cannot use the host's temporary file for a background save; check its temporary directory";
    Error::new(kind, what).with_source(error)
}
