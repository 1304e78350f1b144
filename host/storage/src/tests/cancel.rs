//! Dropping the future of a call cancels its work on other threads: at most one more step is taken.

mod gate;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tempfile::TempDir;

use self::gate::{Gate, Gated};
use super::hooked::Op;
use super::{begin, dir_tree, large, memory, text};
use crate::environment::Environment;
use crate::limits::Limits;
use crate::location::OpenLocation;
use crate::tree::WORKERS;
use crate::tree::dir::DirTree;
use crate::tree::target::{Existing, TargetState};
use crate::tree::walk::TreeTarget;
use crate::{Attempt, ErrorKind};

/// How many files the trees have: many more than one step reads or writes.
const FILES: usize = 300;

/// At which operation a call is dropped.
const NTH: usize = 10;

/// How many operations begin if a call that has several threads is dropped then.
const ONE_MORE_A_THREAD: std::ops::Range<usize> = NTH..NTH + WORKERS;

/// A saved directory of empty files with one larger file, an attempt that has not restored it, and a directory
/// for targets.
struct Saved {
    temp: TempDir,
    location: OpenLocation,
    attempt: Attempt,
}

impl Saved {
    async fn new() -> Self {
        let (_, location) = memory();
        let temp = tempfile::tempdir().unwrap();
        fill(&temp.path().join("from"));
        let first = begin(&location).await;
        let from = dir_tree(&temp.path().join("from"));
        first.save(from).await.unwrap();
        let attempt = begin(&location).await;
        Self {
            temp,
            location,
            attempt,
        }
    }

    fn to(&self) -> std::path::PathBuf {
        self.temp.path().join("to")
    }

    /// The target, whose operations of this kind must pass the gate.
    fn gated(&self, op: Op) -> (Arc<Gate>, DirTree<Gated>) {
        let gate = Gate::before(op, NTH);
        let target = DirTree::new(gate.open(self.temp.path()), "to").unwrap();
        (gate, target)
    }

    /// Restores, and drops the call at an operation of this kind. Returns how many it began.
    async fn restore_and_drop(&self, op: Op) -> usize {
        let (gate, target) = self.gated(op);
        let restoring = self.attempt.restore(target, Existing::Replace);
        gate.drop_at_gate(restoring).await;
        self.attempt.quiesce().await;
        gate.begun()
    }

    fn state(&self) -> TargetState {
        super::task_target(&self.to()).state().unwrap()
    }
}

fn fill(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for n in 0..FILES {
        fs::write(dir.join(format!("{n:03}")), "").unwrap();
    }
    fs::write(dir.join("large"), large(1)).unwrap();
}

#[tokio::test]
async fn a_restore_that_is_dropped_creates_at_most_one_more_file_a_thread_and_leaves_its_marker() {
    let saved = Saved::new().await;
    // The marker is one of the files.
    let created = saved.restore_and_drop(Op::Create).await;
    assert!(ONE_MORE_A_THREAD.contains(&created), "{created}");
    assert_eq!(fs::read_dir(saved.to()).unwrap().count(), created);
    assert_eq!(saved.state(), TargetState::Interrupted);
    // The next restore recognises it.
    let target = super::task_target(&saved.to());
    let restored = saved.attempt.restore(target, Existing::Refuse).await;
    assert_eq!(restored.unwrap(), Some(2));
    assert_eq!(fs::read_dir(saved.to()).unwrap().count(), FILES + 1);
}

#[tokio::test]
async fn a_restore_that_is_dropped_removes_at_most_one_more_file() {
    for becomes in ["directory", "file"] {
        let saved = Saved::new().await;
        if becomes == "file" {
            saved.attempt.write("a file".into()).await.unwrap();
        }
        fill(&saved.to());
        fs::write(saved.to().join("other"), "").unwrap();
        let all = fs::read_dir(saved.to()).unwrap().count();
        assert_eq!(saved.restore_and_drop(Op::Remove).await, NTH, "{becomes}");
        let left = fs::read_dir(saved.to()).unwrap().count();
        assert_eq!(left, all + 1 - NTH, "{becomes}: it has a marker");
        assert_eq!(saved.state(), TargetState::Interrupted, "{becomes}");
    }
}

