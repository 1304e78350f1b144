//! A location holds exactly the checkpoints that it should retain, after any history.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use proptest::prelude::*;

use super::{Recipe, block_on, config, recipes};
use crate::Attempt;
use crate::error::ErrorKind;
use crate::format::Record;
use crate::location::OpenLocation;
use crate::log::slot;
use crate::tests::{begin_keeping, dir_tree, memory, prune};
use crate::tree::target::Existing;

/// A step in the history of a location.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Recipe),
    /// Saves a directory that holds these files.
    Save(BTreeMap<String, Recipe>),
    /// Begins a new attempt, which keeps this many checkpoints.
    Restart(usize),
    Prune,
    /// Restores over the result of the last restore.
    Restore,
}

pub(super) fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let files = prop::collection::btree_map("[a-c]", recipes(), 0..3);
    let step = prop_oneof![
        4 => recipes().prop_map(Step::Write),
        2 => files.prop_map(Step::Save),
        2 => (1..4usize).prop_map(Step::Restart),
        1 => Just(Step::Prune),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..max)
}

/// The contents of a checkpoint: one unnamed file, or a directory of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Single(Bytes),
    Dir(BTreeMap<String, Bytes>),
}

/// A location, and a model of what it should hold.
pub(super) struct World {
    pub(super) location: OpenLocation,
    pub(super) store: Arc<InMemory>,
    attempt: Attempt,
    keep: usize,
    /// The checkpoints that can be restored, oldest first.
    pub(super) model: Vec<Content>,
    /// Everything that was ever committed.
    pub(super) ever: Vec<Content>,
    pub(super) temp: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let (store, location) = memory();
        let attempt = begin_keeping(&location, 3).await;
        Self {
            location,
            store,
            attempt,
            keep: 3,
            model: Vec::new(),
            ever: Vec::new(),
            temp: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) async fn take(&mut self, step: &Step) {
        match step {
            Step::Write(recipe) => {
                let contents = Bytes::from(recipe.make());
                self.attempt.write(contents.clone()).await.unwrap();
                self.committed(Content::Single(contents));
            }
            Step::Save(files) => {
                let dir = self.temp.path().join("source");
                fs::create_dir(&dir).unwrap();
                let mut saved = BTreeMap::new();
                for (name, recipe) in files {
                    let contents = recipe.make();
                    fs::write(dir.join(name), &contents).unwrap();
                    saved.insert(name.clone(), contents.into());
                }
                self.attempt.save(dir_tree(&dir)).await.unwrap();
                fs::remove_dir_all(&dir).unwrap();
                self.committed(Content::Dir(saved));
            }
            Step::Restart(n) => {
                self.attempt = begin_keeping(&self.location, *n).await;
                self.keep = *n;
            }
            Step::Prune => {
                let pruned = prune(&self.attempt, self.keep).await.unwrap();
                assert_eq!(pruned.is_some(), !self.model.is_empty());
                self.retire();
            }
            Step::Restore => {
                let target = self.temp.path().join("target");
                let restored = self.attempt.restore(dir_tree(&target), Existing::Replace);
                let restored = restored.await.unwrap();
                assert_eq!(restored.is_some(), !self.model.is_empty());
                if let Some(content) = self.model.last() {
                    assert!(
                        &on_disk(&target) == content,
                        "a different checkpoint was restored"
                    );
                }
            }
        }
        self.attempt.settle().await;
    }

    fn committed(&mut self, content: Content) {
        self.model.push(content.clone());
        self.ever.push(content);
        self.retire();
    }

    fn retire(&mut self) {
        let dead = self.model.len().saturating_sub(self.keep);
        self.model.drain(..dead);
    }

    /// Asserts that the location holds exactly what the model says.
    async fn check(&self) {
        let attempt = &self.attempt;
        assert_eq!(attempt.prev_exists().await.unwrap(), !self.model.is_empty());
        match (attempt.read().await, self.model.last()) {
            (Ok(None), None) => {}
            (Ok(Some(read)), Some(Content::Single(contents))) => assert!(read == contents),
            (Ok(Some(read)), Some(Content::Dir(files))) => {
                assert!(files.len() == 1 && files.values().all(|contents| *contents == read));
            }
            (Err(error), Some(Content::Dir(files))) => {
                assert_eq!(error.kind(), ErrorKind::NotSingle(files.len() as u64));
            }
            (read, _) => panic!("{:?}", read.map(drop)),
        }
        let listed = self.location.checkpoints().await.unwrap();
        let sizes: Vec<_> = listed.iter().map(|c| c.info().logical_bytes).collect();
        let expected: Vec<_> = self.model.iter().rev().map(size_of).collect();
        assert_eq!(sizes, expected, "the retained checkpoints, newest first");
        // A commit that is no longer retained stays in the log only if it is the last record before a claim,
        // or if it was retained longer than that record, because a later attempt cannot tell the two apart.
        let mut before_claim = false;
        for sequence in slot::list(&self.location).await.unwrap().into_iter().rev() {
            let record = slot::read(&self.location, sequence).await.unwrap();
            let retained = listed.iter().any(|c| c.sequence == sequence);
            match record {
                Some(Record::Claim(_)) => before_claim = true,
                _ if retained => before_claim = false,
                _ => assert!(before_claim, "record {sequence} was not deleted"),
            }
        }
        let report = self.location.verify().await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.checkpoints.len(), self.model.len());
    }
}

fn size_of(content: &Content) -> u64 {
    match content {
        Content::Single(contents) => contents.len() as u64,
        Content::Dir(files) => files.values().map(|contents| contents.len() as u64).sum(),
    }
}

pub(super) fn on_disk(at: &Path) -> Content {
    if at.is_file() {
        return Content::Single(fs::read(at).unwrap().into());
    }
    let entries = fs::read_dir(at).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap().into())
    });
    Content::Dir(entries.collect())
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn a_location_always_holds_exactly_the_retained_checkpoints(steps in steps(12)) {
        block_on(async {
            let mut world = World::new().await;
            world.check().await;
            for step in &steps {
                world.take(step).await;
                world.check().await;
            }
        });
    }
}
