//! Failures of calls: what the guest sees, and what the host records.

use std::time::Instant;

use checkpoint_storage::{Error, ErrorKind, Result};

use crate::error::{GuestError, Misuse};
use crate::session::{Answer, Session};

impl Session {
    /// Returns the error of the guest's last call, with all causes; `None` if it succeeded. Once the
    /// attempt is fenced, this stays `Fenced` even if later calls succeed.
    #[must_use]
    pub fn last_failure(&self) -> Option<Error> {
        self.failure().clone()
    }

    /// Records an error in a guest's call, and returns the error that the guest sees.
    pub fn tell(&self, error: Error) -> GuestError {
        let told = GuestError::from(&error);
        self.note(error);
        told
    }

    /// Records that the guest broke a rule of the import, and returns the error that the guest sees.
    pub fn misuse(&self, misuse: Misuse) -> GuestError {
        let what = misuse.to_string();
        self.note(Error::new(ErrorKind::Other, what.clone()));
        GuestError::Other(what)
    }

    fn note(&self, error: Error) {
        let reports = &self.shared.reports;
        reports.failure("a call of the task failed", &error);
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

    /// Returns the answer to a save that the guest has waited for since `began`.
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
