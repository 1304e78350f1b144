//! The settings of an attempt.

use std::num::NonZeroUsize;

use crate::format::MAX_RETAINED;
use crate::limits::Limits;
use crate::location::OpenLocation;

/// The settings of an attempt.
#[derive(Clone, Debug, Default)]
pub struct AttemptSettings {
    pub(crate) number: u32,
    pub(crate) component: Option<[u8; 32]>,
    pub(crate) previous: Option<OpenLocation>,
    pub(crate) fresh: bool,
    pub(crate) keep: Option<NonZeroUsize>,
    pub(crate) limits: Limits,
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

    /// Sets the location of an earlier attempt, if it differs from this one. It is searched if this
    /// one holds no checkpoint. It is written into the claim, so that later attempts search it even
    /// if this one dies before its first save. Default: the one in the newest claim.
    #[must_use]
    pub fn previous(mut self, previous: OpenLocation) -> Self {
        self.previous = Some(previous);
        self
    }

    /// Begins afresh: the attempt resumes from nothing, neither from what the location holds nor
    /// from a predecessor. The checkpoints in the location are deleted after the first save; until
    /// then, later attempts begin afresh too. Default: resume.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Sets how many checkpoints the location keeps, at most 10,000. Older ones are deleted after a
    /// save. The number is recorded in the location. Default: the recorded number, which is 3 in a
    /// new location.
    #[must_use]
    pub fn keep(mut self, keep: NonZeroUsize) -> Self {
        self.keep = Some(keep.min(MAX_RETAINED));
        self
    }

    /// Sets the limits on what the task may store. See [`Limits`] for the defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
