//! What a claimed location holds. It is read beside the task, which needs no more than the newest checkpoint to begin.

use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::blocking;
use crate::error::Result;
use crate::location::OpenLocation;
use crate::log::history::History;
use crate::log::sweep::{self, Leftovers};

/// Reads what a location holds after a claim.
pub(crate) struct Holdings {
    location: OpenLocation,
    epoch: u64,
    reading: BoxFuture<'static, Result<Held>>,
    held: Option<Held>,
}

/// What a location held right after a claim.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) history: History,
    /// What nobody needs any more.
    pub(crate) leftovers: Leftovers,
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut holdings = f.debug_struct("Holdings");
        holdings.field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Holdings {
    /// Begins to read what the location holds below the claim of this epoch.
    pub(crate) fn read(location: &OpenLocation, epoch: u64) -> Self {
        Self {
            location: location.clone(),
            epoch,
            reading: start(location, epoch),
            held: None,
        }
    }

    /// Waits until it is read. If that fails, reads it again, and so does the next call.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt has claimed the location; those of [`History::load_claimed`].
    pub(crate) async fn wait(&mut self) -> Result<&mut Held> {
        let held = match self.held.take() {
            Some(held) => held,
            None => self.finish().await?,
        };
        Ok(self.held.insert(held))
    }

    async fn finish(&mut self) -> Result<Held> {
        let read = (&mut self.reading).await;
        if read.is_ok() {
            return read;
        }
        // It may have failed long ago, when nobody waited for it.
        self.reading = start(&self.location, self.epoch);
        let read = (&mut self.reading).await;
        if read.is_err() {
            self.reading = start(&self.location, self.epoch);
        }
        read
    }
}

fn start(location: &OpenLocation, epoch: u64) -> BoxFuture<'static, Result<Held>> {
    let location = location.clone();
    blocking::start(async move {
        let mut history = History::load_claimed(&location, epoch).await?;
        let leftovers = sweep::find(&location, epoch, &mut history).await?;
        Ok(Held { history, leftovers })
    })
    .boxed()
}
