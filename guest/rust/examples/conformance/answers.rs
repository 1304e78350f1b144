//! The answers of the conformance suite.

use std::io;

use task_checkpoint::{Contents, Error, Limits, Saved};

/// Why a command failed.
pub(crate) enum Failure {
    Call(Error),
    /// Writing to a stream or reading from it failed.
    Stream,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Stream
    }
}

impl Failure {
    pub(crate) fn answer(self) -> String {
        match self {
            Self::Call(error) => format!("error {}", name(&error)),
            Self::Stream => "error stream".into(),
        }
    }
}

pub(crate) fn saved(_: Saved) -> String {
    "saved".into()
}

pub(crate) fn restored(found: bool) -> String {
    if found { "restored" } else { "none" }.into()
}

pub(crate) fn position(sequence: u64) -> String {
    format!("position {sequence}")
}

/// Returns `SIZE` bytes that do not repeat, from the arguments `SEED SIZE`.
pub(crate) fn pattern(arguments: &str) -> Vec<u8> {
    let mut numbers = arguments
        .split(' ')
        .map(|number| number.parse().unwrap_or(0));
    let (mut state, size): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut bytes = Vec::with_capacity(size as usize);
    for _ in 0..size / 4 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Returns short contents as text, and others as their size and a checksum.
pub(crate) fn described(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "empty".into(),
        1..100 => format!("text {}", String::from_utf8_lossy(bytes)),
        size => {
            let sum = bytes.chunks(4096).fold(0_u32, |sum, block| {
                let added: u32 = block.iter().copied().map(u32::from).sum();
                sum.wrapping_mul(31).wrapping_add(added)
            });
            format!("bytes {size} {sum}")
        }
    }
}

pub(crate) fn annotations(read: Option<Contents>) -> String {
    read.map_or("none".into(), |contents| {
        let mut notes = contents.checkpoint.annotations;
        notes.sort();
        let notes = notes
            .into_iter()
            .map(|(key, value)| format!(" {key}={value}"));
        format!("annotations{}", notes.collect::<String>())
    })
}

pub(crate) fn schema(read: Option<Contents>) -> String {
    read.map_or("none".into(), |contents| {
        let schema = contents.checkpoint.schema;
        schema.map_or("no-schema".into(), |name| format!("schema {name}"))
    })
}

pub(crate) fn limits(limits: Limits) -> String {
    format!(
        "limits {} {} {} {} {}",
        limits.checkpoint_bytes,
        limits.entries,
        limits.path_bytes,
        limits.annotation_bytes,
        limits.saves_per_minute
    )
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::Fenced => "fenced",
        Error::NotSingle(_) => "not-single",
        Error::Corrupt(_) => "corrupt",
        Error::Unavailable(_) => "unavailable",
        Error::QuotaExceeded(_) => "quota-exceeded",
        Error::InvalidPath(_) => "invalid-path",
        Error::ReadOnly(_) => "read-only",
        Error::SchemaMismatch(_) => "schema-mismatch",
        Error::Other(_) => "other",
    }
}
