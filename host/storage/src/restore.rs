//! Restores a checkpoint to a tree outside the storage.

use std::sync::Arc;

use futures::TryStreamExt;

use crate::blocking;
use crate::cancel::{Cancel, CancelOnDrop, Running};
use crate::checkpoint::Checkpoint;
use crate::contents::read;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Contents, Description};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::log::history::Damage;
use crate::log::predecessors::Resumable;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::TreeTarget;

impl Checkpoint {
    /// Makes `target` equal to this checkpoint. A target that already equals it is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if the target has other content and `existing` says to refuse;
    /// [`ErrorKind::QuotaExceeded`] if the checkpoint exceeds the limits, before anything is
    /// written; [`ErrorKind::Corrupt`] if it is damaged; [`ErrorKind::Unavailable`], also if a running
    /// attempt has pruned it meanwhile; those of [`TreeTarget::writer`] and of the writer it returns.
    pub async fn restore(
        &self,
        target: impl TreeTarget,
        existing: Existing,
        limits: &Limits,
    ) -> Result<()> {
        let call = CancelOnDrop::new();
        let description = self.explained(self.describe(limits).await).await?;
        let prepared = prepare(target, &self.location, &description, existing, &call);
        match prepared.await? {
            None => Ok(()),
            Some(target) => {
                let (_, written) =
                    write(target, &self.location, description, existing, &call).await?;
                self.explained(written).await
            }
        }
    }
}

/// How often a restore begins again because a running attempt has pruned what it reads.
const MAX_PRUNED: usize = 16;

impl Resumable {
    /// Makes `target` equal to the newest checkpoint that can be restored, and returns that checkpoint.
    /// Falls back past damage, which it adds to `damaged`, and goes on to newer checkpoints if a running
    /// attempt has pruned these. Returns `None` and leaves the target untouched if there is no checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if every checkpoint is damaged; [`ErrorKind::Unavailable`], also if a running
    /// attempt prunes faster than this reads; otherwise those of [`Checkpoint::restore`].
    pub async fn restore(
        &mut self,
        target: impl TreeTarget,
        existing: Existing,
        limits: &Limits,
    ) -> Result<Option<Checkpoint>> {
        if self.checkpoints.is_empty() {
            return match self.damaged.first() {
                Some(damage) => Err(damage.error()),
                None => Ok(None),
            };
        }
        let call = CancelOnDrop::new();
        let (mut unprepared, mut prepared) = (Some(target), None);
        let mut pruned = 0;
        while let Some(checkpoint) = self.checkpoints.first().cloned() {
            let described = checkpoint.describe(limits).await;
            let restored = match checkpoint.explained(described).await {
                Err(error) => Err(error),
                Ok(description) => {
                    let at = &checkpoint.location;
                    if let Some(target) = unprepared.take() {
                        prepared = prepare(target, at, &description, existing, &call).await?;
                    }
                    let Some(target) = prepared.take() else {
                        return Ok(Some(checkpoint));
                    };
                    let (target, written) = write(target, at, description, existing, &call).await?;
                    prepared = Some(target);
                    checkpoint.explained(written).await
                }
            };
            let Err(error) = restored else {
                return Ok(Some(checkpoint));
            };
            if error.kind() == ErrorKind::Unavailable && checkpoint.is_pruned().await? {
                pruned += 1;
                self.checkpoints = checkpoint.location.resumable().await?.checkpoints;
                // None is left where an attempt has begun afresh.
                if pruned > MAX_PRUNED || self.checkpoints.is_empty() {
                    return Err(error);
                }
            } else {
                self.fall_back(&checkpoint, error)?;
            }
        }
        Err(match self.damaged.first() {
            Some(damage) => damage.error(),
            None => Error::corrupt("no checkpoint can be restored"),
        })
    }

    fn fall_back(&mut self, checkpoint: &Checkpoint, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        let damage = Damage::new(&checkpoint.location, checkpoint.sequence, &error);
        self.damaged.insert(0, damage);
        self.checkpoints.retain(|c| !c.is_same(checkpoint));
        Ok(())
    }
}

/// Returns the target if it must be written; `None` if it already equals the checkpoint. Stops when
/// `call` is dropped.
///
/// # Errors
/// `InvalidPath` if it has other content and may not be replaced.
pub(crate) async fn prepare<T: TreeTarget>(
    target: T,
    location: &OpenLocation,
    description: &Arc<Description>,
    existing: Existing,
    call: &CancelOnDrop,
) -> Result<Option<T>> {
    let cancel = call.token();
    let (target, state) = blocking::run(location.threads(), move || {
        cancel.check()?;
        let state = target.state()?;
        Ok::<_, Error>((target, state))
    })
    .await??;
    if !matches!(state, TargetState::Dir | TargetState::File) {
        return Ok(Some(target));
    }
    let (target, equal) = equals(target, location, description, call.token()).await?;
    if equal {
        return Ok(None);
    }
    if existing == Existing::Refuse {
        return Err(Error::new(
            ErrorKind::InvalidPath,
            "the target has content that differs from the checkpoint; use an empty target, or request that it be replaced",
        ));
    }
    Ok(Some(target))
}

