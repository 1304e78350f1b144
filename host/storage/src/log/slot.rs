//! The log of a location: the only create-only put, and the reading of records.

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::contents::regular;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{MAX_RECORD_BYTES, Record, WriteId};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// What became of a record that was put.
#[derive(Debug)]
pub(crate) enum Put {
    /// It stands in its slot.
    Committed,
    /// Another record holds the slot.
    Conflict(Record),
    /// Another record held the slot, and its owner has pruned it since.
    Vanished,
    /// The answer was lost: it may stand in its slot now or later, or never.
    Unknown(Error),
}

/// The sequence numbers of all records, ascending.
pub(crate) async fn list(location: &OpenLocation) -> Result<Vec<u64>> {
    if let Some(dir) = location.local_dir() {
        return list_local(location, dir).await;
    }
    let prefix = paths::log(location.prefix());
    let mut sequences: Vec<u64> = location
        .store()
        .list(Some(&prefix))
        .try_filter_map(
            |meta| async move { Ok(paths::parse_record(location.prefix(), &meta.location)) },
        )
        .try_collect()
        .await
        .map_err(|e| location.error("the log cannot be listed", e))?;
    sequences.sort_unstable();
    Ok(sequences)
}

/// How often a directory is listed until two lists agree.
const MAX_LISTS: usize = 100;

/// A directory is not listed at one moment: of a log that grows at one end and is pruned at the other, a
/// list may hold neither the old records nor the new. Two that agree were taken while nothing changed.
/// The names alone are read, because a record that is pruned before its size is asked would be missing.
async fn list_local(location: &OpenLocation, dir: &std::path::Path) -> Result<Vec<u64>> {
    let dir = dir.join("log");
    let listed = blocking::run(location.threads(), move || {
        let mut before = None;
        for _ in 0..MAX_LISTS {
            let mut now = Vec::new();
            match std::fs::read_dir(&dir) {
                Ok(entries) => {
                    for entry in entries {
                        let name = entry?.file_name();
                        now.extend(name.to_str().and_then(paths::parse_record_name));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            now.sort_unstable();
            if before.as_ref() == Some(&now) {
                return Ok(Some(now));
            }
            before = Some(now);
        }
        Ok(None)
    });
    match listed.await? {
        Ok(Some(sequences)) => Ok(sequences),
        Ok(None) => {
            let what = format!("{location}: the log changes faster than it can be listed");
            Err(Error::new(ErrorKind::Unavailable, what))
        }
        Err(source) => {
            let source = object_store::Error::Generic {
                store: "LocalFileSystem",
                source: source.into(),
            };
            Err(location.error("the log cannot be listed", source))
        }
    }
}

/// The slot after this one.
///
/// # Errors
/// `Corrupt` if there is none: nobody counts that far, so somebody else put a record there.
pub(crate) fn next(sequence: u64) -> Result<u64> {
    let next = sequence.checked_add(1);
    next.ok_or_else(|| Error::corrupt("the log ends in the last slot that there is"))
}

/// The record in a slot; `None` if the slot is empty.
///
/// # Errors
/// `Corrupt` if what lies there is no record.
pub(crate) async fn read(location: &OpenLocation, sequence: u64) -> Result<Option<Record>> {
    let path = paths::record(location.prefix(), sequence);
    let failed = |e| location.error(format!("record {sequence} cannot be read"), e);
    regular::check(location, &path).await?;
    let answer = match location.store().get(&path).await {
        Ok(answer) => answer,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if answer.meta.size > MAX_RECORD_BYTES {
        return Err(Error::corrupt(format!(
            "record {sequence} is longer than a record can be"
        )));
    }
    let bytes = answer.bytes().await.map_err(failed)?;
    // That of a large record takes long.
    let decoded = blocking::run(location.threads(), move || Record::decode(&bytes)).await?;
    let damaged = |error: Error| {
        let what = match error.kind() {
            ErrorKind::Corrupt => "is damaged",
            _ => "cannot be read",
        };
        // Without the location, because a task is told of damage.
        let what = format!("record {sequence} {what}");
        Error::new(error.kind(), what).with_source(error)
    };
    let record = decoded.map_err(damaged)?;
    match record.fits(sequence) {
        true => Ok(Some(record)),
        false => Err(damaged(Error::corrupt("a record of another slot"))),
    }
}

/// Puts a record in an empty slot.
///
/// A store may report a conflict with the very put that it reports on, when it retried one whose
/// answer was lost. So the slot is read back, and the write-id tells whose the record is.
///
/// # Errors
/// Only those after which the record stands in no slot and never will, and `Corrupt` if the slot
/// holds no record.
pub(crate) async fn put(
    location: &OpenLocation,
    sequence: u64,
    bytes: Vec<u8>,
    write_id: WriteId,
) -> Result<Put> {
    let path = paths::record(location.prefix(), sequence);
    let options = PutOptions::from(PutMode::Create);
    let payload = PutPayload::from(bytes);
    let error = match location.store().put_opts(&path, payload, options).await {
        Ok(_) => return Ok(Put::Committed),
        Err(object_store::Error::AlreadyExists { .. }) => None,
        Err(error) => {
            let error = location.error(format!("record {sequence} cannot be put"), error);
            match error.kind() {
                ErrorKind::ReadOnly | ErrorKind::InvalidLocation | ErrorKind::QuotaExceeded => {
                    return Err(error);
                }
                _ => Some(error),
            }
        }
    };
    match (read(location, sequence).await, error) {
        (Ok(Some(record)), None) if record.write_id() == write_id => Ok(Put::Committed),
        // The name of the record may not be durable, if that is what failed.
        (Ok(Some(record)), Some(error)) if record.write_id() == write_id => {
            match sync(location).await {
                Ok(()) => Ok(Put::Committed),
                Err(_) => Ok(Put::Unknown(error)),
            }
        }
        (Ok(Some(record)), _) => Ok(Put::Conflict(record)),
        (Ok(None), Some(error)) => Ok(Put::Unknown(error)),
        (Ok(None), None) => Ok(Put::Vanished),
        (Err(damaged), _) if damaged.kind() == ErrorKind::Corrupt => Err(damaged),
        (Err(unread), error) => Ok(Put::Unknown(error.unwrap_or(unread))),
    }
}

/// Makes the names of the log's records durable, where that is a thing of its own.
async fn sync(location: &OpenLocation) -> Result<()> {
    if let Some(dir) = location.local_dir() {
        let dir = dir.join("log");
        let synced = blocking::run(location.threads(), move || {
            std::fs::File::open(dir)?.sync_all()
        });
        return synced.await?.map_err(|source| {
            Error::new(ErrorKind::Unavailable, "the log cannot be synced").with_source(source)
        });
    }
    Ok(())
}
