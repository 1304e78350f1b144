//! The slots of a log: the only create-only put, and the reading of records.

use std::time::Duration;

use futures::future::ready;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tracing::info;

use crate::contents::read::collect;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{MAX_RECORD_BYTES, Record, WriteId};
use crate::location::OpenLocation;
use crate::{blocking, paths};

/// The outcome of putting a record.
#[derive(Debug)]
pub(crate) enum Put {
    /// The record is in its slot.
    Committed,
    /// Another record holds the slot.
    Conflict(Sized),
    /// Another record held the slot and its owner has pruned it since, or the storage was wrong.
    Vanished,
    /// The answer was lost: the record may appear in its slot now, later or never.
    Unknown(Error),
}

/// A record, and its size in the storage. The size cannot be computed from the record, because the stored bytes may
/// have fields that this program ignores.
#[derive(Clone, Debug)]
pub(crate) struct Sized {
    pub(crate) record: Record,
    pub(crate) size_bytes: u64,
}

/// The newest records of a log.
#[derive(Debug, Default)]
pub(crate) struct LogEnd {
    /// Their sequence numbers and sizes, ascending.
    pub(crate) records: Vec<(u64, u64)>,
    /// Whether there are no others.
    pub(crate) is_whole: bool,
}

/// Lists the newest records: as many as one request returns, or all of them where that takes several in no particular
/// order.
pub(crate) async fn list_end(location: &OpenLocation) -> Result<LogEnd> {
    if !location.lists_in_order() {
        let records = list_sized(location).await?;
        let is_whole = true;
        return Ok(LogEnd { records, is_whole });
    }
    let page = location.environment().sizes().page;
    let mut records: Vec<_> = listed(location).take(page).try_collect().await?;
    let is_whole = records.len() < page;
    records.sort_unstable();
    Ok(LogEnd { records, is_whole })
}

/// Returns the sequence numbers of all records, ascending.
pub(crate) async fn list(location: &OpenLocation) -> Result<Vec<u64>> {
    if let Some(dir) = location.local_dir() {
        return list_local(location, dir).await;
    }
    let listed = list_remote(location).await?.into_iter();
    Ok(listed.map(|(sequence, _)| sequence).collect())
}

/// Like [`list`], for a reader beside an owner that may be saving all the time.
pub(crate) async fn list_beside_owner(location: &OpenLocation) -> Result<Vec<u64>> {
    let mut sequences = list(location).await?;
    if location.lists_in_order() && sequences.len() > location.environment().sizes().page {
        // The newest records were listed first. While the others were listed, the owner may have replaced them, so a
        // reader would hardly ever find the newest one.
        let end = list_end(location).await?.records;
        if let Some((oldest, _)) = end.first() {
            sequences.retain(|sequence| sequence < oldest);
        }
        sequences.extend(end.iter().map(|(sequence, _)| sequence));
    }
    Ok(sequences)
}

/// Like [`list`], but also returns the sizes of the records. What is longer than a record can be counts as a record
/// of the maximum size, because no attempt has stored it.
pub(crate) async fn list_sized(location: &OpenLocation) -> Result<Vec<(u64, u64)>> {
    let Some(dir) = location.local_dir() else {
        return list_remote(location).await;
    };
    let sequences = list_local(location, dir).await?;
    let dir = dir.to_owned();
    let sizes = blocking::run(location.threads(), move || {
        let size_bytes = |sequence| {
            let path = dir.join("log").join(paths::record_name(sequence));
            // It was pruned meanwhile, or cannot be read at all.
            let size_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            size_bytes.min(MAX_RECORD_BYTES)
        };
        let sizes = sequences.into_iter().map(|s| (s, size_bytes(s)));
        sizes.collect()
    });
    sizes.await
}

async fn list_remote(location: &OpenLocation) -> Result<Vec<(u64, u64)>> {
    let mut records: Vec<_> = listed(location).try_collect().await?;
    records.sort_unstable();
    Ok(records)
}

/// Returns the sequence numbers and sizes of records, in the order in which the storage lists them.
fn listed(location: &OpenLocation) -> impl Stream<Item = Result<(u64, u64)>> {
    let prefix = paths::log(location.prefix());
    let listed = location.store().list(Some(&prefix));
    listed
        .map_err(|e| location.error("cannot list the log", e))
        .try_filter_map(|meta| {
            let sequence = paths::parse_record(location.prefix(), &meta.location);
            let size_bytes = meta.size.min(MAX_RECORD_BYTES);
            ready(Ok(sequence.map(|sequence| (sequence, size_bytes))))
        })
}

/// How often a directory is listed until two listings agree.
const MAX_LISTS: usize = 100;

/// Lists the log in a local directory. Listing a directory is not atomic: while a log grows at one
/// end and is pruned at the other, a listing may miss both the old records and the new. Two
/// listings that agree were taken while nothing changed. Only names are read, because a record that
/// is pruned before its size is read would be missing.
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
            Err(location.error("cannot list the log", source))
        }
    }
}

/// Returns the slot after this one.
///
/// # Errors
/// `Corrupt` if there is none: no attempt counts that far, so the record was forged.
pub(crate) fn next(sequence: u64) -> Result<u64> {
    let next = sequence
        .checked_add(1)
        .filter(|next| *next < paths::SLOTS.end);
    next.ok_or_else(|| Error::corrupt("the log is full: its last possible slot is taken"))
}

