//! A directory as an object store, for every host: `object_store` has none for wasm, and its own takes neither
//! every path nor a directory that is yet to be made.
//!
//! It promises what the protocol needs: a put writes a whole object or none, create-only where asked, and what it
//! has put is durable. The directory is made by the first put. On Unix only the owner may read what is made.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path as StdPath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::{Path, PathPart};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::blocking;

const NAME: &str = "directory";

/// How many deletions are under way at once.
const DELETES: usize = 10;

/// How far above a directory that is there already the names are made durable: whoever made it may have died
/// before doing so.
const SYNCED_PARENTS: usize = 3;

/// A directory whose files are the objects.
#[derive(Clone, Debug)]
pub(super) struct DirStore {
    root: Arc<StdPath>,
    /// The folders whose names are known to be durable.
    durable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// What failed, and on which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
struct Failed {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl DirStore {
    /// The directory of this absolute path, which need not exist.
    pub(super) fn new(root: &StdPath) -> Self {
        Self {
            root: root.into(),
            durable: Arc::default(),
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        let done = blocking::run(move || work(&store)).await;
        done.map_err(|error| Error::Generic {
            store: NAME,
            source: error.into(),
        })?
    }

    /// Makes the directory of a file, if it is missing, and its name durable.
    fn make_parent(&self, file: &StdPath) -> io::Result<()> {
        let Some(parent) = file.parent() else {
            return Ok(());
        };
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(parent) {
            return Ok(());
        }
        let missing = parent.ancestors().take_while(|dir| !dir.is_dir()).count();
        if missing > 0 {
            private_dirs().create(parent)?;
        }
        for made in parent.ancestors().skip(1).take(missing.max(SYNCED_PARENTS)) {
            // A component cannot open what lies above the directories that it was given.
            let Ok(directory) = File::open(made) else {
                break;
            };
            directory.sync_all()?;
        }
        durable.insert(parent.to_owned());
        Ok(())
    }

    /// Opens a new file beside `file`, under the name that `object_store` gives its own: whoever sweeps
    /// those sweeps these.
    fn stage(&self, file: &StdPath) -> io::Result<(PathBuf, File)> {
        let mut number: u64 = 1;
        let mut made_again = false;
        loop {
            let mut name = file.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let name = PathBuf::from(name);
            match private_file().open(&name) {
                Ok(open) => return Ok((name, open)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // Somebody has removed the folder since it was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !made_again => {
                    made_again = true;
                    let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
                    durable.clear();
                    drop(durable);
                    self.make_parent(file)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a whole file, in the place of another or where none is. False if there is one and it is to stay.
    fn put(&self, file: &StdPath, payload: &PutPayload, mode: &PutMode) -> Result<bool> {
        let failed = |what, path: &StdPath| {
            let path = path.to_owned();
            move |source| generic(Failed { what, path, source })
        };
        self.make_parent(file)
            .map_err(failed("its directory cannot be made", file))?;
        let (staged, mut open) = self
            .stage(file)
            .map_err(failed("it cannot be created", file))?;
        let written = (|| {
            for piece in payload {
                open.write_all(piece)?;
            }
            open.sync_all()
        })();
        let put = match written {
            Err(error) => Err(failed("it cannot be written", &staged)(error)),
            Ok(()) if *mode == PutMode::Overwrite => fs::rename(&staged, file)
                .map(|()| true)
                .map_err(failed("it cannot be renamed", &staged)),
            Ok(()) => link(&staged, file),
        };
        if put.is_err() || *mode != PutMode::Overwrite {
            // What stays is swept.
            let _ = fs::remove_file(&staged);
        }
        if put? {
            let folder = file.parent().unwrap_or(StdPath::new("/"));
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed("it cannot be synced", folder))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn get(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let place = self.place(path);
        let failed = |source| {
            let what = "it cannot be read";
            failed(path, what, &place, source)
        };
        let file = readable().open(&place).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        if !metadata.is_file() {
            let what = "it is not a regular file";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        let meta = meta(path, &metadata);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range_of(range, meta.size)?,
        };
        Ok(GetResult {
            payload: payload(file, place, &range, options.head)?,
            meta,
            range,
            attributes: Attributes::new(),
            extensions: Default::default(),
        })
    }

    /// All files beneath a folder, but for what is being written.
    fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut metas = Vec::new();
        let mut folders = vec![(self.place(prefix), prefix.clone())];
        while let Some((place, prefix)) = folders.pop() {
            let unlisted = |source| {
                let (what, path) = ("it cannot be listed", place.clone());
                generic(Failed { what, path, source })
            };
            let entries = match fs::read_dir(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(unlisted)?,
            };
            for entry in entries {
                let entry = entry.map_err(unlisted)?;
                // What no object can be called is not of this location.
                let name = entry.file_name();
                let Some(part) = name.to_str().and_then(|name| PathPart::parse(name).ok()) else {
                    continue;
                };
                let path = prefix.clone().join(part);
                if entry.file_type().map_err(unlisted)?.is_dir() {
                    folders.push((entry.path(), path));
                } else if !is_staged(path.filename().unwrap_or_default()) {
                    match fs::metadata(entry.path()) {
                        Ok(metadata) if metadata.is_dir() => {}
                        Ok(metadata) => metas.push(meta(&path, &metadata)),
                        // It was deleted meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(unlisted(error)),
                    }
                }
            }
        }
        Ok(metas)
    }
}

/// Names a staged file for good, where nothing has that name. False if something has, whoever else tries at the
/// same time.
fn link(staged: &StdPath, file: &StdPath) -> Result<bool> {
    use io::ErrorKind as E;
    match fs::hard_link(staged, file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == E::AlreadyExists => Ok(false),
        Err(source) => {
            // The staged file was just created in the same folder, so it is not a matter of rights.
            let unsupported = matches!(
                source.kind(),
                E::PermissionDenied | E::Unsupported | E::TooManyLinks | E::CrossesDevices
            );
            let what = match unsupported {
                true => {
                    "this file system has no hard links, which a create-only put needs; use another one"
                }
                false => "it cannot be linked",
            };
            let path = file.to_owned();
            let error = Failed { what, path, source };
            Err(match unsupported {
                true => Error::NotSupported {
                    source: error.into(),
                },
                false => generic(error),
            })
        }
    }
}

/// Whether a name is that of a file which is being written.
fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opening a FIFO would wait for a writer.
fn readable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.cast_signed());
    }
    options
}

#[cfg(not(target_family = "wasm"))]
fn payload(
    file: File,
    place: PathBuf,
    _range: &std::ops::Range<u64>,
    _head: bool,
) -> Result<GetResultPayload> {
    Ok(GetResultPayload::File(file, place))
}

/// Piece by piece, so that whoever asked can stop: the file may be of any size.
#[cfg(target_family = "wasm")]
fn payload(
    mut file: File,
    place: PathBuf,
    range: &std::ops::Range<u64>,
    head: bool,
) -> Result<GetResultPayload> {
    use bytes::Bytes;
    use std::io::{Read, Seek, SeekFrom};

    const PIECE_BYTES: u64 = 1 << 20;

    let failed = move |source| {
        let (what, path) = ("it cannot be read", place.clone());
        generic(Failed { what, path, source })
    };
    file.seek(SeekFrom::Start(range.start)).map_err(&failed)?;
    let left = match head {
        true => 0,
        false => range.end.saturating_sub(range.start),
    };
    let pieces = stream::try_unfold(
        (file, left, failed),
        |(mut file, left, failed)| async move {
            let mut piece = vec![0; left.min(PIECE_BYTES) as usize];
            let read = file.read(&mut piece).map_err(&failed)?;
            piece.truncate(read);
            let rest = left.saturating_sub(read as u64);
            Ok((read > 0).then(|| (Bytes::from(piece), (file, rest, failed))))
        },
    );
    Ok(GetResultPayload::Stream(pieces.boxed()))
}

fn range_of(range: &GetRange, size: u64) -> Result<std::ops::Range<u64>> {
    let range = match range {
        GetRange::Bounded(range) => range.start..range.end.min(size),
        GetRange::Offset(start) => *start..size,
        GetRange::Suffix(count) => size.saturating_sub(*count)..size,
    };
    match range.start < range.end {
        true => Ok(range),
        false => Err(Error::Generic {
            store: NAME,
            source: format!("nothing lies at {range:?} of {size} bytes").into(),
        }),
    }
}

fn meta(path: &Path, metadata: &fs::Metadata) -> ObjectMeta {
    let modified = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
    ObjectMeta {
        location: path.clone(),
        last_modified: modified.into(),
        size: metadata.len(),
        e_tag: None,
        version: None,
    }
}

/// `NotFound` is meaningful for reads and deletions only; a put whose parent is missing is a generic failure.
fn failed(path: &Path, what: &'static str, place: &StdPath, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: path.to_string(),
            source: source.into(),
        },
        _ => generic(Failed {
            what,
            path: place.to_owned(),
            source,
        }),
    }
}

fn generic(error: Failed) -> Error {
    Error::Generic {
        store: NAME,
        source: error.into(),
    }
}

fn not_needed(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.into(),
        implementer: NAME.into(),
    }
}

impl fmt::Display for DirStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME} {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DirStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if let PutMode::Update(_) = options.mode {
            return Err(not_needed("an update"));
        }
        let file = self.place(path);
        let put = self.run(move |store| store.put(&file, &payload, &options.mode));
        if !put.await? {
            return Err(Error::AlreadyExists {
                path: path.to_string(),
                source: "there is one".into(),
            });
        }
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_needed("an upload in parts"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let path = path.clone();
        self.run(move |store| store.get(&path, &options)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = paths.map(move |path| {
            let store = store.clone();
            async move {
                let path = path?;
                let delete = move |store: &Self| {
                    let place = store.place(&path);
                    let removed = fs::remove_file(&place);
                    removed.map_err(|e| failed(&path, "it cannot be deleted", &place, e))?;
                    Ok(path)
                };
                store.run(delete).await
            }
        });
        deleted.buffered(DELETES).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listed = async move {
            let metas = store.run(move |store| store.list(&prefix)).await;
            match metas {
                Ok(metas) => stream::iter(metas).map(Ok).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(not_needed("a list of one level"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_needed("a copy"))
    }
}
