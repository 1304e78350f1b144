//! Atomic, durable writes of objects.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use object_store::{Error, PutMode, PutPayload, Result};

use super::{DirStore, Failed, generic};
#[cfg(target_family = "wasm")]
use crate::write_back;

/// How many levels above an existing directory to sync as well. The process that created it may have died
/// before syncing them.
const SYNCED_PARENTS: usize = 3;

/// The buffer for the pieces of an object, which are a few KiB long. A component calls its host for each write, which
/// costs more than a copy. A native write costs less.
const BUFFER_BYTES: usize = match cfg!(target_family = "wasm") {
    true => 1 << 20,
    false => 0,
};

impl DirStore {
    /// Creates the directory of a file if it is missing, and makes its name durable.
    fn make_parent(&self, file: &Path) -> io::Result<()> {
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
            // A component cannot open the parents of its preopened directories.
            let Ok(directory) = File::open(made) else {
                break;
            };
            directory.sync_all()?;
        }
        durable.insert(parent.to_owned());
        Ok(())
    }

    /// Creates a staged file next to `file`. The name follows `object_store`, so that a sweep of its staged
    /// files includes these.
    fn stage(&self, file: &Path) -> io::Result<(PathBuf, File)> {
        let mut number: u64 = 1;
        let mut made_again = false;
        loop {
            let mut name = file.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let name = PathBuf::from(name);
            match private_file().open(&name) {
                Ok(open) => return Ok((name, open)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // The folder was removed after it was created.
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

    /// Writes a file, without its name. It is not durable yet.
    pub(super) fn write(&self, file: &Path, payload: &PutPayload) -> Result<Staged> {
        self.make_parent(file)
            .map_err(failed("cannot create its directory", file))?;
        let (path, open) = self.stage(file).map_err(failed("cannot create it", file))?;
        let staged = Staged {
            path,
            open,
            is_renamed: false,
        };
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, writer(&staged.open));
        let mut written = payload
            .iter()
            .try_for_each(|piece| buffered.write_all(piece));
        written = written.and_then(|()| buffered.flush());
        drop(buffered);
        written.map_err(failed("cannot write it", &staged.path))?;
        Ok(staged)
    }
}

/// A file without its name. It is removed when this is dropped; what a process leaves behind is swept later.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    open: File,
    /// Whether the file has been renamed. Then another one may have its path.
    is_renamed: bool,
}

impl Staged {
    /// Makes the file durable, and then its name. Returns false if the name exists and must not be replaced.
    pub(super) fn finish(mut self, file: &Path, mode: &PutMode) -> Result<bool> {
        let synced = self.open.sync_all();
        synced.map_err(failed("cannot write it", &self.path))?;
        if *mode == PutMode::Overwrite {
            let renamed = fs::rename(&self.path, file);
            renamed.map_err(failed("cannot rename it", &self.path))?;
            self.is_renamed = true;
        } else if !link(&self.path, file)? {
            return Ok(false);
        }
        drop(self);
        let folder = file.parent().unwrap_or(Path::new("/"));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("cannot sync it", folder))?;
        Ok(true)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| generic(Failed { what, path, source })
}

#[cfg(not(target_family = "wasm"))]
fn writer(file: &File) -> impl Write {
    file
}

/// Writes at positions, because wasmtime performs such a write at once. It performs a write of a stream in pieces of 64 KiB,
/// each on another thread. The disk begins to write each part.
#[cfg(target_family = "wasm")]
fn writer(file: &File) -> impl Write {
    struct Positioned<'a> {
        file: &'a File,
        offset: u64,
    }

    impl Write for Positioned<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = rustix::io::pwrite(self.file, bytes, self.offset)?;
            let start = self.offset;
            self.offset += written as u64;
            write_back::start(self.file, start..self.offset);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    Positioned { file, offset: 0 }
}

/// Links a staged file to its final name. Returns false if the name exists. Atomic: of concurrent attempts, only
/// one succeeds.
fn link(staged: &Path, file: &Path) -> Result<bool> {
    use io::ErrorKind as E;
    match fs::hard_link(staged, file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == E::AlreadyExists => Ok(false),
        Err(source) => {
            // Creating the staged file in this folder succeeded, so permissions are not the cause.
            let unsupported = matches!(
                source.kind(),
                E::PermissionDenied | E::Unsupported | E::TooManyLinks | E::CrossesDevices
            );
            let what = match unsupported {
                true => {
                    "this file system has no hard links, which a create-only put needs; use another one"
                }
                false => "cannot link it",
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
