//! Code that the fuzz targets share: records forged according to `FORMAT.md`, the disk that they are restored
//! to, and a model of what a guest may expect.
//!
//! The targets look for panics, overflows, wrong results and unbounded time or memory. They use no
//! sanitizer, because our code has no `unsafe`.

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

/// Runs one input in a new runtime, so that no task of one input runs during the next.
pub fn run(input: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("the runtime must build").block_on(input);
}

/// Returns the name of the record in a slot, as `FORMAT.md` says.
pub fn record_name(sequence: u64) -> String {
    format!("{:020}", (1 << 63) - sequence)
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
            location: OpenLocation::new(store.clone(), Path::from("task"), "memory:///task")
                .with_ordered_lists(),
            store,
        }
    }
}

impl Place {
    /// Stores a record without checking it.
    pub async fn put_record(&self, sequence: u64, bytes: Vec<u8>) {
        let name = format!("log/{}", record_name(sequence));
        self.put(name, bytes).await;
    }

    /// Stores a data object without checking it.
    pub async fn put_data(&self, epoch: u64, counter: u64, bytes: Vec<u8>) {
        self.put(format!("data/{epoch}-{counter}"), bytes).await;
    }

    /// Returns whether a slot of the log is in use.
    pub async fn has_record(&self, sequence: u64) -> bool {
        let path = Path::from(format!("task/log/{}", record_name(sequence)));
        self.store.head(&path).await.is_ok()
    }

    async fn put(&self, name: String, bytes: Vec<u8>) {
        let path = Path::from(format!("task/{name}"));
        let put = self.store.put(&path, PutPayload::from(bytes)).await;
        put.expect("a store in memory accepts every object");
    }
}
