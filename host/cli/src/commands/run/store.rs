//! The default location of a task, and the check that no task gets a directory with checkpoints.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::exit::{Code, failure};
use crate::options::SharedDir;

/// How much of a task's name goes into the name of its location. File systems allow 255 bytes.
const MAX_NAME_CHARS: usize = 64;

/// How many bytes of a hash distinguish tasks with the same name.
const HASH_BYTES: usize = 8;

/// Returns the default location of a task. It lies outside what `--dir .` usually gives, and tasks with the same name
/// in different directories have different locations.
pub(super) fn default_location(task: &Path) -> anyhow::Result<PathBuf> {
    let root = root().ok_or_else(|| {
        let what = "there is no default location, because neither XDG_STATE_HOME nor HOME is set to an absolute path; name a location with --store";
        failure(Code::WrongLocation, what)
    })?;
    Ok(root.join(name_of(&resolve_parent(task))))
}

/// Returns the directory of all default locations: `$XDG_STATE_HOME/wasm-checkpoint`, or else
/// `$HOME/.local/state/wasm-checkpoint`.
pub(super) fn root() -> Option<PathBuf> {
    // A relative path counts as unset, as the XDG Base Directory Specification says.
    let dir = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = dir("XDG_STATE_HOME").or_else(|| Some(dir("HOME")?.join(".local/state")))?;
    Some(state.join("wasm-checkpoint"))
}

/// Returns the name of a task's location, such as `main-0123456789abcdef` for `/home/me/a/main.wasm`.
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

/// Returns the absolute path of a task. Resolves links to its directory, but not the task itself if it is a link: the
/// link may later point to a newer version of the same task.
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

/// Checks that no directory given to the task exposes a private one.
///
/// # Errors
/// If a given directory contains a private one or lies in one.
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
                "cannot give the task {host}: it {relation} {what} ({path}), which the task could then read and change; use another --dir, or another --store"
            );
            return Err(failure(Code::Usage, what));
        }
    }
    Ok(())
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
    fn tasks_with_the_same_name_have_different_locations() {
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
    fn all_spellings_of_a_task_have_the_same_name() {
        let dir = std::env::current_dir().unwrap();
        let spellings = ["t.wasm", "./t.wasm", "src/../t.wasm"];
        for spelling in spellings {
            let task = resolve_parent(Path::new(spelling));
            assert_eq!(task, resolve(&dir).join("t.wasm"), "{spelling}");
        }
    }

    #[test]
    fn a_missing_path_is_resolved_as_far_as_it_exists() {
        let dir = resolve(&std::env::current_dir().unwrap());
        assert_eq!(resolve(Path::new("no/such/../dir")), dir.join("no/dir"));
        assert!(is_within(&dir.join("no/dir"), &dir));
        assert!(!is_within(&dir, &dir.join("no")));
        assert!(!is_within(&dir.join("node"), &dir.join("no")));
    }
}
