//! Removing what lies where a tree is to be.

use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use crate::tree::target::MAX_DEPTH;

/// Removes what a path names: a link itself, a directory with all that is in it.
pub(super) fn whole(dir: &Dir, path: &Path) -> io::Result<()> {
    let metadata = dir.symlink_metadata(path)?;
    remove(dir, path, metadata.is_dir())
}

/// Removes a file or a directory, those that their owner may not write too: a restore that was
/// interrupted may have made some.
fn remove(dir: &Dir, path: &Path, is_dir: bool) -> io::Result<()> {
    if !is_dir {
        return dir.remove_file(path);
    }
    match dir.remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            permit(dir, path, 0)?;
            dir.remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Lets the owner change a directory and all beneath it.
#[cfg(unix)]
fn permit(dir: &Dir, path: &Path, depth: usize) -> io::Result<()> {
    use cap_std::fs::PermissionsExt;

    if depth > MAX_DEPTH {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    dir.set_permissions(path, PermissionsExt::from_mode(0o700))?;
    let inner = dir.open_dir_nofollow(path)?;
    for entry in inner.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            permit(&inner, Path::new(&entry.file_name()), depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn permit(_dir: &Dir, _path: &Path, _depth: usize) -> io::Result<()> {
    Ok(())
}

/// Removes the entries of a directory that `what` asks for. Links are removed, not followed.
pub(super) fn contents(dir: &Dir, what: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        if !what(&name) {
            continue;
        }
        remove(dir, &name, entry.file_type()?.is_dir())?;
    }
    Ok(())
}