/// The size of the buffer for comparing a target.
const BUFFER_BYTES: usize = 256 << 10;

/// Compares the target with the checkpoint by its hashes, without fetching any contents.
async fn equals<T: TreeTarget>(
    target: T,
    location: &OpenLocation,
    description: &Arc<Description>,
    cancel: Cancel,
) -> Result<(T, bool)> {
    let description = description.clone();
    blocking::run(location.threads(), move || {
        match compare(&target, &description, &cancel) {
            Ok(equal) => Ok((target, equal)),
            Err(error) => match error.kind() {
                // The target holds something that no checkpoint can hold, or more than this one
                // does.
                ErrorKind::InvalidPath | ErrorKind::QuotaExceeded => Ok((target, false)),
                _ => Err(error),
            },
        }
    })
    .await?
}

fn compare(target: &impl TreeTarget, expected: &Description, cancel: &Cancel) -> Result<bool> {
    // Anything larger than the checkpoint differs from it, so reading can stop there.
    let limits = Limits {
        entries: expected.tree.len() as u64,
        checkpoint_bytes: expected.contents.size_bytes(),
        ..Limits::default()
    };
    let mut reader = target.reader(&limits, cancel)?;
    let mut compare = Compare::new(&expected.contents);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        cancel.check()?;
        let read = reader.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(bytes) if compare.take_all(bytes) => {}
            Some(_) => return Ok(false),
        }
    }
    let modes = target.keeps_modes();
    Ok(compare.finish() && reader.finish()?.equals_but_for_times(&expected.tree, modes))
}

/// Writes the checkpoint. The inner result reports errors of the storage and the target; the target
/// is returned either way. Stops when `call` is dropped.
pub(crate) async fn write<T: TreeTarget>(
    target: T,
    location: &OpenLocation,
    description: Arc<Description>,
    existing: Existing,
    call: &CancelOnDrop,
) -> Result<(T, Result<()>)> {
    let threads = location.threads();
    let mut runs = read::runs(location, description.clone());
    // If nothing of the checkpoint can be read, remove nothing.
    let first = match runs.try_next().await {
        Ok(first) => first,
        Err(error) => return Ok((target, Err(error))),
    };
    let running = Running::default();
    let cancel = call.token().among(&running);
    let (target, writer) = blocking::run(threads, move || {
        let writer = cancel
            .check()
            .and_then(|()| target.writer(&description.tree, existing, &cancel));
        (target, writer)
    })
    .await?;
    let writing = async {
        let mut writer = writer?;
        let mut next = first;
        while let Some(run) = next {
            let cancel = call.token();
            writer = blocking::run(threads, move || {
                for piece in run {
                    cancel.check()?;
                    writer.write(&piece)?;
                }
                Ok::<_, Error>(writer)
            })
            .await??;
            next = runs.try_next().await?;
        }
        let cancel = call.token();
        blocking::run(threads, move || {
            cancel.check().and_then(|()| writer.finish())
        })
        .await?
    };
    let written = writing.await;
    // After an error the writer is dropped, but its threads may take another step. Whatever writes to the target
    // next must not meet them.
    running.ended().await;
    Ok((target, written))
}

/// Compares incoming contents with the checkpoint's.
struct Compare<'a> {
    expected: Expected<'a>,
    differs: bool,
}

enum Expected<'a> {
    Bytes(&'a [u8]),
    Hashes {
        chunks: std::slice::Iter<'a, crate::format::Chunk>,
        hasher: Box<blake3::Hasher>,
        /// The number of bytes missing from the chunk being hashed, and its expected hash.
        current: Option<(usize, [u8; 32])>,
    },
}

impl<'a> Compare<'a> {
    fn new(contents: &'a Contents) -> Self {
        let expected = match contents {
            Contents::Inline(bytes) => Expected::Bytes(bytes),
            Contents::Chunks(chunks) => Expected::Hashes {
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

    /// Returns whether everything matched and nothing is missing.
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

    /// Takes the next bytes. Returns false if they differ.
    fn take_all(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.take(bytes) {
                Some(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
                None => {
                    self.differs = true;
                    return false;
                }
            }
        }
        true
    }
}
