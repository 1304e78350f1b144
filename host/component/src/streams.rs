//! The interface `streams`.
//!
//! Only a host can create a WASI stream; a component cannot. So contents pass through an unnamed file. To save,
//! the task writes to the file, and the commit saves it. To read, this component restores the checkpoint to
//! the file, and the task reads that.

use std::cell::Cell;

use bytes::Bytes;
use checkpoint_session::storage::{Error as StorageError, ErrorKind, Result as StorageResult};
use checkpoint_session::{Answer, Given, Misuse, Session};
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::streams::OutputStream;

use crate::bindings::exports::task::checkpoint::streams::{
    Annotations, Error, Guest, GuestSaveStream, Reading, SaveStream as Handle, Saved,
};
use crate::isolation::holder;
use crate::task::call;
use crate::{Component, settings};

/// The most bytes per read or write.
const PIECE_BYTES: u64 = 1 << 20;

/// How many file names to try.
const MAX_NAMES: u32 = 1000;

impl Guest for Component {
    type SaveStream = SaveStream;

    fn read() -> Result<Option<Reading>, Error> {
        call(async |session| {
            let Some((file, given)) = read_to_file(session).await? else {
                return Ok(None);
            };
            let contents = file.read_via_stream(0);
            Ok(Some(Reading {
                contents: contents.map_err(|code| session.tell(failed(code)))?,
                size: given.info.logical_bytes,
                checkpoint: given.into(),
            }))
        })
    }
}

/// Copies the checkpoint to a file, so that damage is found before the task reads any of it. Returns the file
/// and the checkpoint.
async fn read_to_file(session: &Session) -> Answer<Option<(Descriptor, Given)>> {
    while let Some(mut stream) = session.read_stream().await? {
        let file = nameless_file().map_err(|error| session.tell(error))?;
        let mut size = 0;
        loop {
            match stream.next().await {
                Ok(Some(piece)) => {
                    let written = write_all(&file, &piece, size);
                    size = written.map_err(|error| session.tell(error))?;
                }
                Ok(None) => return Ok(Some((file, stream.checkpoint().clone()))),
                // The next iteration reads an older checkpoint.
                Err(_) if stream.fell_back() => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// A save whose contents the task is writing.
pub(crate) struct SaveStream {
    file: Descriptor,
    stream: checkpoint_session::SaveStream,
    is_taken: Cell<bool>,
}

impl GuestSaveStream for SaveStream {
    fn begin(annotations: Annotations) -> Result<Handle, Error> {
        call(async |session| {
            let stream = session.begin_stream(annotations).await?;
            let file = nameless_file().map_err(|error| session.tell(error))?;
            Ok(Handle::new(Self {
                file,
                stream,
                is_taken: Cell::new(false),
            }))
        })
    }

    fn contents(&self) -> Result<OutputStream, Error> {
        call(async |session| {
            if self.is_taken.replace(true) {
                return Err(session.misuse(Misuse::OutputTaken));
            }
            let contents = self.file.write_via_stream(0);
            contents.map_err(|code| session.tell(failed(code)))
        })
    }

    fn commit(this: Handle, size: u64) -> Result<Saved, Error> {
        let Self { file, stream, .. } = this.into_inner();
        call(async |_| {
            let mut offset = 0;
            let next_piece = || {
                let (piece, _) = file.read(PIECE_BYTES, offset).map_err(failed)?;
                offset += piece.len() as u64;
                Ok(Bytes::from(piece))
            };
            stream.commit_all(size, next_piece).await
        })
    }
}

/// Creates a file that nobody else can open and that disappears when it is closed.
fn nameless_file() -> StorageResult<Descriptor> {
    let Some(scratch) = settings::scratch()? else {
        let what = "streams need a scratch directory with this storage; set CHECKPOINT_SCRATCH";
        return Err(StorageError::new(ErrorKind::InvalidLocation, what));
    };
    let (dir, within) = holder(&scratch).ok_or_else(|| settings::not_given(&scratch))?;
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
            // Another task in this directory holds the name, or died before unlinking it.
            Err(ErrorCode::Exist) => {}
            Err(code) => return Err(failed(code)),
        }
    }
    let scratch = scratch.display();
    let what = format!(
        "{scratch}: all {MAX_NAMES} stream file names are taken; delete leftover .stream-* files"
    );
    Err(StorageError::new(ErrorKind::Other, what))
}

/// Writes a piece, and returns the offset of its end.
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
        ErrorCode::Quota | ErrorCode::FileTooLarge | ErrorCode::InsufficientSpace => {
            ErrorKind::QuotaExceeded
        }
        ErrorCode::Access | ErrorCode::ReadOnly => ErrorKind::ReadOnly,
        _ => ErrorKind::Other,
    };
    StorageError::new(kind, "cannot use the scratch file of a stream").with_source(code)
}
