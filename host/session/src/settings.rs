//! The settings of a session.

use std::fmt;

use checkpoint_storage::Error;

use crate::advice::SaveAdvice;

/// The settings of a session. The default suits most hosts.
#[derive(Default)]
pub struct SessionSettings {
    pub(crate) advice: SaveAdvice,
    pub(crate) on_failure: Option<Box<OnFailure>>,
}

pub(crate) type OnFailure = dyn Fn(&Error) + Send + Sync;

impl SessionSettings {
    /// Sets when the guest is advised to save. See [`SaveAdvice`] for the default.
    #[must_use]
    pub fn save_advice(mut self, advice: SaveAdvice) -> Self {
        self.advice = advice;
        self
    }

    /// Sets a function that receives the full error of each failed guest call before the guest sees its
    /// reduced form, for a log that the guest cannot read. Default: none.
    #[must_use]
    pub fn on_failure(mut self, log: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(log));
        self
    }
}

impl fmt::Debug for SessionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSettings")
            .field("advice", &self.advice)
            .finish_non_exhaustive()
    }
}
