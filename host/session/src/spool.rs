//! A copy of a tree in a temporary file, so that the original may change during a background save.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use checkpoint_storage::{
    Attempt, Cancel, Error, ErrorKind, Limits, Result, Tree, TreeReader, TreeSource,
};

use crate::room::{Room, Share};

/// The size of the buffer for copying a tree: how much is copied between two checks for cancellation.
const BUFFER_BYTES: usize = 256 << 10;

/// The size of the blocks in which a file system allocates space. One that is zero is not written.
const BLOCK_BYTES: u64 = 4096;

/// A tree, and the contents of its files in an unnamed file, which the system removes even if the
/// process crashes. Blocks of zeros are holes of that file and take no space.
///
/// The file lies in the directory that the environment variable `TMPDIR` names, or else in `/tmp`
/// (elsewhere the system's temporary directory).
#[derive(Clone, Debug)]
pub(crate) struct Spooled(Arc<Copied>);

#[derive(Debug)]
struct Copied {
    contents: File,
    size_bytes: u64,
    tree: Tree,
    /// The space of the file, which is given back when the last reader has ended.
    _share: Share,
}

impl Spooled {
    /// Copies a tree, waiting while other shares of `room` leave too little space. Only one copy may be
    /// made at a time. If the future is dropped, copying stops.
    ///
    /// # Errors
    /// Any failure to read the tree. [`ErrorKind::QuotaExceeded`] if it is larger than a checkpoint may
    /// be, or than the whole room.
    pub(crate) async fn copy(
        source: impl TreeSource,
        attempt: &Attempt,
        room: &Arc<Room>,
    ) -> Result<Self> {
        let call = attempt.begin_work();
        let (limits, cancel, share) = (*attempt.limits(), call.token(), room.share());
        let mut copying = blocking(move || Copying::begin(&source, limits, cancel, share)).await?;
        loop {
            match blocking(move || copying.proceed()).await? {
                Progress::Done(copy) => return Ok(copy),
                Progress::Full { rest, bytes } => {
                    rest.share.wait_for(bytes).await;
                    copying = *rest;
                }
            }
        }
    }
}

/// A copy that is being made.
struct Copying {
    reader: Box<dyn TreeReader>,
    contents: File,
    buffer: Vec<u8>,
    /// The part of the buffer that is not in the copy yet.
    read: std::ops::Range<usize>,
    /// The end of the copy.
    size_bytes: u64,
    /// The end of the last block that the share covers.
    covered_to: u64,
    share: Share,
    limits: Limits,
    cancel: Cancel,
}

/// How far copying has come.
enum Progress {
    Done(Spooled),
    /// The share must grow by so many bytes before it can continue.
    Full {
        rest: Box<Copying>,
        bytes: u64,
    },
}

impl Copying {
    fn begin(
        source: &impl TreeSource,
        limits: Limits,
        cancel: Cancel,
        share: Share,
    ) -> Result<Self> {
        cancel.check()?;
        Ok(Self {
            reader: source.reader(&limits, &cancel)?,
            contents: tempfile::tempfile().map_err(failed)?,
            buffer: vec![0; BUFFER_BYTES],
            read: 0..0,
            size_bytes: 0,
            covered_to: 0,
            share,
            limits,
            cancel,
        })
    }

