//! What lies in a storage as plain objects, which is how flytekit's checkpointer stores.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};

use self::read::Reader;
use crate::blocking::{self, Threads};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::paths;
use crate::tree::dir::DirTree;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::{FileTree, TreeReader, TreeWriter};
use crate::tree::{Entry, Node, Tree};

/// What flytekit calls bytes and readers, whatever they were.
const BYTES_NAME: &str = "_dst_cp";

/// The memory through which files are read to see whether they can be.
const CHECK_BYTES: usize = 256 << 10;

/// What lies beneath a URL as plain objects, to be saved as a checkpoint. It is never written.
///
/// The layout is that of `flytekit.core.checkpointer`, as its class `SyncCheckpoint` writes it:
///
/// | flytekit's call | what it stores | what that is here |
/// |---|---|---|
/// | `write(bytes)`, `save(reader)` | `<url>/_dst_cp` | a single unnamed file |
/// | `save(file)` | `<url>/<name of the file>` | a directory with that file: so does flytekit restore it |
/// | `save(directory)` | `<url>/<relative path>`… | a directory |
///
/// It overwrites and never deletes, so after calls of different kinds all of their objects are there;
/// `_dst_cp` is an unnamed file only where it is alone. A URL of one object is an unnamed file too.
///
/// An object of no bytes whose name ends in `/` stands for a directory. Other directories without
/// objects are lost before they get here, as are modes, links and modification times: files get `0644` and
/// directories `0755`, with the times of the objects.
///
/// A directory of this machine is read as a [`DirTree`] reads it, which keeps more than an
/// `object_store` shows of it: that hides files with names such as `a#1`.
#[derive(Clone, Debug)]
pub struct FlytekitObjects {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Objects {
        location: OpenLocation,
        planned: Arc<[Planned]>,
    },
    Files(PathBuf),
}

/// An entry, and the object that it is, if it is one.
#[derive(Clone, Debug)]
struct Planned {
    entry: Entry,
    object: Option<ObjectMeta>,
}

impl FlytekitObjects {
    /// Lists what lies at a URL or path. What comes after this is not part of it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if nothing lies there, if it cannot be a tree of files, or if it is a
    /// location with checkpoints of its own; [`ErrorKind::QuotaExceeded`] if there are more entries
    /// than the limits permit; [`ErrorKind::Unavailable`] if the storage cannot be reached.
    pub async fn list(location: &OpenLocation, limits: &Limits) -> Result<Self> {
        if let Some(dir) = location.local_dir() {
            let (location, dir) = (location.clone(), dir.to_owned());
            let source = blocking::run(location.threads(), move || files(&location, dir)).await??;
            return Ok(Self { source });
        }
        let mut objects = Objects::default();
        let mut listed = location.store().list(Some(location.prefix()));
        while let Some(object) = listed.next().await {
            objects.add(location, object.map_err(|e| unlisted(location, e))?)?;
            limits.check_entries(objects.0.len())?;
        }
        if objects.0.is_empty() {
            objects.add_itself(location).await?;
        }
        let source = Source::Objects {
            location: location.clone(),
            planned: objects.plan(location, limits)?.into(),
        };
        Ok(Self { source })
    }

    /// Whether a save of this would succeed, as far as that does not depend on the location. The files of this
    /// machine are read in full; objects are not, of which the list says all that a save could refuse.
    ///
    /// # Errors
    /// Those of [`list`](Self::list), and [`ErrorKind::QuotaExceeded`] if it is larger than the limits permit.
    pub async fn check(&self, limits: &Limits) -> Result<()> {
        let (source, limits) = (self.clone(), *limits);
        blocking::run(Threads::default(), move || source.check_now(&limits)).await?
    }

    fn check_now(&self, limits: &Limits) -> Result<()> {
        let mut reader = self.reader(limits)?;
        let mut size_bytes = 0;
        match &self.source {
            Source::Objects { planned, .. } => {
                let objects = planned.iter().filter_map(|planned| planned.object.as_ref());
                size_bytes = objects.map(|object| object.size).sum();
            }
            Source::Files(_) => {
                let mut piece = vec![0; CHECK_BYTES];
                loop {
                    match reader.read(&mut piece)? {
                        0 => break,
                        read => size_bytes += read as u64,
                    }
                    limits.check_size(size_bytes)?;
                }
            }
        }
        limits.check_size(size_bytes)?;
        reader.finish()?;
        Ok(())
    }

