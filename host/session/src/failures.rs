//! What became of each call: what the guest learns, and what the host notes.

use std::time::Instant;

use checkpoint_storage::{Error, ErrorKind, Result};

use crate::error::{GuestError, Misuse};
use crate::session::{Answer, Session};

impl Session {
    /// Why the guest's last call failed, with all causes; `None` if it succeeded. Once the attempt is
    /// fenced this stays `Fenced`, whatever succeeds later.
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.failure().clone()
    }

    /// Notes a failure of the host's own in a call of the guest's, and returns what the guest learns.
    pub fn tell(&self, error: Error) -> GuestError {
        let told = GuestError::from(&error);
        self.note(error);
        told
    }

    /// Notes that the guest broke a rule of the import, and returns the error that says so.
    pub fn misuse(&self, misuse: Misuse) -> GuestError {
        let what = misuse.to_string();
        self.note(Error::new(ErrorKind::Other, what.clone()));
        GuestError::Other(what)
    }

    fn note(&self, error: Error) {
        if let Some(on_failure) = &self.shared.on_failure {
            on_failure(&error);
        }
        let mut failure = self.failure();
        if !is_fenced(&failure) {
            *failure = Some(error);
        }
    }

    pub(crate) fn answer<T>(&self, answer: Result<T>) -> Answer<T> {
        match answer {
            Ok(value) => {
                let mut failure = self.failure();
                if !is_fenced(&failure) {
                    *failure = None;
                }
                Ok(value)
            }
            Err(error) => Err(self.tell(error)),
        }
    }

    /// The answer to a save, for which the guest has waited since `began`.
    pub(crate) fn saved<T>(&self, began: Instant, answer: Result<T>) -> Answer<T> {
        let now = self.now();
        match answer {
            Ok(_) => self.advisor().note_save(began, now),
            Err(_) => self.advisor().note_wait(began, now),
        }
        self.answer(answer)
    }
}

fn is_fenced(failure: &Option<Error>) -> bool {
    let kind = failure.as_ref().map(Error::kind);
    kind == Some(ErrorKind::Fenced)
}