    /// Copies until the end, or until the share must grow.
    fn proceed(mut self) -> Result<Progress> {
        loop {
            if let Some(bytes) = self.write()? {
                return Ok(Progress::Full {
                    rest: Box::new(self),
                    bytes,
                });
            }
            self.cancel.check()?;
            let read = self.reader.read(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            self.read = 0..read;
            let size_bytes = self.size_bytes.saturating_add(read as u64);
            self.limits.check_size(size_bytes)?;
        }
        // It may end in a hole.
        self.contents.set_len(self.size_bytes).map_err(failed)?;
        Ok(Progress::Done(Spooled(Arc::new(Copied {
            contents: self.contents,
            size_bytes: self.size_bytes,
            tree: self.reader.finish()?,
            _share: self.share,
        }))))
    }

    /// Writes what has been read. Returns by how much the share must grow first, if it is too small.
    fn write(&mut self) -> Result<Option<u64>> {
        while let Some(rest) = self.buffer.get(self.read.clone())
            && !rest.is_empty()
        {
            let Run { zeros, data } = Run::first(self.size_bytes, rest);
            let data = rest.get(zeros..zeros + data).unwrap_or_default();
            let begin = self.size_bytes + zeros as u64;
            let end = begin + data.len() as u64;
            if !data.is_empty() {
                let first_block = begin - begin % BLOCK_BYTES;
                let covered_to = end.next_multiple_of(BLOCK_BYTES);
                let bytes = covered_to.saturating_sub(first_block.max(self.covered_to));
                if !self.share.grow(bytes)? {
                    return Ok(Some(bytes));
                }
                self.covered_to = covered_to;
                let sought = self.contents.seek(SeekFrom::Start(begin));
                sought
                    .and_then(|_| self.contents.write_all(data))
                    .map_err(failed)?;
            }
            self.read.start += zeros + data.len();
            self.size_bytes = end;
        }
        Ok(None)
    }
}

/// The sizes of the zeros at the beginning of a piece and of the data after them.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    zeros: usize,
    data: usize,
}

impl Run {
    /// Returns the first run of `piece`, which begins at this position of the copy. Only whole blocks, and
    /// parts of blocks at the ends of the piece, are zeros.
    fn first(position: u64, piece: &[u8]) -> Self {
        const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

        let mut run = Self { zeros: 0, data: 0 };
        let mut rest = piece;
        let mut position = position;
        while !rest.is_empty() {
            let to_boundary = (BLOCK_BYTES - position % BLOCK_BYTES) as usize;
            let (block, after) = rest.split_at(to_boundary.min(rest.len()));
            match ZEROS.starts_with(block) {
                true if run.data > 0 => break,
                true => run.zeros += block.len(),
                false => run.data += block.len(),
            }
            position += block.len() as u64;
            rest = after;
        }
        run
    }
}

impl TreeSource for Spooled {
    fn reader(&self, _limits: &Limits, _cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        Ok(Box::new(SpoolReader {
            copy: self.0.clone(),
            position: 0,
        }))
    }
}

/// Reads by position, because another reader of the same file may not have ended.
struct SpoolReader {
    copy: Arc<Copied>,
    position: u64,
}

impl TreeReader for SpoolReader {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let read = read_at(&self.copy.contents, into, self.position).map_err(failed)?;
        self.position += read as u64;
        if read == 0 && self.position < self.copy.size_bytes {
            let end = std::io::ErrorKind::UnexpectedEof;
            return Err(failed(end.into()));
        }
        Ok(read)
    }

    fn finish(self: Box<Self>) -> Result<Tree> {
        Ok(self.copy.tree.clone())
    }
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, position)
}

#[cfg(windows)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, position)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        let what = "the host's thread that copies the directory for a background save died; report this as a bug";
        Error::new(ErrorKind::Other, what).with_source(error)
    })?
}

fn failed(error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ErrorKind::QuotaExceeded
        }
        _ => ErrorKind::Other,
    };
    let what = "cannot use the host's temporary file for a background save; check the directory that TMPDIR names, or else /tmp";
    Error::new(kind, what).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_without_data_are_zeros() {
        let block = BLOCK_BYTES as usize;
        let piece = |parts: &[(u8, usize)]| -> Vec<u8> {
            let parts = parts.iter().map(|&(byte, size)| vec![byte; size]);
            parts.flatten().collect()
        };
        for (position, parts, zeros, data) in [
            (0, &[(1, 10)][..], 0, 10),
            (0, &[(0, 10)], 10, 0),
            (0, &[(0, 10), (1, 1)], 0, 11),
            (0, &[(0, block), (1, 1)], block, 1),
            (0, &[(1, 1), (0, 2 * block)], 0, block),
            // The rest of the block in which the piece begins, and then a whole one.
            (10, &[(0, block - 10), (1, block)], block - 10, block),
            (10, &[(0, block), (1, 1)], block - 10, 11),
        ] {
            let found = Run::first(position, &piece(parts));
            assert_eq!(found, Run { zeros, data }, "{position} {parts:?}");
        }
    }
}
