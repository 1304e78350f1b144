//! Atomic, durable writes of objects.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use object_store::{Error, PutMode, PutPayload, Result};

use super::{DirStore, Failed, generic};

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

    /// Writes a complete file. Returns false if the file exists and must not be replaced.
    pub(super) fn put(&self, file: &Path, payload: &PutPayload, mode: &PutMode) -> Result<bool> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| generic(Failed { what, path, source })
        };
        self.make_parent(file)
            .map_err(failed("cannot create its directory", file))?;
        let (staged, open) = self.stage(file).map_err(failed("cannot create it", file))?;
        let written = (|| {
            let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, writer(&open));
            for piece in payload {
                buffered.write_all(piece)?;
            }
            buffered.flush()?;
            open.sync_all()
        })();
        let put = match written {
            Err(error) => Err(failed("cannot write it", &staged)(error)),
            Ok(()) if *mode == PutMode::Overwrite => fs::rename(&staged, file)
                .map(|()| true)
                .map_err(failed("cannot rename it", &staged)),
            Ok(()) => link(&staged, file),
        };
        if put.is_err() || *mode != PutMode::Overwrite {
            // A leftover file is swept later.
            let _ = fs::remove_file(&staged);
        }
        if put? {
            let folder = file.parent().unwrap_or(Path::new("/"));
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed("cannot sync it", folder))?;
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(not(target_family = "wasm"))]
fn writer(file: &File) -> impl Write {
    file
}

/// Writes at positions, because wasmtime performs such a write at once. It performs a write of a stream in pieces of 64 KiB,
/// each on another thread.
#[cfg(target_family = "wasm")]
fn writer(file: &File) -> impl Write {
    struct Positioned<'a> {
        file: &'a File,
        offset: u64,
    }

    impl Write for Positioned<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = rustix::io::pwrite(self.file, bytes, self.offset)?;
            self.offset += written as u64;
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
