//! Saves and restores files and directories.

use std::path::Path;

use crate::bindings::task::checkpoint::paths;
use crate::bindings::task::checkpoint::types::Existing;
use crate::{Checkpoint, Error, Result, SaveOptions, Saved};

/// Replaces the checkpoint with the file or directory at `path`.
///
/// The checkpoint keeps names, contents, empty files and directories, permission bits (of `0o777`) and
/// modification times. It keeps symbolic links as links. A file that changes while it is being saved is
/// saved with some contents that it had. To keep files consistent with each other, do not write to them
/// during the save.
///
/// The path is resolved against the directories that the host gave to the task, as in `std::fs`.
///
/// # Errors
///
/// [`Error::InvalidPath`] if there is nothing at `path`, if the path is in no directory of the task or
/// leads out of it, or if something beneath it cannot be kept, such as a socket or a name that is not
/// Unicode. Nothing is saved then. [`Error::Fenced`] once a newer attempt has begun.
///
/// ```no_run
/// std::fs::write("/data/weights", [0; 4096])?;
/// std::fs::write("/data/optimizer", [0; 4096])?;
/// let saved = task_checkpoint::save("/data")?;
/// println!("uploaded {} of {} bytes", saved.uploaded_bytes, saved.logical_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save(path: impl AsRef<Path>) -> Result<Saved> {
    SaveOptions::new().save(path)
}

/// Like [`save`], but in the background. Returns once the host has copied what is at `path`, which may
/// change afterwards. See [`write_in_background`](crate::write_in_background).
///
/// # Errors
///
/// The error of an earlier background save, which is returned once; this save is not made then. Errors
/// from reading what is at `path`, as for [`save`].
///
/// ```no_run
/// task_checkpoint::save_in_background("/data")?;
/// std::fs::write("/data/weights", [1; 4096])?; // not in this checkpoint
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_in_background(path: impl AsRef<Path>) -> Result<()> {
    SaveOptions::new().save_in_background(path)
}

/// Makes `path` equal to the checkpoint: a file if a file or bytes were saved, a directory if a
/// directory was saved. Returns the checkpoint, or `None` if there is none.
///
/// A path that was saved is restored with the same path. Missing parent directories are created. If the
/// target already equals the checkpoint, nothing is written and the result is the same.
///
/// # Errors
///
/// [`Error::InvalidPath`] if the target has other content than the checkpoint, which is left unchanged
/// ([`restore_replacing`] removes it), and for a path as in [`save`]. [`Error::ReadOnly`] if the host
/// does not permit writing there. [`Error::Corrupt`] and [`Error::Unavailable`] if there may be a
/// checkpoint that cannot be read; neither means that there is none.
///
/// ```no_run
/// if task_checkpoint::restore("/data")?.is_none() {
///     std::fs::write("/data/weights", [0; 4096])?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore(path: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    restore_over(path.as_ref(), Existing::Refuse)
}

/// Like [`restore`], but removes what is at `path` and not in the checkpoint.
///
/// # Errors
///
/// As [`restore`], except that other content is not an error.
///
/// ```no_run
/// // Discard what the previous attempt left in its scratch directory.
/// task_checkpoint::restore_replacing("/data")?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn restore_replacing(path: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    restore_over(path.as_ref(), Existing::Replace)
}

fn restore_over(path: &Path, existing: Existing) -> Result<Option<Checkpoint>> {
    let restored = paths::restore(text(path)?, existing)?;
    Ok(restored.map(Checkpoint::from))
}

/// Converts a path for the host.
pub(crate) fn text(path: &Path) -> Result<&str> {
    let refused = || Error::InvalidPath(format!("{path:?}: the path is not Unicode"));
    path.to_str().ok_or_else(refused)
}
