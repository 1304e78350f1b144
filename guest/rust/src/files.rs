//! From a path, as the standard library takes it, to a directory that the host lends and a path in it.

use std::path::Path;

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::Descriptor;

use crate::bindings::task::checkpoint::files::{self, Existing};
use crate::{Error, Result, SaveOptions, Saved};

/// Replaces the checkpoint by the file or directory at `path`.
///
/// Kept are names, contents, empty files and directories, permission bits (of `0o777`), modification
/// times, and symbolic links as links. A file that changes while it is saved is saved with some
/// contents that it had, so do not write files that belong together meanwhile.
///
/// A path is looked up in the directories that the host lends, as `std::fs` does; a relative one
/// in the directory `.` or `/`.
///
/// # Errors
///
/// [`Error::InvalidPath`] if there is nothing at `path`, if the path lies in none of those
/// directories or leads out of it, or if something beneath it cannot be kept: a socket, a name that
/// is not Unicode. Nothing is saved then. [`Error::Fenced`] once a newer attempt has begun.
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

/// [`save`]s while the task goes on: returns when the host has copied what is at `path`, which may
/// change then. See [`write_in_background`](crate::write_in_background).
///
/// # Errors
///
/// That of an earlier save in the background, which is told once; this one is not made then. Those of
/// reading what is at `path`, as for [`save`].
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
/// directory was. Gives the checkpoint's position in the log, or `None` if there is no checkpoint.
///
/// What was saved from a path is restored by the same path. Missing parents are created. If the
/// target already equals the checkpoint, nothing is written and the answer is the same.
///
/// # Errors
///
/// [`Error::InvalidPath`] if the target has other content than the checkpoint, which is left as it
/// is ([`restore_replacing`] removes it), and for a path as in [`save`]. [`Error::ReadOnly`]
/// if the host does not permit writing there. [`Error::Corrupt`] and [`Error::Unavailable`] if there may
/// be a checkpoint that cannot be had: neither is `None`.
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

/// [`restore`], but removes what is at `path` and not in the checkpoint.
///
/// # Errors
///
/// As [`restore`], other content apart.
///
/// ```no_run
/// // What the attempt before left in its scratch directory does not count.
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

/// There is no way from a `std::fs::File` to its descriptor, so this takes the preopened directory
/// that the standard library would take.
pub(crate) fn locate(path: &Path) -> Result<(Descriptor, String)> {
    let refused = |why| Error::InvalidPath(format!("{path:?}: {why}"));
    let text = path
        .to_str()
        .ok_or_else(|| refused("the path is not Unicode"))?;
    if text.is_empty() {
        // Beneath a directory this would mean the directory: no slip should save or replace it all.
        return Err(refused("the path is empty"));
    }
    get_directories()
        .into_iter()
        .filter_map(|(dir, name)| Some((dir, beneath(&name, text)?)))
        .min_by_key(|(_, rest)| rest.len())
        .ok_or_else(|| refused("the path lies in no directory that the host lends"))
}

/// What is left of `path` beneath the directory of this name; shorter if the name is longer.
fn beneath(name: &str, path: &str) -> Option<String> {
    let mut rest = parts(path);
    for part in parts(name) {
        if rest.next() != Some(part) {
            return None;
        }
    }
    Some(rest.collect::<Vec<_>>().join("/"))
}

/// The working directory is the root, as in the standard library on WASI, so both spell one path.
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
