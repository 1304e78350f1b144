//! Space that the background saves of one attempt share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checkpoint_storage::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// A number of bytes that all shares of it may take together.
#[derive(Debug)]
pub(crate) struct Room {
    most_bytes: u64,
    /// What the bytes are, for an error message.
    what: &'static str,
    used_bytes: Mutex<u64>,
    /// Changes whenever a share is given back.
    freed: watch::Sender<()>,
}

/// The part of a [`Room`] that one save takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(crate) fn new(most_bytes: u64, what: &'static str) -> Arc<Self> {
        Arc::new(Self {
            most_bytes,
            what,
            used_bytes: Mutex::new(0),
            freed: watch::Sender::new(()),
        })
    }

    /// Returns a share of nothing, which can grow.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            room: self.clone(),
            bytes: 0,
        }
    }

    /// Returns what tells when a share is given back from now on. Call it before looking for space.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// Returns whether so many bytes fit once `replaced` has been given back.
    pub(crate) fn fits(&self, bytes: u64, replaced: Option<&Share>) -> bool {
        let replaced = replaced.map_or(0, |share| share.bytes);
        self.used().saturating_sub(replaced).saturating_add(bytes) <= self.most_bytes
    }

    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if so many bytes never fit.
    pub(crate) fn check(&self, bytes: u64) -> Result<()> {
        if bytes <= self.most_bytes {
            return Ok(());
        }
        let message = format!(
            "more than the {} {} that this host permits; save in the foreground",
            self.most_bytes, self.what
        );
        Err(Error::new(ErrorKind::QuotaExceeded, message))
    }

    // A std mutex, because it is never held across an await.
    fn used(&self) -> MutexGuard<'_, u64> {
        self.used_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more bytes. Returns false, and takes none, if other shares leave too little.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`] if they would not fit if this were the only share.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<bool> {
        self.room.check(self.bytes.saturating_add(bytes))?;
        let mut used = self.room.used();
        let grown = used.saturating_add(bytes);
        let fits = grown <= self.room.most_bytes;
        if fits {
            *used = grown;
            self.bytes += bytes;
        }
        Ok(fits)
    }

    /// Waits until [`grow`](Self::grow) would take so many bytes. Nobody else may take any meanwhile.
    pub(crate) async fn wait_for(&self, bytes: u64) {
        let mut freed = self.room.freed();
        while self.room.used().saturating_add(bytes) > self.room.most_bytes {
            // The room owns the sender, so the channel cannot be closed.
            let _ = freed.changed().await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.room.used() -= self.bytes;
        self.room.freed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn shares_grow_until_they_fill_the_room_together() {
        let room = Room::new(10, "bytes");
        let (mut one, mut two) = (room.share(), room.share());
        assert!(one.grow(7).unwrap());
        assert!(!two.grow(4).unwrap());
        assert!(two.grow(3).unwrap());
        assert!(two.wait_for(4).now_or_never().is_none());
        drop(one);
        two.wait_for(4).await;
        assert!(two.grow(7).unwrap());
        let refused = two.grow(1).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::QuotaExceeded);
    }
}
