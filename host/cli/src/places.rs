//! How the places that paths name relate to each other: whether one contains another.

use std::path::{Component, Path, PathBuf};

/// Returns how `this` relates to `other`, if one contains the other. Both must be [resolved](resolve).
pub(crate) fn relation(this: &Path, other: &Path) -> Option<&'static str> {
    match (is_within(other, this), is_within(this, other)) {
        (true, _) => Some("contains"),
        (_, true) => Some("lies in"),
        _ => None,
    }
}

/// Returns the absolute path of a file. Resolves links to its directory, but not the file itself if it is a link: such
/// as a task, where the link may later point to a newer version of the same task.
pub(crate) fn resolve_parent(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => resolve(&absolute),
    }
}

fn is_within(path: &Path, dir: &Path) -> bool {
    path.ancestors().any(|ancestor| is_same(ancestor, dir))
}

/// Returns whether two resolved paths name the same directory, even through a bind mount.
#[cfg(unix)]
fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let id = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    a == b || id(a).is_some_and(|a| Some(a) == id(b))
}

#[cfg(not(unix))]
fn is_same(a: &Path, b: &Path) -> bool {
    a == b
}

/// Returns the absolute path without links and `..`. Parts that do not exist yet are resolved by name only.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = path.ancestors().find_map(|there| {
        let real = there.canonicalize().ok()?;
        let rest = path.strip_prefix(there).ok()?;
        Some(rest.components().fold(real, |mut path, part| {
            match part {
                Component::ParentDir => {
                    path.pop();
                }
                part => path.push(part),
            }
            path
        }))
    });
    resolved.unwrap_or(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_is_resolved_as_far_as_it_exists() {
        let dir = resolve(&std::env::current_dir().unwrap());
        assert_eq!(resolve(Path::new("no/such/../dir")), dir.join("no/dir"));
        assert!(is_within(&dir.join("no/dir"), &dir));
        assert!(!is_within(&dir, &dir.join("no")));
        assert!(!is_within(&dir.join("node"), &dir.join("no")));
    }
}
