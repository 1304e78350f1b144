//! Where a task's checkpoints are stored if nobody says so, and that no task is given a directory of them.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::exit::{Code, failure};
use crate::options::SharedDir;

/// The longest part of a task's name in that of its location. File systems hold 255 bytes.
const MAX_NAME_CHARS: usize = 64;

/// How many bytes of a hash tell tasks of one name apart.
const HASH_BYTES: usize = 8;

/// The default location of a task: it lies outside of what a `--dir .` gives, and tasks of one name in several
/// directories have locations of their own.
pub(super) fn default_location(task: &Path) -> anyhow::Result<PathBuf> {
    let root = root().ok_or_else(|| {
        let what = "this environment has neither XDG_STATE_HOME nor HOME, so there is no default location; name one with --store";
        failure(Code::WrongLocation, what)
    })?;
    Ok(root.join(name_of(&resolve_parent(task))))
}

/// The directory of all default locations: `$XDG_STATE_HOME/wasm-checkpoint`, or that beneath the home directory.
pub(super) fn root() -> Option<PathBuf> {
    // A relative one counts as unset, as the XDG Base Directory Specification says.
    let dir = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = dir("XDG_STATE_HOME").or_else(|| Some(dir("HOME")?.join(".local/state")))?;
    Some(state.join("wasm-checkpoint"))
}

/// For example `main-0123456789abcdef`, for `/home/me/a/main.wasm`.
fn name_of(task: &Path) -> String {
    let stem = task.file_stem().unwrap_or(OsStr::new("task"));
    let stem = stem.to_string_lossy();
    let plain = |c: char| match c.is_ascii_alphanumeric() || "-_.".contains(c) {
        true => c,
        false => '_',
    };
    let stem: String = stem.chars().take(MAX_NAME_CHARS).map(plain).collect();
    let hash = blake3::hash(task.as_os_str().as_encoded_bytes());
    let hash = hash.as_bytes().iter().take(HASH_BYTES);
    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hash}")
}

/// The absolute path of a task. Links to its directory are resolved. One that is the task itself is not: it may be
/// turned to a newer version of the same task.
fn resolve_parent(task: &Path) -> PathBuf {
    let absolute = std::path::absolute(task).unwrap_or_else(|_| task.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => resolve(&absolute),
    }
}

/// A directory that no task may see.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
}

/// # Errors
/// If a task would be given a directory in which private ones lie, or which lies in one.
pub(super) fn check_dirs<'a>(
    dirs: impl IntoIterator<Item = &'a SharedDir>,
    private: &[Private],
) -> anyhow::Result<()> {
    for SharedDir { host, .. } in dirs {
        let shared = resolve(host);
        for Private { what, path } in private {
            let hidden = resolve(path);
            let relation = match (is_within(&hidden, &shared), is_within(&shared, &hidden)) {
                (true, _) => "contains",
                (_, true) => "lies in",
                _ => continue,
            };
            let (host, path) = (host.display(), path.display());
            let what = format!(
                "--dir {host}: it {relation} {what} ({path}), which the task could read and change; give it another directory, or name another --store"
            );
            return Err(failure(Code::Usage, what));
        }
    }
    Ok(())
}

fn is_within(path: &Path, dir: &Path) -> bool {
    path.ancestors().any(|ancestor| is_same(ancestor, dir))
}

/// Whether two resolved paths name one directory, be it by way of a bind mount.
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

/// The absolute path without links and `..`. What is not there yet has neither.
fn resolve(path: &Path) -> PathBuf {
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
    fn tasks_of_one_name_have_names_of_their_own() {
        let [a, b] = ["/a/main.wasm", "/b/main.wasm"].map(|task| name_of(Path::new(task)));
        assert_ne!(a, b);
        assert!(a.starts_with("main-") && b.starts_with("main-"));
    }

    #[test]
    fn names_are_plain_and_short() {
        let long = format!("/{}.wasm", "ä \u{1b}".repeat(80));
        let name = name_of(Path::new(&long));
        assert!(name.len() <= MAX_NAME_CHARS + 1 + 2 * HASH_BYTES, "{name}");
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        );
    }

    #[test]
    fn the_same_task_has_one_name_however_it_is_spelled() {
        let dir = std::env::current_dir().unwrap();
        let spellings = ["t.wasm", "./t.wasm", "src/../t.wasm"];
        for spelling in spellings {
            let task = resolve_parent(Path::new(spelling));
            assert_eq!(task, resolve(&dir).join("t.wasm"), "{spelling}");
        }
    }

    #[test]
    fn what_is_not_there_is_resolved_as_far_as_it_is() {
        let dir = resolve(&std::env::current_dir().unwrap());
        assert_eq!(resolve(Path::new("no/such/../dir")), dir.join("no/dir"));
        assert!(is_within(&dir.join("no/dir"), &dir));
        assert!(!is_within(&dir, &dir.join("no")));
        assert!(!is_within(&dir.join("node"), &dir.join("no")));
    }
}
