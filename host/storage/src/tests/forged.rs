//! Forged commits: their hashes are correct, but their contents are invalid. Each is refused with a typed
//! error before anything is written, and takes memory only in proportion to its size.

mod data;
mod descriptions;
mod memory;
mod records;
mod restore;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::forge::Cbor::{Array, Bytes, Text, Uint};
use super::forge::{COMMIT, Cbor, claim, commit, entry, named_entry, record};
use super::{begin, memory};
use crate::Attempt;
use crate::error::ErrorKind;
use crate::format::ObjectName;
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::paths;
use crate::tree::dir::DirTree;
use crate::tree::target::Existing;

fn dir(path: &str) -> Cbor {
    entry(path, 0o755, (0, 0), [])
}

pub(super) fn file(path: &str, size_bytes: u64) -> Cbor {
    entry(path, 0o755, (0, 0), [(4, Uint(size_bytes))])
}

fn link(path: &str, target: &str) -> Cbor {
    entry(path, 0o755, (0, 0), [(5, Text(target.into()))])
}

/// An empty file of this depth and name.
fn named_file(depth: u64, name: &str) -> Cbor {
    named_entry(depth, name, 0o755, (0, 0), [(4, Uint(0))])
}

/// A commit whose contents lie in the record.
fn inline(tree: Vec<Cbor>, contents: &[u8]) -> Vec<u8> {
    commit([(5, Array(tree)), (6, Bytes(contents.to_vec()))])
}

/// A commit of a directory that holds these entries, all of them empty.
fn in_a_dir(entries: impl IntoIterator<Item = Cbor>) -> Vec<u8> {
    let root = std::iter::once(dir(""));
    inline(root.chain(entries).collect(), b"")
}

/// A location whose only commit is forged.
struct Forged {
    store: Arc<InMemory>,
    location: OpenLocation,
}

/// Everything below a directory, without following links: each path, and the contents of files.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            found.extend(everything(&path));
        }
        let contents = kind.is_file().then(|| fs::read(&path).unwrap());
        found.insert(path, contents);
    }
    found
}

/// A directory that holds a canary, and beside it a directory that holds a file.
fn dir_with_canary() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("canary"), "sings").unwrap();
    fs::create_dir(temp.path().join("occupied")).unwrap();
    fs::write(temp.path().join("occupied/own"), "kept").unwrap();
    temp
}

fn kind<T: std::fmt::Debug>(name: &str, result: crate::error::Result<T>) -> ErrorKind {
    match result {
        Err(error) => error.kind(),
        Ok(value) => panic!("{name}: succeeded with {value:?}"),
    }
}

impl Forged {
    /// A location with one commit, which has this payload, and with the data object `1-0`.
    async fn put(payload: &[u8], data: Option<Vec<u8>>) -> Self {
        let (store, location) = memory();
        let path = |sequence| paths::record(location.prefix(), sequence);
        store.put(&path(1), claim(1).into()).await.unwrap();
        let commit = record(1, COMMIT, payload);
        store.put(&path(2), commit.into()).await.unwrap();
        if let Some(data) = data {
            let name = ObjectName {
                epoch: 1,
                counter: 0,
            };
            let path = paths::object(location.prefix(), name);
            store.put(&path, data.into()).await.unwrap();
        }
        Self { store, location }
    }

    async fn begin(&self) -> Attempt {
        begin(&self.location).await
    }

    /// Every way to read the commit fails with this kind of error, and nothing is written.
    async fn assert_refused(&self, name: &str, expected: ErrorKind) {
        let temp = dir_with_canary();
        let before = everything(temp.path());
        let target = |name| DirTree::ambient(&temp.path().join(name)).unwrap();
        for (path, existing) in [
            ("target", Existing::Refuse),
            ("occupied", Existing::Replace),
        ] {
            let attempt = self.begin().await;
            let restored = attempt.restore(target(path), existing).await;
            assert_eq!(kind(name, restored), expected, "{name}: restore to {path}");
            assert!(everything(temp.path()) == before, "{name}: {path} changed");
            let checkpoints = self.location.checkpoints().await;
            for checkpoint in checkpoints.unwrap_or_default() {
                let limits = Limits::default();
                let restored = checkpoint.restore(target(path), existing, &limits);
                assert_eq!(kind(name, restored.await), expected, "{name}");
            }
            assert!(everything(temp.path()) == before, "{name}: {path} changed");
        }
        let read = self.begin().await.read().await;
        assert!(
            matches!(kind(name, read), k if k == expected || matches!(k, ErrorKind::NotSingle(_))),
            "{name}"
        );
        let resumed = self.begin().await.resume_point().await;
        assert!(
            !matches!(resumed, Ok(crate::ResumePoint::Fresh)),
            "{name}: the location counts as fresh"
        );
    }

    async fn findings(&self) -> Vec<String> {
        let report = self.location.verify().await.unwrap();
        report.findings.into_iter().map(|f| f.object).collect()
    }
}
