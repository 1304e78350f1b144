//! Reads and verifies everything that a location holds, without changing it.

mod data;
mod permanent;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use self::data::{Examined, Undescribed, Uses};
use self::permanent::Sums;
use crate::checkpoint::Checkpoint;
use crate::contents::read::list_objects;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ObjectName, Record};
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::slot::{self, Sized};
use crate::paths;

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
    /// The checkpoints whose every byte was read and is right.
    pub checkpoints: Vec<u64>,
    /// What is damaged or missing.
    pub findings: Vec<Finding>,
}

/// An object that is damaged or missing, or a record that contradicts the one that it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its path in the location, such as `log/09223372036854775801` or `data/3-14`.
    pub object: String,
    /// What is wrong with it, for people.
    pub reason: String,
    /// The checkpoints that cannot be restored because of it, by sequence number.
    pub costs: Vec<u64>,
}

impl OpenLocation {
    /// Reads every record, the description of every checkpoint, and then every byte of every data object, each data
    /// object once. Reports what is damaged or missing and which checkpoints are lost because of it. Changes nothing
    /// and claims nothing. Does not report what a running attempt prunes in the meantime.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be read. Damage is not an error.
    pub async fn verify(&self) -> Result<Verification> {
        self.verify_watched(|_, _| {}).await
    }

    /// Like [`verify`](Self::verify), but reports progress: how many bytes of the data objects have been
    /// read, and how many there are. Both are known once the records are read, before any description or data
    /// object is.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify).
    pub async fn verify_watched(
        &self,
        mut watch: impl FnMut(u64, u64) + Send,
    ) -> Result<Verification> {
        let history = History::load(self).await?;
        let mut report = Verification::default();
        let listed = slot::list(self).await?;
        let checkpoints = report.read_records(self, &listed, history).await?;
        let objects = list_objects(self).await?;
        let read = report.read_objects(self, &objects, &checkpoints, &mut watch);
        let undescribed = read.await?;
        report.compare_objects(&objects, &checkpoints);
        for (sequence, error) in undescribed {
            // In most cases, because of a data object that is damaged or missing.
            if !report.findings.iter().any(|f| f.costs.contains(&sequence)) {
                report.find(record_name(self, sequence), &error, vec![sequence]);
            }
        }
        let lost: HashSet<_> = report.findings.iter().flat_map(|f| &f.costs).collect();
        let whole = checkpoints.iter().map(|c| c.sequence);
        report.checkpoints = whole.filter(|s| !lost.contains(s)).collect();
        report.forget_pruned(self, &listed).await?;
        Ok(report)
    }
}

