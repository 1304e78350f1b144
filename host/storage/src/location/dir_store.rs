//! A directory as an object store, for every host. `object_store` has none for wasm, and its local store accepts
//! neither every path nor a directory that does not exist yet.
//!
//! It guarantees what the protocol needs: puts are atomic, create-only if requested, and durable once they
//! return. The first put creates the directory. On Unix only the owner may read what it creates.

mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path as StdPath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::{Path, PathPart};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use super::errors;
use crate::blocking::{self, Threads};

const NAME: &str = "directory";

/// The maximum number of concurrent deletions.
const DELETES: usize = 10;

/// A directory whose files are the objects.
#[derive(Clone, Debug)]
pub(super) struct DirStore {
    root: Arc<StdPath>,
    /// The folders whose names are known to be durable.
    durable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// The failed operation, and its file.
#[derive(Debug)]
struct Failed {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, .. } = self;
        write!(f, "{}: {what}", path.display())
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl DirStore {
    /// Creates a store for the directory at this absolute path, which need not exist.
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
        let done = blocking::run(Threads::default(), move || work(&store)).await;
        done.map_err(|error| Error::Generic {
            store: NAME,
            source: error.into(),
        })?
    }

    fn get(&self, path: &Path, options: &GetOptions) -> Result<GetResult> {
        let place = self.place(path);
        let failed = |source| {
            let what = "cannot read it";
            failed(path, what, &place, source)
        };
        let irregular = || io::Error::new(io::ErrorKind::InvalidData, "not a regular file");
        if WAITS_FOR_WRITERS && is_irregular(&place) {
            return Err(failed(irregular()));
        }
        let file = readable().open(&place).map_err(|error| {
            // A socket cannot even be opened.
            let exists = is_irregular(&place) || leads_nowhere(&place, &error);
            failed(if exists { irregular() } else { error })
        })?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        if !metadata.is_file() {
            return Err(failed(irregular()));
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

    /// Lists all files beneath a folder except those still being written.
    fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut metas = Vec::new();
        let mut folders = vec![(self.place(prefix), prefix.clone())];
        while let Some((place, prefix)) = folders.pop() {
            let unlisted = |source| {
                let (what, path) = ("cannot list it", place.clone());
                generic(Failed { what, path, source })
            };
            let entries = match fs::read_dir(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(unlisted)?,
            };
            for entry in entries {
                let entry = entry.map_err(unlisted)?;
                // A name that no object can have does not belong to this location.
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
                        // It was deleted concurrently.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) if leads_nowhere(&entry.path(), &error) => {}
                        Err(error) => return Err(unlisted(error)),
                    }
                }
            }
        }
        Ok(metas)
    }
}

/// Returns whether a name is that of a file still being written.
fn is_staged(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether opening a FIFO waits for a writer, because this target has no flag that prevents it.
const WAITS_FOR_WRITERS: bool = cfg!(not(unix));

/// Returns whether something other than a file or a directory lies here.
fn is_irregular(place: &StdPath) -> bool {
    fs::metadata(place).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Returns whether `place` could not be opened because it is a link that can never lead to an object: to itself or, for a
/// component, out of its directory.
fn leads_nowhere(place: &StdPath, error: &io::Error) -> bool {
    let is_such = match error.kind() {
        io::ErrorKind::PermissionDenied => cfg!(target_family = "wasm"),
        _ => errors::is_loop(error),
    };
    is_such && fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
}

/// Opens without blocking, because opening a FIFO would wait for a writer.
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

/// Streams the file, so that the caller can stop reading; it may be of any size. What a window of contents reads at once is
/// one piece, which needs no copy.
///
/// Reads at positions: wasmtime does more for each read of a stream, and returns at most 64 KiB by either.
#[cfg(target_family = "wasm")]
fn payload(
    file: File,
    place: PathBuf,
    range: &std::ops::Range<u64>,
    head: bool,
) -> Result<GetResultPayload> {
    use bytes::Bytes;
    use rustix::buffer::spare_capacity;
    use rustix::io::pread;

    const PIECE_BYTES: u64 = 8 << 20;

    let failed = move |error: rustix::io::Errno| {
        let (what, path) = ("cannot read it", place.clone());
        let source = error.into();
        generic(Failed { what, path, source })
    };
    let range = match head {
        true => 0..0,
        false => range.clone(),
    };
    let pieces = stream::try_unfold(
        (file, range, failed),
        |(file, mut range, failed)| async move {
            let most = range.end.saturating_sub(range.start).min(PIECE_BYTES) as usize;
            let mut piece = Vec::with_capacity(most);
            while piece.len() < most {
                let at = range.start + piece.len() as u64;
                if pread(&file, spare_capacity(&mut piece), at).map_err(&failed)? == 0 {
                    break;
                }
            }
            // More may be allocated than was asked for.
            piece.truncate(most);
            range.start += piece.len() as u64;
            Ok((!piece.is_empty()).then(|| (Bytes::from(piece), (file, range, failed))))
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
            source: format!("the range {range:?} is outside the {size} bytes of the file").into(),
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

/// `NotFound` is meaningful only for reads and deletions; a put whose parent is missing is a generic failure.
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
        let (file, mode) = (self.place(path), options.mode);
        let put = match cfg!(target_family = "wasm") {
            false => {
                let put = self.run(move |store| store.write(&file, &payload)?.finish(&file, &mode));
                put.await?
            }
            true => {
                let staged = self.write(&file, &payload)?;
                drop(payload);
                // The disk writes it while the only thread prepares the next object.
                tokio::task::yield_now().await;
                staged.finish(&file, &mode)?
            }
        };
        if !put {
            return Err(Error::AlreadyExists {
                path: path.to_string(),
                source: "the file already exists".into(),
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
                    removed.map_err(|e| failed(&path, "cannot delete it", &place, e))?;
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
