//! Reading everything that a location holds, and changing nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use object_store::ObjectStoreExt;

use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ObjectName, Record, pack};
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot;
use crate::{blocking, paths};

/// A data object that is longer is none of ours: it is not read into memory.
const MAX_OBJECT_BYTES: u64 = 64 << 20;

/// What a location holds, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The records that were read.
    pub records: u64,
    /// The data objects that were read.
    pub objects: u64,
    /// The size of these data objects.
    pub object_bytes: u64,
    /// The checkpoints that were restored, to nowhere, in full.
    pub checkpoints: Vec<u64>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its path in the location, such as `log/00000000000000000007` or `data/3-14`.
    pub object: String,
    /// What is wrong with it, for people.
    pub reason: String,
    /// The checkpoints that cannot be restored because of it, by sequence number.
    pub costs: Vec<u64>,
}

impl OpenLocation {
    /// Reads every record and every byte of every data object, and says what is damaged or missing and
    /// which checkpoints that costs. Changes nothing and claims nothing; what a running attempt prunes
    /// meanwhile may be reported as missing.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be read. Damage is no error.
    pub async fn verify(&self) -> Result<Verification> {
        self.verify_watched(|_, _| {}).await
    }

    /// The same, and tells how far it is: how many bytes of contents have been read, and of how many.
    /// Both are known once the records are read, before any of the contents.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    pub async fn verify_watched(
        &self,
        mut watch: impl FnMut(u64, u64) + Send,
    ) -> Result<Verification> {
        let mut report = Verification::default();
        // Only these are restorable. Other commits may have lost their data for good reasons.
        let retained = History::load(self).await?.retained();
        let mut referring: Vec<Checkpoint> = Vec::new();
        let listed = slot::list(self).await?;
        for missing in retained.iter().filter(|s| listed.binary_search(s).is_err()) {
            report.find(
                record_name(self, *missing),
                &Error::corrupt("missing"),
                vec![*missing],
            );
        }
        for sequence in listed {
            report.records += 1;
            match slot::read(self, sequence).await {
                Ok(Some(Record::Commit(commit))) => referring.push(Checkpoint {
                    location: self.clone(),
                    sequence,
                    commit: commit.into(),
                }),
                Ok(Some(Record::Claim(_)) | None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let costs = retained.iter().copied().filter(|s| *s == sequence);
                    report.find(record_name(self, sequence), &error, costs.collect());
                }
                Err(error) => return Err(error),
            }
        }
        referring.retain(|checkpoint| retained.contains(&checkpoint.sequence));
        let objects = list_objects(self).await?;
        let sizes = objects.iter().map(|(_, size_bytes)| *size_bytes);
        let sizes = sizes.chain(referring.iter().map(logical_bytes));
        let total = sizes.fold(0, u64::saturating_add);
        let mut done: u64 = 0;
        let mut watch = |more| {
            done = done.saturating_add(more);
            watch(done, total);
        };
        watch(0);
        let mut present = BTreeMap::new();
        for (name, size_bytes) in objects {
            present.insert(name, size_bytes);
            report.objects += 1;
            report.object_bytes += size_bytes;
            match verify_object(self, name, size_bytes).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    report.find(object_name(name), &error, costs(&referring, name));
                }
                Err(error) => return Err(error),
            }
            watch(size_bytes);
        }
        let needed = referring.iter().flat_map(|c| c.commit.contents.objects());
        let needed: BTreeSet<_> = needed.map(|o| (o.name(), o.size_bytes)).collect();
        for (name, size_bytes) in needed {
            let what = match present.get(&name) {
                Some(found) if *found == size_bytes => continue,
                Some(_) => "of another size than a commit says",
                None => "missing",
            };
            report.lose(&referring, name, size_bytes, &Error::corrupt(what));
        }
        for checkpoint in &referring {
            report.restore(checkpoint, &mut watch).await?;
        }
        Ok(report)
    }
}

impl Verification {
    fn find(&mut self, object: String, error: &Error, costs: Vec<u64>) {
        let reason = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        self.findings.push(Finding {
            object,
            reason,
            costs,
        });
    }

    /// Adds the checkpoints that need an object of this size, unless it is known that they are lost.
    fn lose(&mut self, of: &[Checkpoint], name: ObjectName, size_bytes: u64, error: &Error) {
        let needs = |checkpoint: &&Checkpoint| {
            let mut objects = checkpoint.commit.contents.objects().iter();
            objects.any(|o| o.name() == name && o.size_bytes == size_bytes)
        };
        let object = object_name(name);
        let lost: Vec<u64> = of.iter().filter(needs).map(|c| c.sequence).collect();
        let known = |f: &Finding| f.object == object && lost.iter().all(|c| f.costs.contains(c));
        if !self.findings.iter().any(known) {
            self.find(object, error, lost);
        }
    }

    /// Reads a checkpoint in full, unless it is known that this fails.
    async fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        watch: &mut (impl FnMut(u64) + Send),
    ) -> Result<()> {
        let sequence = checkpoint.sequence;
        if self.findings.iter().any(|f| f.costs.contains(&sequence)) {
            watch(logical_bytes(checkpoint));
            return Ok(());
        }
        let mut contents = checkpoint.contents();
        while let Some(piece) = contents.next().await {
            match piece {
                Ok(piece) => watch(piece.len() as u64),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.find(format!("checkpoint {sequence}"), &error, vec![sequence]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.checkpoints.push(sequence);
        Ok(())
    }
}

fn logical_bytes(checkpoint: &Checkpoint) -> u64 {
    checkpoint.tree().size_bytes().unwrap_or(u64::MAX)
}

async fn verify_object(location: &OpenLocation, name: ObjectName, size_bytes: u64) -> Result<()> {
    if size_bytes > MAX_OBJECT_BYTES {
        return Err(Error::corrupt("longer than a data object can be"));
    }
    let path = paths::object(location.prefix(), name);
    let failed = |e| location.error("a data object cannot be read", e);
    let bytes = match location.store().get(&path).await {
        Ok(answer) => answer.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Err(Error::corrupt("missing")),
        Err(error) => return Err(failed(error)),
    };
    blocking::run(location.threads(), move || pack::verify(&bytes)).await?
}

fn record_name(location: &OpenLocation, sequence: u64) -> String {
    let path = paths::record(location.prefix(), sequence);
    format!("log/{}", path.filename().unwrap_or_default())
}

fn object_name(name: ObjectName) -> String {
    format!("data/{}-{}", name.epoch, name.counter)
}

fn costs(checkpoints: &[Checkpoint], name: ObjectName) -> Vec<u64> {
    let refers = |c: &&Checkpoint| c.commit.contents.objects().iter().any(|o| o.name() == name);
    checkpoints
        .iter()
        .filter(refers)
        .map(|c| c.sequence)
        .collect()
}
