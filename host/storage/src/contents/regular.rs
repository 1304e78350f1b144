//! What lies in a location on this machine may be no regular file: opening a pipe waits for its other end, and a
//! device has no end.

use object_store::path::Path;

use crate::blocking;
use crate::error::{Error, Result};
use crate::location::OpenLocation;

/// To be asked before an object is read. Nothing at its path is no error here, because the read says so.
///
/// # Errors
/// `Corrupt` if the path names something else than a regular file.
pub(crate) async fn check(location: &OpenLocation, path: &Path) -> Result<()> {
    let within = path.prefix_match(location.prefix());
    let (Some(dir), Some(within)) = (location.local_dir(), within) else {
        return Ok(());
    };
    let mut file = dir.to_owned();
    file.extend(within.map(|part| part.as_ref().to_owned()));
    // Links are followed, as the read does.
    let metadata = blocking::run(location.threads(), move || file.metadata()).await?;
    match metadata {
        Ok(metadata) if !metadata.is_file() => {
            // Without the location, because a task is told of damage.
            let name = path.filename().unwrap_or_default();
            Err(Error::corrupt(format!("{name} is not a regular file")))
        }
        // Whatever else the matter is, the read meets it too.
        Ok(_) | Err(_) => Ok(()),
    }
}