    /// The size of the files as they are now. `None` if it cannot be told.
    pub async fn size_bytes(&self) -> Option<u64> {
        match &self.source {
            Source::Objects { planned, .. } => {
                let objects = planned.iter().filter_map(|planned| planned.object.as_ref());
                Some(objects.map(|object| object.size).sum())
            }
            Source::Files(path) => {
                let path = path.clone();
                blocking::run(Threads::default(), || size_of_files(path))
                    .await
                    .ok()?
                    .ok()
            }
        }
    }

    /// Whether a save to `location` would change what is read for it.
    pub fn holds(&self, location: &OpenLocation) -> bool {
        match &self.source {
            // They are listed already, and a save overwrites nothing.
            Source::Objects { .. } => false,
            Source::Files(path) => location
                .local_dir()
                .is_some_and(|dir| dir.starts_with(path)),
        }
    }
}

impl FileTree for FlytekitObjects {
    fn state(&self) -> Result<TargetState> {
        match &self.source {
            Source::Objects { .. } => Ok(TargetState::Dir),
            Source::Files(path) => DirTree::ambient(path)?.state(),
        }
    }

    fn reader(&self, limits: &Limits) -> Result<Box<dyn TreeReader>> {
        let (location, planned) = match &self.source {
            Source::Objects { location, planned } => (location, planned),
            Source::Files(path) => return DirTree::ambient(path)?.reader(limits),
        };
        limits.check_entries(planned.len())?;
        for planned in planned.iter() {
            limits.check_path(&planned.entry.path)?;
        }
        Ok(Box::new(Reader::new(location, planned)))
    }

    fn writer(&self, _tree: &Tree, _existing: Existing) -> Result<Box<dyn TreeWriter>> {
        Err(self.read_only())
    }
}

impl FlytekitObjects {
    fn read_only(&self) -> Error {
        let name = match &self.source {
            Source::Objects { location, .. } => location.url().to_owned(),
            Source::Files(path) => path.display().to_string(),
        };
        let what = format!("{name}: plain objects are read only; restore to a directory");
        Error::new(ErrorKind::ReadOnly, what)
    }
}

/// What is to be read of a path of this machine.
fn files(location: &OpenLocation, path: PathBuf) -> Result<Source> {
    let state = DirTree::ambient(&path)?.state()?;
    // Who names a directory may mean that it is empty. A URL is what a platform makes up, of an
    // attempt that may have stored nothing.
    let is_url = location.url().contains("://");
    if state == TargetState::Absent || (state == TargetState::EmptyDir && is_url) {
        return Err(nothing(location));
    }
    // What cannot be read here is reported by the reader, which can say more about it.
    let names = |path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name())
    };
    let mut records = names(path.join("log")).filter_map(|name| name.into_string().ok());
    if records.any(|name| is_record(&format!("log/{name}"))) {
        return Err(holds_checkpoints(location));
    }
    let bytes = path.join(BYTES_NAME);
    let alone = names(path.clone()).take(2).eq([BYTES_NAME]);
    let is_bytes = alone && fs::symlink_metadata(&bytes).is_ok_and(|bytes| bytes.is_file());
    Ok(Source::Files(if is_bytes { bytes } else { path }))
}

/// # Errors
/// If something cannot be looked at.
fn size_of_files(root: PathBuf) -> io::Result<u64> {
    let metadata = fs::metadata(&root)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let (mut size_bytes, mut dirs) = (0, vec![root]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Links are not followed: they are saved as links.
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if metadata.is_file() {
                size_bytes += metadata.len();
            }
        }
    }
    Ok(size_bytes)
}

/// The objects by their paths from the root, those that are only the directories of others as `None`.
#[derive(Default)]
struct Objects(BTreeMap<TreePath, Option<ObjectMeta>>);

