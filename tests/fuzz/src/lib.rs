//! Shared code of the fuzz targets: records forged from `FORMAT.md`, the disk that they are restored to, and
//! a model of what a guest may expect.
//!
//! The tested code contains no `unsafe`, so no sanitizer is needed. The targets look for panics, overflows,
//! wrong answers, and unbounded time or memory.

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

/// Runs one input. Each input has its own runtime, so that no background work carries over to the next.
pub fn run(input: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("the runtime must build").block_on(input);
}

/// A location in memory, and its store.
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
    /// Puts any bytes as a record.
    pub async fn put_record(&self, sequence: u64, bytes: Vec<u8>) {
        self.put(format!("log/{sequence:020}"), bytes).await;
    }

    /// Puts any bytes as a data object.
    pub async fn put_data(&self, epoch: u64, counter: u64, bytes: Vec<u8>) {
        self.put(format!("data/{epoch}-{counter}"), bytes).await;
    }

    /// Whether a slot of the log is filled.
    pub async fn has_record(&self, sequence: u64) -> bool {
        let path = Path::from(format!("task/log/{sequence:020}"));
        self.store.head(&path).await.is_ok()
    }

    async fn put(&self, name: String, bytes: Vec<u8>) {
        let path = Path::from(format!("task/{name}"));
        let put = self.store.put(&path, PutPayload::from(bytes)).await;
        put.expect("a put to memory must succeed");
    }
}
