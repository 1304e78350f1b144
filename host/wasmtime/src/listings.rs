//! Listings of directories that hold a few entries at a time.
//!
//! WASI's listing in `wasmtime_wasi` reads the whole directory when it is opened, and holds it until it is
//! closed. A guest that opens many listings of a large directory makes the host hold them all. These read on as
//! the guest does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use cap_std::fs::{Dir, DirEntry, ReadDir};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::runtime::spawn_blocking;

use crate::ctx::CheckpointView;

/// The interface whose listings are replaced.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// How many entries are read at a time.
const BATCH: usize = 64;

/// An open listing: the resource `directory-entry-stream`.
struct Listing {
    /// `None` at the end.
    dir: Option<ReadDir>,
    ready: VecDeque<Result<DirectoryEntry, ErrorCode>>,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").finish_non_exhaustive()
    }
}

/// Adds WASI 0.2 to a linker, as `wasmtime_wasi::p2::add_to_linker_async` does, but with listings of directories
/// that hold a few entries at a time. Afterwards the linker does not allow shadowing.
///
/// # Errors
/// If the linker already has one of the interfaces.
pub fn add_wasi_to_linker<T: WasiView + CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let replaced = replace(linker);
    linker.allow_shadowing(false);
    replaced
}

fn replace<T: CheckpointView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<Listing>(),
        |mut store, index| {
            let table = store.data_mut().checkpoint().table;
            table.delete(Resource::<Listing>::new_own(index))?;
            Ok(())
        },
    )?;
    types.func_wrap_async("[method]descriptor.read-directory", |store, (dir,)| {
        Box::new(async move { Ok((open(store, dir)?,)) })
    })?;
    types.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |store, (listing,)| Box::new(async move { Ok((next(store, listing).await?,)) }),
    )
}

fn open<T: CheckpointView>(
    mut store: StoreContextMut<'_, T>,
    dir: Resource<Descriptor>,
) -> wasmtime::Result<Result<Resource<Listing>, ErrorCode>> {
    let table = store.data_mut().checkpoint().table;
    let Descriptor::Dir(dir) = table.get(&dir)? else {
        return Ok(Err(ErrorCode::NotDirectory));
    };
    let handle = Arc::clone(&dir.dir);
    // Opens the directory again, because two listings of one open directory would share a position.
    let opened = handle
        .try_clone()
        .map(Dir::from_std_file)
        .and_then(|dir| dir.entries());
    let listing = match opened {
        Ok(dir) => Listing {
            dir: Some(dir),
            ready: VecDeque::new(),
        },
        Err(error) => return Ok(Err(ErrorCode::from(&error))),
    };
    Ok(Ok(table.push(listing)?))
}

async fn next<T: CheckpointView>(
    mut store: StoreContextMut<'_, T>,
    listing: Resource<Listing>,
) -> wasmtime::Result<Result<Option<DirectoryEntry>, ErrorCode>> {
    let table = store.data_mut().checkpoint().table;
    let open = table.get_mut(&listing)?;
    if open.ready.is_empty()
        && let Some(dir) = open.dir.take()
    {
        let (rest, batch) = spawn_blocking(|| read(dir)).await;
        // The guest waits for this call, so the listing is still there.
        let open = store.data_mut().checkpoint().table.get_mut(&listing)?;
        (open.dir, open.ready) = (rest, batch);
    }
    let open = store.data_mut().checkpoint().table.get_mut(&listing)?;
    Ok(open.ready.pop_front().transpose())
}

type Batch = VecDeque<Result<DirectoryEntry, ErrorCode>>;

/// Reads the next entries. Returns the rest of the directory, if there is one.
fn read(mut dir: ReadDir) -> (Option<ReadDir>, Batch) {
    let mut batch = Batch::new();
    while batch.len() < BATCH {
        match dir.next() {
            Some(Ok(entry)) => batch.push_back(convert(&entry)),
            Some(Err(error)) => batch.push_back(Err(ErrorCode::from(&error))),
            None => return (None, batch),
        }
    }
    (Some(dir), batch)
}

fn convert(entry: &DirEntry) -> Result<DirectoryEntry, ErrorCode> {
    let kind = entry.file_type().map_err(|error| ErrorCode::from(&error))?;
    let type_ = if kind.is_dir() {
        DescriptorType::Directory
    } else if kind.is_file() {
        DescriptorType::RegularFile
    } else if kind.is_symlink() {
        DescriptorType::SymbolicLink
    } else {
        DescriptorType::Unknown
    };
    let name = entry.file_name().into_string();
    let name = name.map_err(|_| ErrorCode::IllegalByteSequence)?;
    Ok(DirectoryEntry { type_, name })
}
