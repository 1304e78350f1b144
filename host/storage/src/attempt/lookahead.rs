//! Reading ahead of an attempt.

use crate::error::Result;
use crate::location::OpenLocation;
use crate::log::claim::End;
#[cfg(doc)]
use crate::{Attempt, ErrorKind};

/// What an attempt reads before it claims a location, read ahead of [`Attempt::begin_after`]: for example while the task
/// is compiled. It claims nothing.
///
/// It may be out of date when the attempt begins. Then the attempt notices, and reads again.
#[derive(Debug)]
pub struct Lookahead {
    pub(super) location: OpenLocation,
    pub(super) end: End,
}

impl Lookahead {
    /// Reads the end of a location's log.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the storage cannot be reached; [`ErrorKind::Other`] if the newest record needs
    /// another version of this program. [`Attempt::begin`] would fail in the same way.
    pub async fn read(location: OpenLocation) -> Result<Self> {
        let end = End::read(&location).await?;
        Ok(Self { location, end })
    }
}
