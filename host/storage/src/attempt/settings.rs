//! What an attempt is told when it begins.

use std::num::NonZeroUsize;

use crate::format::MAX_RETAINED;
use crate::limits::Limits;
use crate::location::OpenLocation;

/// How many checkpoints are kept unless told otherwise: the newest, one to fall back to, and one
/// more for the case that both were saved by a task that was already failing.
const DEFAULT_KEEP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// What an attempt is told when it begins.
#[derive(Clone, Debug)]
pub struct AttemptSettings {
    pub(crate) number: u32,
    pub(crate) component: Option<[u8; 32]>,
    pub(crate) previous: Option<OpenLocation>,
    pub(crate) keep: NonZeroUsize,
    pub(crate) limits: Limits,
}

impl Default for AttemptSettings {
    fn default() -> Self {
        Self {
            number: 0,
            component: None,
            previous: None,
            keep: DEFAULT_KEEP,
            limits: Limits::default(),
        }
    }
}

impl AttemptSettings {
    /// The number of the attempt, counted from 0. It is written into claims and commits for people;
    /// nothing relies on it. Default 0.
    #[must_use]
    pub fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// The BLAKE3 digest of the component that runs, which is written into the claim. Default none.
    #[must_use]
    pub fn component(mut self, digest: [u8; 32]) -> Self {
        self.component = Some(digest);
        self
    }

    /// An earlier attempt's location, where that is another one. It is written into the claim, so
    /// that later attempts look through this one even if it dies before its first save. Default none.
    #[must_use]
    pub fn previous(mut self, previous: OpenLocation) -> Self {
        self.previous = Some(previous);
        self
    }

    /// How many checkpoints are kept, at most 10,000. Older ones are deleted after a save. Default 3.
    #[must_use]
    pub fn keep(mut self, keep: NonZeroUsize) -> Self {
        self.keep = keep.min(MAX_RETAINED);
        self
    }

    /// What the task may store. See [`Limits`] for the defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
