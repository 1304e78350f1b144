//! The settings of an attempt.

use std::num::NonZeroUsize;

use crate::format::MAX_RETAINED;
use crate::limits::Limits;
use crate::location::OpenLocation;

/// The default number of checkpoints to keep: the newest, one to fall back to, and one more in case
/// a failing task saved both.
const DEFAULT_KEEP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// The settings of an attempt.
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
    /// Sets the number of the attempt, counted from 0. It is written into claims and commits for
    /// people; nothing relies on it. Default 0.
    #[must_use]
    pub fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    /// Sets the BLAKE3 digest of the component that runs, which is written into the claim. Default
    /// none.
    #[must_use]
    pub fn component(mut self, digest: [u8; 32]) -> Self {
        self.component = Some(digest);
        self
    }

    /// Sets the location of an earlier attempt, if it differs from this one. It is written into the
    /// claim, so that later attempts search it even if this one dies before its first save. Default
    /// none.
    #[must_use]
    pub fn previous(mut self, previous: OpenLocation) -> Self {
        self.previous = Some(previous);
        self
    }

    /// Sets how many checkpoints to keep, at most 10,000. Older ones are deleted after a save.
    /// Default 3.
    #[must_use]
    pub fn keep(mut self, keep: NonZeroUsize) -> Self {
        self.keep = keep.min(MAX_RETAINED);
        self
    }

    /// Sets the limits on what the task may store. See [`Limits`] for the defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
