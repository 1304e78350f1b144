//! Reads and verifies everything that a location holds, without changing it.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use object_store::ObjectStoreExt;

use crate::checkpoint::Checkpoint;
use crate::contents::read::{self, list_objects};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ObjectName, Record, pack};
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot;
use crate::{blocking, paths};

/// What a location holds, and what is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The number of records read.
    pub records: u64,
    /// The number of data objects read.
    pub objects: u64,
    /// The size of these data objects, in bytes.
    pub object_bytes: u64,
    /// The checkpoints that were read in full, without writing them anywhere.
    pub checkpoints: Vec<u64>,
    /// What is damaged or missing.
    pub findings: Vec<Finding>,
}

/// A damaged or missing object.
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
    /// Reads every record and every byte of every data object. Reports what is damaged or missing
    /// and which checkpoints are lost because of it. Changes nothing and claims nothing. Does not
    /// report what a running attempt prunes in the meantime.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be read. Damage is not an error.
    pub async fn verify(&self) -> Result<Verification> {
        self.verify_watched(|_, _| {}).await
    }

    /// Like [`verify`](Self::verify), but reports progress: how many bytes of contents have been
    /// read, and how many there are. Both are known once the records are read, before any contents
    /// are.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    pub async fn verify_watched(&self, watch: impl FnMut(u64, u64) + Send) -> Result<Verification> {
        let history = History::load(self).await?;
        let mut report = Verification::default();
        let listed = slot::list(self).await?;
        let checkpoints = report.read_records(self, &listed, &history).await?;
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

/// Tracks how much of the contents has been read, for the watcher.
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
    /// Reads every record. Returns the retained commits among them.
    async fn read_records(
        &mut self,
        location: &OpenLocation,
        listed: &[u64],
        history: &History,
    ) -> Result<Vec<Checkpoint>> {
        // Only these are restorable. Other commits may legitimately have lost their data.
        let retained = history.retained();
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
                    if history.given_up.binary_search(&sequence).is_err() {
                        let costs = retained.iter().copied().filter(|s| *s == sequence);
                        self.find(record_name(location, sequence), &error, costs.collect());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(checkpoints)
    }

    /// Reads every data object in its stored form.
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

    /// Finds data objects that are missing or whose size differs from that in a commit.
    fn compare_objects(&mut self, objects: &[(ObjectName, u64)], checkpoints: &[Checkpoint]) {
        let present: BTreeMap<_, _> = objects.iter().copied().collect();
        let needed = checkpoints.iter().flat_map(|c| c.commit.contents.objects());
        let needed: BTreeSet<_> = needed.map(|o| (o.name(), o.size_bytes)).collect();
        for (name, size_bytes) in needed {
            let what = match present.get(&name) {
                Some(found) if *found == size_bytes => continue,
                Some(_) => "its size differs from that in a commit",
                None => "missing",
            };
            self.lose(checkpoints, name, size_bytes, &Error::corrupt(what));
        }
    }

    /// Drops findings about objects that a live writer has pruned in the meantime: they are gone,
    /// and nothing retained now needs them.
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

    /// Marks the checkpoints that need an object of this size as lost, unless they are known to be.
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

    /// Reads a checkpoint in full, unless it is known to be lost.
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
    if size_bytes > pack::MAX_OBJECT_BYTES {
        return Err(Error::corrupt(
            "longer than the maximum size of a data object",
        ));
    }
    let path = paths::object(location.prefix(), name);
    let failed = |e| location.error("cannot read a data object", e);
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
