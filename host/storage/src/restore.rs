//! Restoring a checkpoint to a tree outside the storage.

use std::io::{self, Write};

use futures::StreamExt;

use crate::checkpoint::Checkpoint;
use crate::format::Contents;
use crate::{Error, ErrorKind, Existing, FileTree, Result, TargetState, blocking, pipe};

pub(crate) async fn state_of<T: FileTree>(target: T) -> Result<(T, TargetState)> {
    blocking::run(move || {
        let state = target.state()?;
        Ok((target, state))
    })
    .await?
}

/// The target and its state, if it is to be written; `None` if it equals the checkpoint already.
///
/// # Errors
/// `InvalidPath` if it has other content and may not be replaced.
pub(crate) async fn prepare<T: FileTree>(
    target: T,
    checkpoint: &Checkpoint,
    existing: Existing,
) -> Result<Option<(T, TargetState)>> {
    let (mut target, state) = state_of(target).await?;
    if state == TargetState::Occupied {
        let equal;
        (target, equal) = equals(target, checkpoint).await?;
        if equal {
            return Ok(None);
        }
        if existing == Existing::Refuse {
            return Err(Error::new(
                ErrorKind::InvalidPath,
                "the target has other content than the checkpoint; name an empty one, or ask for it to be replaced",
            ));
        }
    }
    Ok(Some((target, state)))
}

/// Whether the target holds what the checkpoint does, by its hashes: nothing is fetched.
async fn equals<T: FileTree>(target: T, checkpoint: &Checkpoint) -> Result<(T, bool)> {
    let commit = checkpoint.commit.clone();
    blocking::run(move || {
        let mut compare = Compare::new(&commit.contents);
        let equal = match target.read(&mut compare) {
            Ok(tree) => compare.finish() && tree.equals_but_for_times(&commit.tree),
            // The comparison ends the reading at the first difference.
            Err(_) if compare.differs => false,
            // Something is there that no checkpoint can hold.
            Err(error) if error.kind() == ErrorKind::InvalidPath => false,
            Err(error) => return Err(error),
        };
        Ok((target, equal))
    })
    .await?
}

/// Writes the checkpoint where `state` says that it may be written. The inner result is about the
/// storage and the target; the target comes back either way.
pub(crate) async fn write<T: FileTree>(
    target: T,
    state: TargetState,
    checkpoint: &Checkpoint,
) -> Result<(T, Result<()>)> {
    let (sender, mut reader) = pipe::reverse_pipe();
    let mut contents = checkpoint.contents();
    let reading = async move {
        while let Some(piece) = contents.next().await.transpose()? {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok::<_, Error>(())
    };
    let commit = checkpoint.commit.clone();
    let writing = blocking::run(move || {
        let written = match state {
            TargetState::Occupied => target.clear(),
            TargetState::Absent | TargetState::EmptyDir | TargetState::Interrupted => Ok(()),
        };
        let written = written.and_then(|()| target.write(&commit.tree, &mut reader));
        (target, written)
    });
    let (read, written) = pipe::both(reading, writing).await;
    let (target, written) = written?;
    // A storage that fails cuts the contents short, so its error is the cause of the target's.
    Ok((target, read.and(written)))
}

/// Takes contents and compares them with the checkpoint's.
struct Compare<'a> {
    expected: Expected<'a>,
    differs: bool,
}

enum Expected<'a> {
    Bytes(&'a [u8]),
    Hashes {
        chunks: std::slice::Iter<'a, crate::format::Chunk>,
        hasher: Box<blake3::Hasher>,
        /// What is missing of the chunk that is being hashed, and its hash.
        current: Option<(usize, [u8; 32])>,
    },
}

impl<'a> Compare<'a> {
    fn new(contents: &'a Contents) -> Self {
        let expected = match contents {
            Contents::Inline(bytes) => Expected::Bytes(bytes),
            Contents::Chunks { chunks, .. } => Expected::Hashes {
                chunks: chunks.iter(),
                hasher: Box::default(),
                current: None,
            },
        };
        Self {
            expected,
            differs: false,
        }
    }

    /// Whether nothing differed and nothing is missing.
    fn finish(&mut self) -> bool {
        !self.differs
            && match &mut self.expected {
                Expected::Bytes(rest) => rest.is_empty(),
                Expected::Hashes {
                    chunks, current, ..
                } => current.is_none() && chunks.next().is_none(),
            }
    }

    /// Takes some of `bytes`, at least one; `None` if they differ.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        match &mut self.expected {
            Expected::Bytes(rest) => {
                *rest = rest.strip_prefix(bytes)?;
                Some(bytes.len())
            }
            Expected::Hashes {
                chunks,
                hasher,
                current,
            } => {
                let (missing, hash) = match current.take() {
                    Some(current) => current,
                    None => {
                        let chunk = chunks.next()?;
                        (chunk.size_bytes as usize, chunk.hash)
                    }
                };
                let taken = bytes.len().min(missing);
                hasher.update(&bytes[..taken]);
                if taken < missing {
                    *current = Some((missing - taken, hash));
                    return Some(taken);
                }
                let equal = hasher.finalize() == hash;
                hasher.reset();
                equal.then_some(taken)
            }
        }
    }
}

impl Write for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.take(bytes).ok_or_else(|| {
            self.differs = true;
            io::Error::other("the target differs from the checkpoint")
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
