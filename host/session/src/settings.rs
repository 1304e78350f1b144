//! The settings of a session.

use crate::advice::SaveAdvice;

/// The settings of a session. The default suits most hosts.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SessionSettings {
    pub(crate) advice: SaveAdvice,
}

impl SessionSettings {
    /// Sets when the guest is advised to save. See [`SaveAdvice`] for the default.
    #[must_use]
    pub fn save_advice(mut self, advice: SaveAdvice) -> Self {
        self.advice = advice;
        self
    }
}
