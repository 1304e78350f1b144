//! Saving and restoring files and directories. Resolves a path, as the standard library does, to a preopened
//! directory and a path in it.

use std::path::Path;

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::Descriptor;

use crate::bindings::task::checkpoint::files::{self, Existing};
use crate::{Error, Result, SaveOptions, Saved};

/// Replaces the checkpoint with the file or directory at `path`.
///
/// A checkpoint preserves names, contents, empty files and directories, permission bits (of `0o777`),
/// modification times, and symbolic links as links. If a file changes during the save, the checkpoint
/// contains some contents that it had, so do not write related files during a save.
///
/// Paths are resolved in the directories that the host grants, as in `std::fs`. Relative paths are resolved
/// in the directory `.` or `/`.
///
/// # Errors
///
/// [`Error::InvalidPath`] if `path` does not exist, is not in one of those directories or leads out of
/// it, or if something beneath it cannot be saved, such as a socket or a name that is not Unicode.
/// Nothing is saved then. [`Error::Fenced`] once a newer attempt has begun.
///
/// ```no_run
/// std::fs::write("/data/weights", [0; 4096])?;
/// std::fs::write("/data/optimizer", [0; 4096])?;
/// let saved = task_checkpoint::save("/data")?;
/// println!("{} of {} bytes went up", saved.uploaded_bytes, saved.logical_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save(path: impl AsRef<Path>) -> Result<Saved> {
    SaveOptions::new().save(path)
}

/// Does the same as [`save`], in the background: returns when the host has copied the files at `path`, which
/// may change then. See [`write_in_background`](crate::write_in_background).
///
/// # Errors
///
/// The failure of an earlier background save, reported once, in which case this one is not made. Any failure
/// to read `path`, as for [`save`].
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
/// directory was. Returns the checkpoint's position in the log, or `None` if there is no checkpoint.
///
/// Restore to the same path from which you saved. Creates missing parents. If the target already equals
/// the checkpoint, writes nothing and returns the same position.
///
/// # Errors
///
/// [`Error::InvalidPath`] if the target has other content, which is left unchanged
/// ([`restore_replacing`] removes it), or if the path is invalid as in [`save`]. [`Error::ReadOnly`]
/// if the host does not permit writing there. [`Error::Corrupt`] and [`Error::Unavailable`] if there may
/// be a checkpoint that cannot be read; in both cases the result is not `None`.
///
/// ```no_run
/// if task_checkpoint::restore("/data")?.is_none() {
///     std::fs::write("/data/weights", [0; 4096])?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore(path: impl AsRef<Path>) -> Result<Option<u64>> {
    restore_over(path.as_ref(), Existing::Refuse)
}

/// Does the same as [`restore`], but removes everything at `path` that is not in the checkpoint.
///
/// # Errors
///
/// Those of [`restore`], except the one for other content.
///
/// ```no_run
/// // Discard what the previous attempt left in its scratch directory.
/// task_checkpoint::restore_replacing("/data")?;
/// # Ok::<(), task_checkpoint::Error>(())
/// ```
pub fn restore_replacing(path: impl AsRef<Path>) -> Result<Option<u64>> {
    restore_over(path.as_ref(), Existing::Replace)
}

fn restore_over(path: &Path, existing: Existing) -> Result<Option<u64>> {
    let (dir, path) = locate(path)?;
    Ok(files::restore(&dir, &path, existing)?)
}

/// Picks the preopened directory that the standard library would use, because a `std::fs::File` does not
/// expose its descriptor.
pub(crate) fn locate(path: &Path) -> Result<(Descriptor, String)> {
    let refused = |why| Error::InvalidPath(format!("{path:?}: {why}"));
    let text = path
        .to_str()
        .ok_or_else(|| refused("the path is not Unicode"))?;
    if text.is_empty() {
        // An empty path would mean the whole directory. Do not save or replace that by mistake.
        return Err(refused("the path is empty"));
    }
    get_directories()
        .into_iter()
        .filter_map(|(dir, name)| Some((dir, beneath(&name, text)?)))
        .min_by_key(|(_, rest)| rest.len())
        .ok_or_else(|| refused("the path is not in any directory that the host grants"))
}

/// Returns the rest of `path` beneath the directory of this name. A longer name leaves a shorter rest.
fn beneath(name: &str, path: &str) -> Option<String> {
    let mut rest = parts(path);
    for part in parts(name) {
        if rest.next() != Some(part) {
            return None;
        }
    }
    Some(rest.collect::<Vec<_>>().join("/"))
}

/// Treats the working directory as the root, as the standard library does on WASI, so that both spellings are
/// the same path.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
mod tests {
    use super::beneath;

    #[test]
    fn a_path_is_found_in_the_directories_that_hold_it() {
        assert_eq!(beneath("/data", "/data/a/b").as_deref(), Some("a/b"));
        assert_eq!(beneath("/data/", "/data").as_deref(), Some(""));
        assert_eq!(beneath("/", "/data/a").as_deref(), Some("data/a"));
        assert_eq!(beneath(".", "work/./a/").as_deref(), Some("work/a"));
        assert_eq!(beneath("work", "./work/a").as_deref(), Some("a"));
    }

    #[test]
    fn a_directory_with_a_longer_name_does_not_hold_the_path() {
        assert_eq!(beneath("/data", "/database"), None);
        assert_eq!(beneath("/data/a", "/data"), None);
        assert_eq!(beneath("/data", "../work"), None);
    }

    #[test]
    fn parents_are_left_to_the_host_to_judge() {
        assert_eq!(beneath("/data", "/data/../a").as_deref(), Some("../a"));
    }
}
