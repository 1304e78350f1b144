//! Reading everything that a location holds, and changing nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use object_store::ObjectStoreExt;

use crate::checkpoint::Checkpoint;
use crate::contents::read::{self, list_objects};
use crate::contents::regular;
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
    /// which checkpoints that costs. Changes nothing and claims nothing. What a running attempt prunes
    /// meanwhile is not reported.
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
    pub async fn verify_watched(&self, watch: impl FnMut(u64, u64) + Send) -> Result<Verification> {
        // Only these are restorable. Other commits may have lost their data for good reasons.
        let retained = History::load(self).await?.retained();
        let mut report = Verification::default();
        let listed = slot::list(self).await?;
        let checkpoints = report.read_records(self, &listed, &retained).await?;
        let objects = list_objects(self).await?;
        let mut progress = Progress::new(&objects, &checkpoints, watch);
        report
            .read_objects(self, &objects, &checkpoints, &mut progress)
            .await?;
        report.compare_objects(&objects, &checkpoints);
        for checkpoint in &checkpoints {
            report.restore(checkpoint, &mut progress).await?;
        }
        report.forget_pruned(self, &listed).await?;
        Ok(report)
    }
}

/// How much of the contents has been read, for who watches.
struct Progress<W> {
    done: u64,
    total: u64,
    watch: W,
}

impl<W: FnMut(u64, u64) + Send> Progress<W> {
    fn new(objects: &[(ObjectName, u64)], checkpoints: &[Checkpoint], watch: W) -> Self {
        let sizes = objects.iter().map(|(_, size_bytes)| *size_bytes);
        let sizes = sizes.chain(checkpoints.iter().map(logical_bytes));
        let mut progress = Self {
            done: 0,
            total: sizes.fold(0, u64::saturating_add),
            watch,
        };
        progress.add(0);
        progress
    }

    fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        (self.watch)(self.done, self.total);
    }
}

impl Verification {
    /// Reads every record. Returns the commits among those that are retained.
    async fn read_records(
        &mut self,
        location: &OpenLocation,
        listed: &[u64],
        retained: &[u64],
    ) -> Result<Vec<Checkpoint>> {
        for missing in retained.iter().filter(|s| listed.binary_search(s).is_err()) {
            let name = record_name(location, *missing);
            self.find(name, &Error::corrupt("missing"), vec![*missing]);
        }
        let mut checkpoints = Vec::new();
        for &sequence in listed {
            self.records += 1;
            match slot::read(location, sequence).await {
                Ok(Some(Record::Commit(commit))) if retained.contains(&sequence) => {
                    checkpoints.push(Checkpoint {
                        location: location.clone(),
                        sequence,
                        commit: commit.into(),
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let costs = retained.iter().copied().filter(|s| *s == sequence);
                    self.find(record_name(location, sequence), &error, costs.collect());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(checkpoints)
    }

    /// Reads every data object, as it is stored.
    async fn read_objects(
        &mut self,
        location: &OpenLocation,
        objects: &[(ObjectName, u64)],
        checkpoints: &[Checkpoint],
        progress: &mut Progress<impl FnMut(u64, u64) + Send>,
    ) -> Result<()> {
        for &(name, size_bytes) in objects {
            self.objects += 1;
            self.object_bytes = self.object_bytes.saturating_add(size_bytes);
            match verify_object(location, name, size_bytes).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.find(object_name(name), &error, costs(checkpoints, name));
                }
                Err(error) => return Err(error),
            }
            progress.add(size_bytes);
        }
        Ok(())
    }

    /// Finds the data objects that are missing, or of another size than a commit says.
    fn compare_objects(&mut self, objects: &[(ObjectName, u64)], checkpoints: &[Checkpoint]) {
        let present: BTreeMap<_, _> = objects.iter().copied().collect();
        let needed = checkpoints.iter().flat_map(|c| c.commit.contents.objects());
        let needed: BTreeSet<_> = needed.map(|o| (o.name(), o.size_bytes)).collect();
        for (name, size_bytes) in needed {
            let what = match present.get(&name) {
                Some(found) if *found == size_bytes => continue,
                Some(_) => "of another size than a commit says",
                None => "missing",
            };
            self.lose(checkpoints, name, size_bytes, &Error::corrupt(what));
        }
    }

    /// Drops what a live writer has pruned meanwhile: it is gone, and nothing that is retained now needs it.
    async fn forget_pruned(&mut self, location: &OpenLocation, listed: &[u64]) -> Result<()> {
        if self.findings.is_empty() || slot::list(location).await? == listed {
            return Ok(());
        }
        let retained = History::load(location).await?.retained();
        for finding in &mut self.findings {
            finding.costs.retain(|sequence| retained.contains(sequence));
        }
        let records = slot::list(location).await?;
        let objects = list_objects(location).await?;
        let present = |finding: &Finding| {
            records
                .iter()
                .any(|s| record_name(location, *s) == finding.object)
                || objects
                    .iter()
                    .any(|(o, _)| object_name(*o) == finding.object)
        };
        self.findings
            .retain(|finding| !finding.costs.is_empty() || present(finding));
        Ok(())
    }

    fn find(&mut self, object: String, error: &Error, costs: Vec<u64>) {
        let reason = error.with_causes();
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
        progress: &mut Progress<impl FnMut(u64, u64) + Send>,
    ) -> Result<()> {
        let sequence = checkpoint.sequence;
        if self.findings.iter().any(|f| f.costs.contains(&sequence)) {
            progress.add(logical_bytes(checkpoint));
            return Ok(());
        }
        let mut runs = checkpoint.runs();
        let mut read = 0;
        while let Some(run) = runs.next().await {
            match run {
                Ok(pieces) => progress.add(pieces.iter().map(|piece| piece.len() as u64).sum()),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let object =
                        read::object_of_run(&checkpoint.location, &checkpoint.commit, read);
                    let object = match object {
                        Some(name) => object_name(name),
                        None => record_name(&checkpoint.location, sequence),
                    };
                    self.find(object, &error, vec![sequence]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            read += 1;
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
    regular::check(location, &path).await?;
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