/// A path, in the order of a tree: that of a listing has `a-b` before `a/b`.
#[derive(Debug, PartialEq, Eq)]
struct TreePath(String);

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Objects {
    fn add(&mut self, location: &OpenLocation, object: ObjectMeta) -> Result<()> {
        // As it is: `object_store` encodes what it is given as parts, and what it lists is not.
        let whole = object.location.as_ref();
        let beneath = match location.prefix().as_ref() {
            "" => Some(whole),
            prefix => whole.strip_prefix(prefix).and_then(|p| p.strip_prefix('/')),
        };
        // Else the marker of the prefix itself, which has lost its slash.
        if let Some(path) = beneath {
            if is_record(path) {
                return Err(holds_checkpoints(location));
            }
            self.0.insert(TreePath(path.to_owned()), Some(object));
        }
        Ok(())
    }

    /// Adds the object that the URL itself names.
    async fn add_itself(&mut self, location: &OpenLocation) -> Result<()> {
        if location.prefix().is_root() {
            return Err(nothing(location));
        }
        match location.store().head(location.prefix()).await {
            Ok(object) => {
                self.0.insert(TreePath(String::new()), Some(object));
                Ok(())
            }
            Err(object_store::Error::NotFound { .. }) => Err(nothing(location)),
            Err(error) => Err(location.error("it cannot be read", error)),
        }
    }

    fn plan(mut self, location: &OpenLocation, limits: &Limits) -> Result<Vec<Planned>> {
        let newest = self.0.values().flatten().map(|object| object.last_modified);
        let newest = newest.max().map_or(SystemTime::UNIX_EPOCH, Into::into);
        let bytes = self.0.remove(&TreePath(BYTES_NAME.to_owned()));
        match bytes {
            Some(bytes) if self.0.is_empty() => {
                self.0.insert(TreePath(String::new()), bytes);
            }
            Some(bytes) => {
                self.0.insert(TreePath(BYTES_NAME.to_owned()), bytes);
                self.add_dirs(location, limits)?;
            }
            None => self.add_dirs(location, limits)?,
        }
        let planned = self.0.into_iter().map(|(TreePath(path), object)| Planned {
            entry: Entry {
                path,
                mode: if object.is_some() { 0o644 } else { 0o755 },
                modified: object.as_ref().map_or(newest, |o| o.last_modified.into()),
                node: match object {
                    // The bytes are counted as they are read.
                    Some(_) => Node::File { size_bytes: 0 },
                    None => Node::Dir,
                },
            },
            object,
        });
        Ok(planned.collect())
    }

    /// Adds the directories that the objects lie in.
    fn add_dirs(&mut self, location: &OpenLocation, limits: &Limits) -> Result<()> {
        let paths: Vec<_> = self.0.keys().map(|path| path.0.clone()).collect();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                rest = parent;
                match self.0.insert(TreePath(parent.to_owned()), None) {
                    // Its own parents are there too.
                    Some(None) => break,
                    Some(Some(object)) if object.size > 0 => {
                        let url = location.url();
                        let what = format!(
                            "{url}: {parent:?} is an object and holds others, which no directory can be; remove one of them"
                        );
                        return Err(Error::new(ErrorKind::InvalidPath, what));
                    }
                    Some(Some(_)) | None => limits.check_entries(self.0.len())?,
                }
            }
        }
        self.0.entry(TreePath(String::new())).or_insert(None);
        Ok(())
    }
}

fn is_record(path: &str) -> bool {
    let name = path.strip_prefix("log/");
    name.is_some_and(|name| paths::parse_record_name(name).is_some())
}

fn unlisted(location: &OpenLocation, error: object_store::Error) -> Error {
    match error {
        object_store::Error::InvalidPath { .. } => {
            let url = location.url();
            let what = format!("{url}: it holds a name that no file can have; rename that object");
            Error::new(ErrorKind::InvalidPath, what).with_source(error)
        }
        error => location.error("it cannot be listed", error),
    }
}

fn nothing(location: &OpenLocation) -> Error {
    let what = format!("{location}: there is nothing");
    Error::new(ErrorKind::InvalidPath, what)
}

fn holds_checkpoints(location: &OpenLocation) -> Error {
    let what = format!("{location}: this holds checkpoints already; export one of them instead");
    Error::new(ErrorKind::InvalidPath, what)
}
