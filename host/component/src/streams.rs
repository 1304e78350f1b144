//! The interface `streams`.
//!
//! A component cannot make a stream of WASI's; only its host can. So contents pass through a file without a
//! name: the task writes to it, and it is saved when the task commits; or a checkpoint is restored to it, and
//! the task reads it.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use checkpoint_storage::{Error as StorageError, ErrorKind, Metadata, Result as StorageResult};
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::streams::OutputStream;

use crate::bindings::exports::task::checkpoint::streams::{
    Annotations, Error, Guest, GuestSaveStream, Reading, SaveStream as Handle, Saved,
};
use crate::errors::told;
use crate::isolation::holder;
use crate::settings::place;
use crate::task::{metadata, saved, task};
use crate::{Component, settings};

/// As much as passes at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// How many names are tried.
const MAX_NAMES: u32 = 1000;

impl Guest for Component {
    type SaveStream = SaveStream;

    fn read() -> Result<Option<Reading>, Error> {
        let task = task()?;
        let read = task.answer(async {
            task.background.settle().await?;
            // Whatever is damaged is found before the task is given any of it.
            loop {
                let Some(mut stream) = task.attempt.read_stream().await? else {
                    return Ok(None);
                };
                let file = nameless_file()?;
                let mut size = 0;
                let whole = loop {
                    match stream.next().await {
                        Ok(Some(piece)) => size = write_all(&file, &piece, size)?,
                        Ok(None) => break true,
                        Err(_) if stream.fell_back() => break false,
                        Err(error) => return Err(error),
                    }
                };
                if whole {
                    return Ok(Some((file, size, stream.info().sequence)));
                }
            }
        })?;
        let Some((file, size, sequence)) = read else {
            return Ok(None);
        };
        let contents = file.read_via_stream(0).map_err(|e| told(failed(e)))?;
        Ok(Some(Reading {
            contents,
            size,
            sequence,
        }))
    }
}

/// A save whose contents the task is writing.
pub(crate) struct SaveStream {
    file: Descriptor,
    metadata: Metadata,
    lent: Cell<bool>,
    _writing: Arc<()>,
}

impl GuestSaveStream for SaveStream {
    fn begin(annotations: Annotations) -> Result<Handle, Error> {
        let task = task()?;
        if Arc::strong_count(&task.writing) > 1 {
            return Err(told(one_at_a_time()));
        }
        let file = nameless_file().map_err(told)?;
        Ok(Handle::new(Self {
            file,
            metadata: metadata(annotations),
            lent: Cell::new(false),
            _writing: task.writing.clone(),
        }))
    }

    fn contents(&self) -> Result<OutputStream, Error> {
        if self.lent.replace(true) {
            let what = "the stream of these contents was given out before";
            return Err(Error::Other(what.into()));
        }
        self.file.write_via_stream(0).map_err(|e| told(failed(e)))
    }

    fn commit(this: Handle, size: u64) -> Result<Saved, Error> {
        let task = task()?;
        let this: Self = this.into_inner();
        let arrived = this.file.stat().map_err(|e| told(failed(e)))?.size;
        if arrived != size {
            let what = format!("{size} bytes were written, and {arrived} have arrived");
            return Err(Error::Other(what));
        }
        let answer = task.save(async {
            task.background.supersede().await?;
            let mut stream = task.attempt.write_stream(this.metadata).await?;
            let mut offset = 0;
            loop {
                let (piece, _) = this.file.read(PIECE_BYTES, offset).map_err(failed)?;
                if piece.is_empty() {
                    return stream.commit().await;
                }
                offset += piece.len() as u64;
                stream.write(Bytes::from(piece)).await?;
            }
        });
        answer.map(saved)
    }
}

/// A file that nobody else can open, and that is gone when it is closed.
fn nameless_file() -> StorageResult<Descriptor> {
    let Some(scratch) = settings::scratch()? else {
        let what = "streams need a directory beside this storage; name one by CHECKPOINT_SCRATCH";
        return Err(StorageError::new(ErrorKind::InvalidLocation, what));
    };
    let missing = || settings::not_given(&scratch);
    let given = wasip2::filesystem::preopens::get_directories();
    let places: Vec<_> = given.iter().map(|(_, name)| place(name)).collect();
    let (index, within) = holder(&places, &scratch).ok_or_else(missing)?;
    let (dir, _) = given.get(index).ok_or_else(missing)?;
    for number in 0..MAX_NAMES {
        let name = within.join(format!(".stream-{number}"));
        let name = name.to_string_lossy();
        let open = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        match dir.open_at(PathFlags::empty(), &name, open, flags) {
            Ok(file) => {
                dir.unlink_file_at(&name).map_err(failed)?;
                return Ok(file);
            }
            // Of another task in the same directory, or of one that died just here.
            Err(ErrorCode::Exist) => {}
            Err(code) => return Err(failed(code)),
        }
    }
    let scratch = scratch.display();
    let what =
        format!("{scratch}: {MAX_NAMES} files lie there by which dead streams could be told");
    Err(StorageError::new(ErrorKind::Other, what))
}

/// Writes a piece, and returns where it ends.
fn write_all(file: &Descriptor, mut piece: &[u8], mut offset: u64) -> StorageResult<u64> {
    while !piece.is_empty() {
        let most = piece.len().min(PIECE_BYTES as usize);
        let written = file
            .write(piece.get(..most).unwrap_or(piece), offset)
            .map_err(failed)?;
        if written == 0 {
            return Err(failed(ErrorCode::InsufficientSpace));
        }
        offset += written;
        piece = piece.get(written as usize..).unwrap_or_default();
    }
    Ok(offset)
}

fn failed(code: ErrorCode) -> StorageError {
    let kind = match code {
        ErrorCode::Quota | ErrorCode::InsufficientSpace => ErrorKind::Unavailable,
        ErrorCode::Access | ErrorCode::ReadOnly => ErrorKind::ReadOnly,
        _ => ErrorKind::Other,
    };
    StorageError::new(kind, "the file of a stream cannot be used").with_source(code)
}

fn one_at_a_time() -> StorageError {
    let what = "a task writes one stream at a time; end the one that is open";
    StorageError::new(ErrorKind::QuotaExceeded, what)
}
