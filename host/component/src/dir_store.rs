//! The directories that the component was given, as an object store. `object_store` has none of its own for
//! wasm.
//!
//! What it promises is what the protocol asks for: a record is put as a whole or not at all, and only where
//! none is; whatever was put is durable.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path as StdPath, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

const NAME: &str = "DirStore";

/// As much as is read at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The root of what this component sees.
#[derive(Debug)]
pub(crate) struct DirStore;

impl fmt::Display for DirStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

/// Where an object lies.
pub(crate) fn place(path: &Path) -> PathBuf {
    StdPath::new("/").join(path.as_ref())
}

/// What is not there is so only to whoever asks for it: a put to which something is missing has failed.
fn failed(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: path.to_string(),
            source: error.into(),
        },
        _ => generic(error),
    }
}

fn generic(error: io::Error) -> Error {
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

/// Makes the directory of a file, if it is missing, and its name durable: once, also where it is there,
/// because whoever made it may have died before that.
fn make_parent(file: &StdPath) -> io::Result<()> {
    static DURABLE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let Some(parent) = file.parent() else {
        return Ok(());
    };
    let mut durable = DURABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if durable.contains(parent) {
        return Ok(());
    }
    if !parent.is_dir() {
        fs::create_dir_all(parent)?;
    }
    for made in parent.ancestors().skip(1) {
        // Above what was given to this component there is nothing to open.
        let Ok(directory) = File::open(made) else {
            break;
        };
        directory.sync_all()?;
    }
    durable.insert(parent.to_owned());
    Ok(())
}

fn sync(directory: &StdPath) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Puts a whole file where none is, or in the place of one. False if there is one and it is to stay.
fn put(file: &StdPath, payload: &PutPayload, mode: &PutMode) -> io::Result<bool> {
    make_parent(file)?;
    // Named as object_store names its own, so that whoever sweeps those on this disk sweeps these.
    let (staged, mut open) = stage(file)?;
    let written = (|| {
        for piece in payload {
            open.write_all(piece)?;
        }
        open.sync_all()?;
        if *mode == PutMode::Overwrite {
            fs::rename(&staged, file)?;
            return Ok(true);
        }
        // Fails if there is one, whoever else tries at the same time.
        match fs::hard_link(&staged, file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        }
    })();
    if written.is_err() || *mode != PutMode::Overwrite {
        // What stays is swept.
        let _ = fs::remove_file(&staged);
    }
    if written? {
        file.parent().map_or(Ok(()), sync)?;
        return Ok(true);
    }
    Ok(false)
}

fn stage(file: &StdPath) -> io::Result<(PathBuf, File)> {
    let mut number: u64 = 1;
    loop {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let name = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Ok(open) => return Ok((name, open)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn get(path: &Path, options: GetOptions) -> Result<GetResult> {
    let failed = |e| failed(path, e);
    let mut file = File::open(place(path)).map_err(failed)?;
    let meta = meta(path, &file.metadata().map_err(failed)?);
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        None => 0..meta.size,
        Some(range) => range_of(range, meta.size)?,
    };
    file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
    let left = match options.head {
        true => 0,
        false => range.end.saturating_sub(range.start),
    };
    // Piece by piece, so that whoever asked can stop: the file may be of any size.
    let pieces = stream::try_unfold((file, left), |(mut file, left)| async move {
        let mut piece = vec![0; left.min(PIECE_BYTES) as usize];
        let read = file.read(&mut piece).map_err(generic)?;
        piece.truncate(read);
        let rest = left.saturating_sub(read as u64);
        Ok((read > 0).then(|| (Bytes::from(piece), (file, rest))))
    });
    Ok(GetResult {
        payload: GetResultPayload::Stream(pieces.boxed()),
        meta,
        range,
        attributes: Attributes::new(),
        extensions: Default::default(),
    })
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

/// All files beneath a directory.
fn list(prefix: &Path) -> Result<Vec<ObjectMeta>> {
    let mut names = Vec::new();
    walk(prefix, &mut names).map_err(|e| failed(prefix, e))?;
    let mut metas = Vec::new();
    for name in &names {
        match fs::metadata(place(name)) {
            Ok(metadata) => metas.push(meta(name, &metadata)),
            // It was deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(generic(error)),
        }
    }
    Ok(metas)
}

fn walk(prefix: &Path, found: &mut Vec<Path>) -> io::Result<()> {
    let entries = match fs::read_dir(place(prefix)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // What has another name is not of this location.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let path = prefix.clone().join(name.as_str());
        match entry.file_type()?.is_dir() {
            true => walk(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
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
        if !put(&place(path), &payload, &options.mode).map_err(generic)? {
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
        get(path, options)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let deleted = paths.map(|path| {
            let path = path?;
            fs::remove_file(place(&path)).map_err(|e| failed(&path, e))?;
            Ok(path)
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = list(&prefix.cloned().unwrap_or_default());
        match listed {
            Ok(metas) => stream::iter(metas.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(not_needed("a list of one level"))
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(not_needed("a copy"))
    }
}