#[tokio::test]
async fn a_restore_that_is_dropped_makes_at_most_one_more_file_a_thread_durable() {
    let saved = Saved::new().await;
    let synced = saved.restore_and_drop(Op::SyncFile).await;
    assert!(ONE_MORE_A_THREAD.contains(&synced), "{synced}");
    assert_eq!(saved.state(), TargetState::Interrupted);
}

#[tokio::test]
async fn a_comparison_that_is_dropped_reads_at_most_one_more_piece() {
    let saved = Saved::new().await;
    fill(&saved.to());
    assert_eq!(saved.restore_and_drop(Op::Read).await, NTH);
    assert_eq!(saved.state(), TargetState::Dir, "it is unchanged");
}

#[tokio::test]
async fn a_restore_of_a_checkpoint_without_an_attempt_is_cancelled_too() {
    let saved = Saved::new().await;
    let checkpoint = saved.location.checkpoints().await.unwrap().remove(0);
    let (gate, target) = saved.gated(Op::Create);
    let limits = Limits::default();
    gate.drop_at_gate(checkpoint.restore(target, Existing::Refuse, &limits))
        .await;
    gate.closed().await;
    assert!(ONE_MORE_A_THREAD.contains(&gate.begun()));
}

#[tokio::test]
async fn a_save_that_is_dropped_reads_at_most_one_more_piece() {
    for op in [Op::Read, Op::OpenFile, Op::List] {
        let saved = Saved::new().await;
        fill(&saved.to());
        let (gate, source) = saved.gated(op);
        gate.drop_at_gate(saved.attempt.save(source).into_future())
            .await;
        saved.attempt.quiesce().await;
        assert_eq!(gate.begun(), NTH, "{op:?}");
        assert_eq!(saved.attempt.totals().saves, 0);
    }
}

#[tokio::test]
async fn a_target_with_a_larger_file_differs_without_being_read() {
    let saved = Saved::new().await;
    fs::create_dir(saved.to()).unwrap();
    let huge = fs::File::create(saved.to().join("000")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let (gate, target) = saved.gated(Op::Read);
    gate.open_for_good();
    let refused = saved.attempt.restore(target, Existing::Refuse).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidPath);
    assert_eq!(gate.begun(), 0);
}

#[tokio::test]
async fn a_sparse_file_over_the_limit_is_refused_without_being_read() {
    let saved = Saved::new().await;
    fs::create_dir(saved.to()).unwrap();
    let huge = fs::File::create(saved.to().join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let (gate, source) = saved.gated(Op::Read);
    gate.open_for_good();
    let refused = saved.attempt.save(source).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(gate.begun(), 0);
}

#[tokio::test]
async fn an_admission_counts_once_and_is_given_back_if_it_is_not_used() {
    let (_, location) = memory();
    let limits = Limits {
        saves_per_minute: 2,
        ..Limits::default()
    };
    let settings = crate::AttemptSettings::default().limits(limits);
    let attempt = Attempt::begin(location, settings).await.unwrap();
    let metadata = crate::Metadata::default();
    for _ in 0..10 {
        drop(attempt.admit(&metadata).unwrap());
    }
    for contents in ["one", "two"] {
        let admission = attempt.admit(&metadata).unwrap();
        let save = attempt.write(contents.into()).admitted(admission);
        save.await.unwrap();
    }
    let refused = attempt.admit(&metadata).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    let refused = attempt.write("three".into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(text(&attempt).await.as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn the_uploads_of_a_stream_that_is_dropped_are_aborted() {
    let hour = std::time::Duration::from_secs(3600);
    let memory = Arc::new(InMemory::new());
    let store = Arc::new(ThrottledStore::new(
        memory.clone(),
        ThrottleConfig::default(),
    ));
    let location = super::at(store.clone()).with_environment(Environment::simulated());
    let attempt = Arc::new(begin(&location).await);
    store.config_mut(|config| config.wait_put_per_call = hour);
    let metadata = crate::Metadata::default();
    let mut stream = attempt.write_stream(metadata).await.unwrap();
    // The storage takes no more once several objects wait for its answer.
    let written = async {
        loop {
            stream.write(large(1)).await.unwrap();
        }
    };
    let waits = tokio::time::timeout(hour / 2, written).await;
    assert!(waits.is_err());
    drop(stream);
    tokio::time::sleep(10 * hour).await;
    let data = ObjectPath::from("task/data");
    assert_eq!(memory.list(Some(&data)).count().await, 0);
}
