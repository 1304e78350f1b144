//! The events about failed calls.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use checkpoint_storage::{AttemptSettings, Limits};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::{Place, noise};
use crate::reports::MAX_WARNINGS;
use crate::{GuestError, Misuse, event_line};

/// Keeps the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event_line(event));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_task_whose_calls_all_fail_does_not_fill_the_log() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let place = Place::new();
    for _attempt in 0..2 {
        let session = place.begin().await;
        for _ in 0..1000 {
            session.misuse(Misuse::OutputTaken);
        }
        let printed = warnings.take();
        assert_eq!(printed.len(), MAX_WARNINGS as usize + 1);
        let last = printed.last().unwrap();
        assert!(last.contains("further failures"), "{last}");
        assert!(session.last_failure().is_some());
    }
}

#[tokio::test]
async fn failures_of_background_saves_count_with_those_of_calls() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let mut limits = Limits::default();
    limits.stored_bytes = 10_000;
    let settings = AttemptSettings::default().limits(limits);
    let session = Place::new().begin_with(settings).await;
    let contents = Bytes::from(noise(20_000));
    for _ in 0..1000 {
        session
            .write_in_background(contents.clone(), vec![])
            .await
            .unwrap();
        let lost = session.flush().await;
        assert!(matches!(lost, Err(GuestError::QuotaExceeded(_))));
    }
    assert_eq!(warnings.take().len(), MAX_WARNINGS as usize + 1);
}