/// Reads the record in a slot; `None` if the slot is empty.
///
/// # Errors
/// `Corrupt` if the slot holds something that is not a valid record.
pub(crate) async fn read(location: &OpenLocation, sequence: u64) -> Result<Option<Record>> {
    let read = read_sized(location, sequence).await?;
    Ok(read.map(|read| read.record))
}

/// Like [`read`], but also returns the record's size.
pub(crate) async fn read_sized(location: &OpenLocation, sequence: u64) -> Result<Option<Sized>> {
    let path = paths::record(location.prefix(), sequence);
    let failed = |e| location.error(format!("cannot read record {sequence}"), e);
    let answer = match location.store().get(&path).await {
        Ok(answer) => answer,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let Some(bytes) = collect(answer, MAX_RECORD_BYTES).await.map_err(failed)? else {
        return Err(Error::corrupt(format!(
            "record {sequence} exceeds the maximum size of a record"
        )));
    };
    let size_bytes = bytes.len() as u64;
    // Decoding a large record takes long.
    let decoded = blocking::run(location.threads(), move || Record::decode(&bytes)).await?;
    let damaged = |error: Error| {
        let what = match error.kind() {
            ErrorKind::Corrupt => "is damaged",
            _ => "cannot be read",
        };
        // Omit the location, because tasks see messages about damage.
        let what = format!("record {sequence} {what}");
        Error::new(error.kind(), what).with_source(error)
    };
    let record = decoded.map_err(damaged)?;
    match record.fits(sequence) {
        true => Ok(Some(Sized { record, size_bytes })),
        false => Err(damaged(Error::corrupt(
            "the record belongs to another slot",
        ))),
    }
}

/// Puts a record in an empty slot.
///
/// A store that retries a put whose answer was lost may report a conflict with that very put. So
/// the slot is read back, and the write-id tells whose record it holds.
///
/// # Errors
/// Only errors after which the record is in no slot and never will be, and `Corrupt` if the slot
/// does not hold a valid record.
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
            let error = location.error(format!("cannot put record {sequence}"), error);
            match error.kind() {
                ErrorKind::ReadOnly | ErrorKind::InvalidLocation | ErrorKind::QuotaExceeded => {
                    return Err(error);
                }
                _ => {
                    let error_text = error.with_causes();
                    info!(%location, slot = sequence, error = error_text, "the answer to a put was lost; reading the slot");
                    Some(error)
                }
            }
        }
    };
    match (read_sized(location, sequence).await, error) {
        (Ok(Some(read)), None) if read.record.write_id() == write_id => Ok(Put::Committed),
        // If syncing failed, the record's name may not be durable.
        (Ok(Some(read)), Some(error)) if read.record.write_id() == write_id => {
            match sync(location).await {
                Ok(()) => Ok(Put::Committed),
                Err(_) => Ok(Put::Unknown(error)),
            }
        }
        (Ok(Some(read)), _) => Ok(Put::Conflict(read)),
        (Ok(None), Some(error)) => Ok(Put::Unknown(error)),
        (Ok(None), None) => Ok(Put::Vanished),
        (Err(damaged), _) if damaged.kind() == ErrorKind::Corrupt => Err(damaged),
        (Err(unread), error) => Ok(Put::Unknown(error.unwrap_or(unread))),
    }
}

/// How long a commit is put again while the storage says that its empty slot is taken.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(30);

/// The first and the longest delay between two such puts.
const CONFLICT_DELAYS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Puts a commit in the slot after the last record that its attempt knows. Like [`put`], but puts it again if
/// the storage says that the slot is taken although it is empty. S3 does so (409 `ConditionalRequestConflict`)
/// while another request to the same key is in flight. Nobody prunes a record in that slot, so an empty slot was
/// never taken. A claim must not be put again: its slot may have been pruned, so its log must be listed again.
///
/// # Errors
/// As [`put`].
pub(crate) async fn put_commit(
    location: &OpenLocation,
    sequence: u64,
    bytes: Vec<u8>,
    write_id: WriteId,
) -> Result<Put> {
    let mut waited = Duration::ZERO;
    let [mut delay, longest] = CONFLICT_DELAYS;
    loop {
        let put = put(location, sequence, bytes.clone(), write_id).await?;
        if !matches!(put, Put::Vanished) || waited >= CONFLICT_TIMEOUT {
            return Ok(put);
        }
        info!(%location, slot = sequence, ?delay, "the storage reported a conflict for an empty slot; putting the commit again");
        tokio::time::sleep(delay).await;
        waited += delay;
        delay = longest.min(delay * 2);
    }
}

/// Makes the names of the log's records durable, where the storage requires a separate sync.
async fn sync(location: &OpenLocation) -> Result<()> {
    if let Some(dir) = location.local_dir() {
        let dir = dir.join("log");
        let synced = blocking::run(location.threads(), move || {
            std::fs::File::open(dir)?.sync_all()
        });
        return synced.await?.map_err(|source| {
            Error::new(ErrorKind::Unavailable, "cannot sync the log directory").with_source(source)
        });
    }
    Ok(())
}
