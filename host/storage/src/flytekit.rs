//! Imports plain objects, as flytekit's checkpointer stores them.

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

use self::read::ObjectsReader;
use crate::blocking::{self, Threads};
use crate::cancel::{Cancel, CancelOnDrop};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::paths;
use crate::tree::dir::DirTree;
use crate::tree::target::TargetState;
use crate::tree::walk::{TreeReader, TreeSource, TreeTarget};
use crate::tree::{Entry, Node};

/// The name that flytekit gives to bytes and readers.
const BYTES_NAME: &str = "_dst_cp";

/// The memory through which files are read to see whether they can be.
const CHECK_BYTES: usize = 256 << 10;
/// The plain objects beneath a URL, to be saved as a checkpoint. They are only read.
///
/// The layout is that of `flytekit.core.checkpointer`, as its class `SyncCheckpoint` writes it:
///
/// | flytekit's call | what it stores | what it becomes here |
/// |---|---|---|
/// | `write(bytes)`, `save(reader)` | `<url>/_dst_cp` | a single unnamed file |
/// | `save(file)` | `<url>/<name of the file>` | a directory with that file, as flytekit restores it |
/// | `save(directory)` | `<url>/<relative path>`… | a directory |
///
/// flytekit overwrites and never deletes, so after calls of different kinds all of their objects
/// exist; `_dst_cp` becomes an unnamed file only if it is the only object. The URL of a single
/// object becomes an unnamed file too.
///
/// An empty object whose name ends in `/` stands for a directory. Object storage does not keep
/// other empty directories, modes, links or modification times: files get mode `0644`, directories
/// `0755`, and the times are those of the objects.
///
/// A directory of this machine is read like a [`DirTree`], which keeps more than `object_store`
/// shows: `object_store` hides files with names such as `a#1`.
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

/// An entry, and its object if it has one.
#[derive(Clone, Debug)]
struct Planned {
    entry: Entry,
    object: Option<ObjectMeta>,
}

impl FlytekitObjects {
    /// Lists the objects at a URL or path. Objects written later are not included.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] if there are none, if they do not form a tree of files, or if the
    /// location holds checkpoints of its own; [`ErrorKind::QuotaExceeded`] if there are more
    /// entries than the limits permit; [`ErrorKind::Unavailable`] if the storage cannot be reached.
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
        let call = CancelOnDrop::new();
        let (source, limits, cancel) = (self.clone(), *limits, call.token());
        blocking::run(Threads::default(), move || {
            source.check_now(&limits, &cancel)
        })
        .await?
    }

    fn check_now(&self, limits: &Limits, cancel: &Cancel) -> Result<()> {
        let mut reader = self.reader(limits, cancel)?;
        let mut size_bytes = 0;
        match &self.source {
            Source::Objects { planned, .. } => {
                let objects = planned.iter().filter_map(|planned| planned.object.as_ref());
                size_bytes = objects.map(|object| object.size).sum();
            }
            Source::Files(_) => {
                let mut piece = vec![0; CHECK_BYTES];
                loop {
                    cancel.check()?;
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

    /// Returns the current total size of the files, or `None` if it cannot be determined.
    pub async fn size_bytes(&self) -> Option<u64> {
        match &self.source {
            Source::Objects { planned, .. } => {
                let objects = planned.iter().filter_map(|planned| planned.object.as_ref());
                Some(objects.map(|object| object.size).sum())
            }
            Source::Files(path) => {
                let call = CancelOnDrop::new();
                let (path, cancel) = (path.clone(), call.token());
                blocking::run(Threads::default(), move || size_of_files(path, &cancel))
                    .await
                    .ok()?
                    .ok()
            }
        }
    }

    /// Returns whether a save to `location` would change what is read here.
    pub fn holds(&self, location: &OpenLocation) -> bool {
        match &self.source {
            // The objects are listed already, and a save overwrites nothing.
            Source::Objects { .. } => false,
            Source::Files(path) => location
                .local_dir()
                .is_some_and(|dir| dir.starts_with(path)),
        }
    }
}

impl TreeSource for FlytekitObjects {
    fn reader(&self, limits: &Limits, cancel: &Cancel) -> Result<Box<dyn TreeReader>> {
        let (location, planned) = match &self.source {
            Source::Objects { location, planned } => (location, planned),
            Source::Files(path) => return DirTree::ambient(path)?.reader(limits, cancel),
        };
        limits.check_entries(planned.len())?;
        for planned in planned.iter() {
            limits.check_path(&planned.entry.path)?;
        }
        Ok(Box::new(ObjectsReader::new(
            location,
            planned,
            cancel.clone(),
        )))
    }
}

/// Determines what to read at a path of this machine.
fn files(location: &OpenLocation, path: PathBuf) -> Result<Source> {
    let state = DirTree::ambient(&path)?.state()?;
    // A user who names a directory may mean that it is empty. A URL is generated by a platform, for
    // an attempt that may have stored nothing.
    let is_url = !location.is_path();
    if state == TargetState::Absent || (state == TargetState::EmptyDir && is_url) {
        return Err(nothing(location));
    }
    // The reader reports what cannot be read, in more detail.
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
/// If a file cannot be inspected, or the call is cancelled.
fn size_of_files(root: PathBuf, cancel: &Cancel) -> io::Result<u64> {
    let metadata = fs::metadata(&root)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let (mut size_bytes, mut dirs) = (0, vec![root]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            cancel.check().map_err(io::Error::other)?;
            let entry = entry?;
            // Do not follow links: they are saved as links.
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

/// The objects by their paths from the root; `None` for directories that have no object.
#[derive(Default)]
struct Objects(BTreeMap<TreePath, Option<ObjectMeta>>);

/// A path, ordered as in a tree: a listing has `a-b` before `a/b`.
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
        // Use the path unchanged: `object_store` encodes the parts it is given, but does not encode
        // what it lists.
        let whole = object.location.as_ref();
        let beneath = match location.prefix().as_ref() {
            "" => Some(whole),
            prefix => whole.strip_prefix(prefix).and_then(|p| p.strip_prefix('/')),
        };
        // Otherwise it is the marker of the prefix itself, without its slash.
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
            Err(error) => Err(location.error("cannot read the object", error)),
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

    /// Adds the directories that contain the objects.
    fn add_dirs(&mut self, location: &OpenLocation, limits: &Limits) -> Result<()> {
        let paths: Vec<_> = self.0.keys().map(|path| path.0.clone()).collect();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                rest = parent;
                match self.0.insert(TreePath(parent.to_owned()), None) {
                    // Its parents are present too.
                    Some(None) => break,
                    Some(Some(object)) if object.size > 0 => {
                        let url = location.url();
                        let what = format!(
                            "{url}: {parent:?} is both an object and a prefix of other objects, so it cannot become a file or a directory; remove one of them"
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
            let what = format!(
                "{url}: the name of an object is not a valid file name; rename that object"
            );
            Error::new(ErrorKind::InvalidPath, what).with_source(error)
        }
        error => location.error("cannot list the objects", error),
    }
}

fn nothing(location: &OpenLocation) -> Error {
    let what = format!("{location}: no such file or directory");
    Error::new(ErrorKind::InvalidPath, what)
}

fn holds_checkpoints(location: &OpenLocation) -> Error {
    let what = format!("{location}: this holds checkpoints already; export one of them instead");
    Error::new(ErrorKind::InvalidPath, what)
}
