//! The default location of a task, and the check that no task gets a directory with checkpoints.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use checkpoint_storage::OpenLocation;

use crate::exit::{Code, failure};
use crate::options::SharedDir;
use crate::places;
use crate::task::compiled_tasks;

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
    Ok(root.join(name_of(&places::resolve_parent(task))))
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

/// A directory that no task may see.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
}

/// Returns the directories with checkpoints, those of a run, of its predecessors and of all default locations, and
/// the directory of compiled tasks.
pub(super) fn private(location: &OpenLocation, predecessors: &[OpenLocation]) -> Vec<Private> {
    let local = |what, location: &OpenLocation| {
        let path = location.local_dir()?.to_owned();
        Some(Private { what, path })
    };
    let predecessors = predecessors
        .iter()
        .filter_map(|previous| local("the checkpoints of the previous attempt", previous));
    let root = root().map(|path| Private {
        what: "the default location of all tasks",
        path,
    });
    let compiled = compiled_tasks().map(|path| Private {
        what: "the compiled code of all tasks",
        path,
    });
    local("the checkpoints of this run", location)
        .into_iter()
        .chain(predecessors)
        .chain(root)
        .chain(compiled)
        .collect()
}

/// Checks that a report does not lie in a private directory.
///
/// # Errors
/// If it does.
pub(super) fn check_report(report: &Path, private: &[Private]) -> anyhow::Result<()> {
    let file = places::resolve_parent(report);
    let is_around = |Private { path, .. }: &&Private| {
        places::relation(&file, &places::resolve(path)) == Some("lies in")
    };
    let Some(Private { what, path }) = private.iter().find(is_around) else {
        return Ok(());
    };
    let (report, path) = (report.display(), path.display());
    let what = format!(
        "cannot write {report}, the file of --report: it lies in {what} ({path}), where it could replace a record"
    );
    Err(failure(Code::Usage, what))
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
        let shared = places::resolve(host);
        for Private { what, path } in private {
            let Some(relation) = places::relation(&shared, &places::resolve(path)) else {
                continue;
            };
            let (host, path) = (host.display(), path.display());
            let what = format!(
                "cannot give the task {host}: it {relation} {what} ({path}), which the task could then read and change; use another --dir, or put these elsewhere (--store, XDG_STATE_HOME, XDG_CACHE_HOME)"
            );
            return Err(failure(Code::Usage, what));
        }
    }
    Ok(())
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
            let task = places::resolve_parent(Path::new(spelling));
            assert_eq!(task, places::resolve(&dir).join("t.wasm"), "{spelling}");
        }
    }
}
