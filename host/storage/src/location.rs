//! Locations.
use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use crate::{CheckpointInfo, Result};

/// A URL prefix that holds the checkpoints of one task.
#[derive(Clone, Debug)]
pub struct Location {}

impl Location {
    /// The location of this URL or plain path.
    pub fn parse(url: &str) -> Result<Self> {
        todo!("{url}")
    }

    /// A location in a store of the caller's.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: impl Into<String>) -> Self {
        todo!("{store} {prefix} {}", url.into())
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        todo!()
    }

    /// The checkpoints that can be restored from this location, newest first, without claiming it.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>> {
        todo!()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}