impl Verification {
    /// Reads every record. Returns the retained commits among them.
    async fn read_records(
        &mut self,
        location: &OpenLocation,
        listed: &[u64],
        history: History,
    ) -> Result<Vec<Checkpoint>> {
        // Only these are restorable. Other commits may legitimately have lost their data.
        let retained: BTreeSet<_> = history.retained().into_iter().collect();
        let History {
            checkpoints,
            given_up,
            ..
        } = history;
        let mut read: BTreeMap<_, _> = checkpoints.into_iter().map(|c| (c.sequence, c)).collect();
        // The newest first, as in the history.
        for missing in retained
            .iter()
            .rev()
            .filter(|s| listed.binary_search(s).is_err())
        {
            let name = record_name(location, *missing);
            self.find(name, &Error::corrupt("missing"), vec![*missing]);
        }
        let mut checkpoints = Vec::new();
        let mut sums = Sums::default();
        for &sequence in listed {
            self.records += 1;
            // These have been read already, to know what is retained.
            if let Some(checkpoint) = read.remove(&sequence) {
                let (commit, size_bytes) = (&checkpoint.commit, checkpoint.record_bytes);
                sums.add_commit(sequence, commit, size_bytes);
                checkpoints.push(checkpoint);
                continue;
            }
            match slot::read_sized(location, sequence).await {
                Ok(Some(Sized { record, size_bytes })) => match record {
                    Record::Claim(claim) => sums.add_claim(&claim, size_bytes),
                    Record::Commit(commit) => {
                        sums.add_commit(sequence, &commit, size_bytes);
                        if retained.contains(&sequence) {
                            checkpoints.push(Checkpoint {
                                location: location.clone(),
                                sequence,
                                commit: commit.into(),
                                record_bytes: size_bytes,
                            });
                        }
                    }
                },
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    if given_up.binary_search(&sequence).is_err() {
                        let costs = retained.get(&sequence).copied();
                        let name = record_name(location, sequence);
                        self.find(name, &error, costs.into_iter().collect());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let mut wrong = sums.disagreements(listed);
        wrong.retain(|sequence, _| given_up.binary_search(sequence).is_err());
        // In a log that changes, a record may not be the one that was listed, and newer ones may not have been.
        if !wrong.is_empty() && slot::list(location).await? == listed {
            for (sequence, error) in &wrong {
                self.find(record_name(location, *sequence), error, Vec::new());
            }
        }
        Ok(checkpoints)
    }

    /// Reads every data object. Returns the checkpoints whose description cannot be read.
    async fn read_objects(
        &mut self,
        location: &OpenLocation,
        objects: &[(ObjectName, u64)],
        checkpoints: &[Checkpoint],
        watch: &mut (impl FnMut(u64, u64) + Send),
    ) -> Result<Undescribed> {
        let sizes = objects.iter().map(|(_, size_bytes)| *size_bytes);
        let total = sizes.fold(0, u64::saturating_add);
        watch(0, total);
        let (mut uses, undescribed) = Uses::of(checkpoints).await?;
        for &(name, size_bytes) in objects {
            self.objects += 1;
            self.object_bytes = self.object_bytes.saturating_add(size_bytes);
            match uses.examine(location, name, size_bytes).await? {
                Examined::Damaged(error, costs) => self.find(object_name(name), &error, costs),
                Examined::Whole(misstated) => {
                    for (sequence, error) in misstated {
                        self.find(object_name(name), &error, vec![sequence]);
                    }
                }
            }
            watch(self.object_bytes, total);
        }
        Ok(undescribed)
    }

    /// Finds data objects that are missing or whose size differs from that in a commit.
    fn compare_objects(&mut self, objects: &[(ObjectName, u64)], checkpoints: &[Checkpoint]) {
        let present: BTreeMap<_, _> = objects.iter().copied().collect();
        let mut wrong: BTreeMap<(ObjectName, u64), Vec<u64>> = BTreeMap::new();
        for checkpoint in checkpoints {
            for object in &checkpoint.commit.objects {
                if present.get(&object.name()) != Some(&object.size_bytes) {
                    let costs = wrong.entry((object.name(), object.size_bytes));
                    costs.or_default().push(checkpoint.sequence);
                }
            }
        }
        let known: HashSet<_> = self.findings.iter().flat_map(known_costs).collect();
        let mut found = Vec::new();
        for ((name, _), costs) in wrong {
            let object = object_name(name);
            if costs.iter().all(|c| known.contains(&(object.as_str(), *c))) {
                continue;
            }
            let what = match present.contains_key(&name) {
                true => "its size differs from that in a commit",
                false => "missing",
            };
            found.push((object, Error::corrupt(what), costs));
        }
        for (object, error, costs) in found {
            self.find(object, &error, costs);
        }
    }

    /// Drops findings about objects that a live writer has pruned in the meantime: they are gone,
    /// and nothing retained now needs them.
    async fn forget_pruned(&mut self, location: &OpenLocation, listed: &[u64]) -> Result<()> {
        if self.findings.is_empty() || slot::list(location).await? == listed {
            return Ok(());
        }
        let retained = History::load(location).await?.retained();
        let retained: HashSet<_> = retained.into_iter().collect();
        for finding in &mut self.findings {
            finding.costs.retain(|sequence| retained.contains(sequence));
        }
        let records = slot::list(location).await?.into_iter();
        let objects = list_objects(location).await?.into_iter();
        let present: HashSet<_> = records
            .map(|sequence| record_name(location, sequence))
            .chain(objects.map(|(name, _)| object_name(name)))
            .collect();
        self.findings
            .retain(|finding| !finding.costs.is_empty() || present.contains(&finding.object));
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
}

/// Returns the checkpoints that are known to be lost because of an object, each with its name.
fn known_costs(finding: &Finding) -> impl Iterator<Item = (&str, u64)> {
    let costs = finding.costs.iter().copied();
    costs.map(|sequence| (finding.object.as_str(), sequence))
}

fn record_name(location: &OpenLocation, sequence: u64) -> String {
    let path = paths::record(location.prefix(), sequence);
    format!("log/{}", path.filename().unwrap_or_default())
}

fn object_name(name: ObjectName) -> String {
    format!("data/{}-{}", name.epoch, name.counter)
}
