//! Tests of the whole crate, against storage that fails, loses answers and delivers late.

mod cancel;
mod damage;
mod damaged_locations;
mod descriptions;
mod faults;
mod faulty_store;
#[expect(unreachable_pub, reason = "the fuzz targets include this file")]
mod forge;
mod forged;
mod golden;
mod growth;
mod hooked;
mod leases;
mod memory_tree;
mod model;
pub(crate) mod noise;
mod opening;
mod peak;
mod peak_memory;
mod properties;
mod protocol;
mod pruning;
mod quota;
mod regressions;
mod restoring;
mod simulation;
mod trees;
mod verification;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;

use self::faulty_store::FaultyStore;
use self::noise::noise;
use crate::location::OpenLocation;
use crate::tree::dir::DirTree;
use crate::{Attempt, AttemptSettings, Examine, OnDamage, Result};

/// An empty location in memory.
fn memory() -> (Arc<InMemory>, OpenLocation) {
    let store = Arc::new(InMemory::new());
    let location = at(store.clone());
    (store, location)
}

/// An empty location in a store whose operations can be made to fail.
fn faulty() -> (Arc<FaultyStore>, OpenLocation) {
    let store = FaultyStore::new(Arc::new(InMemory::new()));
    let location = at(store.clone());
    (store, location)
}

/// The location that every test uses, in this store.
fn at(store: Arc<dyn ObjectStore>) -> OpenLocation {
    OpenLocation::new(store, ObjectPath::from("task"), "test:///task").with_ordered_lists()
}

async fn begin(location: &OpenLocation) -> Attempt {
    Attempt::begin(location.clone(), AttemptSettings::default())
        .await
        .unwrap()
}

async fn begin_keeping(location: &OpenLocation, n: usize) -> Attempt {
    Attempt::begin(location.clone(), keep(n)).await.unwrap()
}

/// Prunes the location that an attempt has claimed, as an operator does.
async fn prune(attempt: &Attempt, keep: usize) -> Result<Option<u64>> {
    let keep = NonZeroUsize::new(keep).unwrap();
    let plan = attempt
        .location()
        .plan_prune(keep, Examine::Newest, OnDamage::Refuse);
    attempt.prune(&plan.await?).await
}

fn keep(n: usize) -> AttemptSettings {
    AttemptSettings::default().keep(NonZeroUsize::new(n).unwrap())
}

async fn text(attempt: &Attempt) -> Option<String> {
    let contents = attempt.read().await.unwrap();
    contents.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// The sequence numbers of the checkpoints that a reader finds, newest first.
async fn checkpoints(location: &OpenLocation) -> Vec<u64> {
    let found = location.checkpoints().await.unwrap();
    found.iter().map(|c| c.info().sequence).collect()
}

/// Contents that are too large to lie in a commit and do not compress.
fn large(seed: u8) -> Bytes {
    noise(seed.into(), (2 << 20) + 100).into()
}

/// A file or directory on disk.
fn dir_tree(path: &Path) -> DirTree<Dir> {
    DirTree::ambient(path).unwrap()
}

/// A target in a directory that a task was given. Unlike an operator's, it believes the mark of an interrupted
/// restore.
fn task_target(path: &Path) -> DirTree<Dir> {
    let parent = Dir::open_ambient_dir(path.parent().unwrap(), ambient_authority());
    DirTree::new(parent.unwrap(), path.file_name().unwrap().to_str().unwrap()).unwrap()
}
