//! Prints the libraries' warnings and errors on stderr, which the task cannot read.

use std::io::Write;

use checkpoint_session::event_line;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Starts to print events.
pub(crate) fn start() {
    // Fails if it was started before: a begin that failed is retried.
    let _ = tracing::subscriber::set_global_default(Stderr);
}

struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= Level::WARN
            && metadata.target().starts_with("checkpoint_")
    }

    fn event(&self, event: &Event<'_>) {
        // `eprintln!` would panic if stderr is closed.
        let _ = writeln!(std::io::stderr(), "checkpoint: {}", event_line(event));
    }

    // No span is enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
