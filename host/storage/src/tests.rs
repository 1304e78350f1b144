//! The protocol of the log against a store that fails, forgets answers and delivers late.

mod damage;
mod faults;
mod faulty_store;
mod fixtures;
mod found;
mod golden;
mod growth;
mod hostile;
mod leases;
mod model;
mod properties;
mod protocol;
mod simulation;
mod trees;

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::location::OpenLocation;
use crate::{Attempt, AttemptSettings};

fn memory() -> (Arc<InMemory>, OpenLocation) {
    let store = Arc::new(InMemory::new());
    let location = at(store.clone());
    (store, location)
}

fn at(store: Arc<dyn ObjectStore>) -> OpenLocation {
    OpenLocation::new(store, Path::from("task"), "test:///task")
}

async fn begin(location: &OpenLocation) -> Attempt {
    Attempt::begin(location.clone(), AttemptSettings::default())
        .await
        .unwrap()
}

fn keep(n: usize) -> AttemptSettings {
    AttemptSettings::default().keep(NonZeroUsize::new(n).unwrap())
}

async fn text(attempt: &Attempt) -> Option<String> {
    let contents = attempt.read().await.unwrap();
    contents.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// Contents too large for a commit, which nothing compresses.
fn large(seed: u8) -> Bytes {
    noise(seed.into(), (2 << 20) + 100).into()
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let mut noise = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    noise.fill(&mut bytes);
    bytes
}
