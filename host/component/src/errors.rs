//! From the storage's kinds of errors to the task's cases, as the other hosts make them.

use std::io::Write;

use checkpoint_storage::{Error, ErrorKind};

use crate::bindings::exports::task::checkpoint::checkpointer::Error as Told;

/// What the task is told. Texts about its own paths are passed on; others could name the location, so
/// they go to stderr, which the task cannot read.
pub(crate) fn told(error: Error) -> Told {
    let own = error.to_string();
    let told = match error.kind() {
        ErrorKind::Fenced => Told::Fenced,
        ErrorKind::NotSingle(files) => Told::NotSingle(files),
        ErrorKind::Corrupt => Told::Corrupt("no checkpoint can be restored".into()),
        ErrorKind::Unavailable => {
            Told::Unavailable("the storage does not answer as it should".into())
        }
        ErrorKind::QuotaExceeded => Told::QuotaExceeded(own),
        ErrorKind::InvalidPath => Told::InvalidPath(own),
        ErrorKind::ReadOnly => Told::ReadOnly("this may not be written".into()),
        ErrorKind::SchemaMismatch => Told::SchemaMismatch(own),
        _ => Told::Other("the host failed; its own messages say why".into()),
    };
    // `eprintln!` would end the task where nobody reads it.
    let _ = writeln!(std::io::stderr(), "checkpoint: {}", with_causes(&error));
    told
}

/// An error and its causes, in one line. What a cause repeats is said once.
fn with_causes(error: &Error) -> String {
    let mut line = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}
