//! Shared test support: a server, the program under test, and pseudorandom numbers.

pub(crate) mod bucket;
pub(crate) mod cli;
pub(crate) mod embedded;
#[path = "../../host/storage/src/tests/noise.rs"]
pub(crate) mod noise;
pub(crate) mod s3;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use cli::{Cli, Host, Outcome};

/// Makes two tests of each of these functions, one for each host of the import.
macro_rules! on_each_host {
    ($($name:ident),+ $(,)?) => {
        mod native {
            $(#[test]
            fn $name() {
                super::$name($crate::support::cli::Host::Native);
            })+
        }

        mod composed {
            $(#[test]
            fn $name() {
                super::$name($crate::support::cli::Host::Composed);
            })+
        }
    };
}
pub(crate) use on_each_host;

/// A location on the local disk, and a directory that tasks see as `/data`.
pub(crate) struct Place {
    dir: TempDir,
    host: Host,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(Host::Native)
    }

    /// A place whose tasks run on this host.
    pub(crate) fn on(host: Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        if host == Host::Composed {
            // `wasmtime run` refuses to preopen a missing directory.
            fs::create_dir(dir.path().join("store")).unwrap();
        }
        Self { dir, host }
    }

    /// The same place, whose tasks run on the other host.
    pub(crate) fn across(self) -> Self {
        let host = match self.host {
            Host::Native => Host::Composed,
            Host::Composed => Host::Native,
        };
        Self { host, ..self }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Returns the path of the record in a slot.
    pub(crate) fn record(&self, sequence: u64) -> PathBuf {
        self.store().join("log").join(record_name(sequence))
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The command that runs a task on this location. The caller adds the task.
    pub(crate) fn cli(&self) -> Cli {
        Cli::on(self.host, &self.store()).dir(&self.work(), "/data")
    }

    /// Runs the guest `verbs` to its end.
    pub(crate) fn run(&self, verbs: &str) -> Outcome {
        self.cli().verbs(verbs).outcome()
    }
}

/// Everything below a directory: the type, mode, modification time and contents of each path.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_symlink() {
                format!("link to {:?}", fs::read_link(&path).unwrap())
            } else if meta.is_dir() {
                open.push(path.clone());
                format!("directory {:o}", meta.permissions().mode())
            } else {
                let modified = meta.modified().unwrap();
                let contents = fs::read(&path).unwrap();
                let mode = meta.permissions().mode();
                format!("file {mode:o} {modified:?} {contents:?}")
            };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.insert(name.to_owned(), what);
        }
    }
    found
}

/// Pseudorandom numbers, the same in every run (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Returns the name of the record in a slot, as FORMAT.md says.
pub(crate) fn record_name(sequence: u64) -> String {
    format!("{:020}", (1 << 63) - sequence)
}
