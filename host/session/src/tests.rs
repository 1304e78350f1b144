//! Sessions over a store in memory.

mod background;
mod calls;
mod cancel;
mod copies;
mod end;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, OpenLocation};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

use crate::{Session, SessionSettings};

type SlowStore = ThrottledStore<Arc<InMemory>>;

/// A location whose store can be slowed down.
struct Place {
    store: Arc<SlowStore>,
    location: OpenLocation,
}

impl Place {
    fn new() -> Self {
        let memory = Arc::new(InMemory::new());
        let store = Arc::new(ThrottledStore::new(memory, ThrottleConfig::default()));
        let dynamic: Arc<dyn ObjectStore> = store.clone();
        let location = OpenLocation::new(dynamic, Path::from("task"), "test:///task");
        Self { store, location }
    }

    async fn begin(&self) -> Session {
        self.begin_with(AttemptSettings::default()).await
    }

    async fn begin_with(&self, settings: AttemptSettings) -> Session {
        let attempt = Attempt::begin(self.location.clone(), settings).await;
        Session::new(Arc::new(attempt.unwrap()), SessionSettings::default())
    }

    /// Makes each put take this long from now on, by the runtime's clock.
    fn slow_puts(&self, time: Duration) {
        let slow = |config: &mut ThrottleConfig| config.wait_put_per_call = time;
        self.store.config_mut(slow);
    }

    /// Returns the contents that the next attempt reads.
    async fn found(&self) -> Option<String> {
        text(&self.begin().await).await
    }
}

async fn text(session: &Session) -> Option<String> {
    let contents = session.read().await.unwrap();
    contents.map(|bytes| String::from_utf8(bytes.bytes.to_vec()).unwrap())
}

/// Returns incompressible contents.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        // xorshift32
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let noise = std::iter::repeat_with(next).flatten();
    noise.take(size).collect()
}
