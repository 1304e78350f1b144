//! Whether a name is that of a location at all.

use futures::TryStreamExt;

use crate::blocking;
use crate::error::Result;
use crate::location::OpenLocation;
use crate::paths;

impl OpenLocation {
    /// Whether anything lies in its log or among its data. A location that no attempt has ever claimed holds
    /// nothing, so this tells a name that was mistyped from a location without checkpoints.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the storage cannot be asked.
    pub async fn exists(&self) -> Result<bool> {
        if let Some(dir) = self.local_dir() {
            // Whatever lies there: an object store does not list what is no object.
            let folders = ["log", "data"].map(|folder| dir.join(folder));
            return blocking::run(self.threads(), move || {
                let mut entries = folders.iter().flat_map(std::fs::read_dir).flatten();
                entries.next().is_some()
            })
            .await;
        }
        for folder in [paths::log(self.prefix()), paths::data(self.prefix())] {
            let mut listed = self.store().list(Some(&folder));
            let first = listed.try_next().await;
            let unlisted = |e| self.error("the location cannot be listed", e);
            if first.map_err(unlisted)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
