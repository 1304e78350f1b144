//! What the fuzz targets share: records forged from `FORMAT.md`, the disk that they are restored to, and
//! a model of what a guest may expect.
//!
//! There is no `unsafe` of ours for a sanitizer to watch. What is looked for is a panic, an overflow, an
//! answer that is wrong, and time or memory without end.

pub mod disk;
#[path = "../../../host/storage/src/tests/forge.rs"]
pub mod forge;
pub mod guest;
pub mod tree;

use std::future::Future;
use std::sync::Arc;

use checkpoint_storage::OpenLocation;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

/// Runs one input. A runtime of its own for each, so that nothing of one goes on in the next.
pub fn run(input: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime is made").block_on(input);
}

/// A location in memory, and the store that it lies in.
pub struct Place {
    pub store: Arc<InMemory>,
    pub location: OpenLocation,
}

impl Default for Place {
    fn default() -> Self {
        let store = Arc::new(InMemory::new());
        Self {
            location: OpenLocation::new(store.clone(), Path::from("task"), "memory:///task"),
            store,
        }
    }
}

impl Place {
    /// Puts a record, whatever it says.
    pub async fn put_record(&self, sequence: u64, bytes: Vec<u8>) {
        self.put(format!("log/{sequence:020}"), bytes).await;
    }

    /// Puts a data object, whatever it holds.
    pub async fn put_data(&self, epoch: u64, counter: u64, bytes: Vec<u8>) {
        self.put(format!("data/{epoch}-{counter}"), bytes).await;
    }

    /// Whether something lies in a slot of the log.
    pub async fn has_record(&self, sequence: u64) -> bool {
        let path = Path::from(format!("task/log/{sequence:020}"));
        self.store.head(&path).await.is_ok()
    }

    async fn put(&self, name: String, bytes: Vec<u8>) {
        let path = Path::from(format!("task/{name}"));
        let put = self.store.put(&path, PutPayload::from(bytes)).await;
        put.expect("memory takes every object");
    }
}
