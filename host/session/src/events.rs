//! The libraries' events as text, for the hosts that print them.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Formats an event as one line: its level, its message and its fields. Escapes control characters, because the
/// names in an event may come from a storage.
pub fn event_line(event: &Event<'_>) -> String {
    let mut line = Line::default();
    event.record(&mut line);
    let level = match *event.metadata().level() {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let mut text = format!("{level}: {}", line.message);
    if !line.fields.is_empty() {
        text = format!("{text} ({})", line.fields.join(", "));
    }
    escape(&text)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => escaped.extend(c.escape_default()),
            false => escaped.push(c),
        }
    }
    escaped
}

/// An event's message and its other fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<String>,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // Writing to a String never fails.
            "message" => drop(write!(self.message, "{value:?}")),
            name => self.fields.push(format!("{name}={value:?}")),
        }
    }
}
