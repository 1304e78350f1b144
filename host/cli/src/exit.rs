//! The exit codes. A task's own code passes through, so the host's failures lie where programs and
//! shells have few.

use std::fmt;
use std::process::ExitCode;

use checkpoint_storage::ErrorKind;

/// The table, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    the task succeeded
  1    the task failed without a code of its own, or this program did
  2    wrong usage
  121  the file cannot be read, or is no component that can be run
  122  the component imports something that this host does not have
  123  the location, or what the environment says about it, is wrong
  124  the last attempt ran out of time
  125  the storage cannot be reached or may not be written
  126  every checkpoint is damaged
  127  a newer attempt, elsewhere, has claimed the location
  130  SIGINT came: the task was told to stop, or was ended after the grace period
  134  the last attempt trapped
  143  SIGTERM came, likewise; the same command again goes on
Whatever a task returns once it was told to stop, it counts as stopped. Any other code is the task's own, of
its last attempt. Rust's standard library for wasm32-wasip2 reports each of its codes but 0 as 1.";

/// A failure that has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Usage = 2,
    NotComponent = 121,
    UnknownImport = 122,
    WrongLocation = 123,
    Timeout = 124,
    Unavailable = 125,
    Corrupt = 126,
    Fenced = 127,
    Trap = 134,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A message with the code to exit with. Further causes are added as context.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error that ends the program with this code.
pub(crate) fn failure(code: Code, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure {
        code,
        message: message.into(),
    })
}

/// The code of a failure of the storage; `None` where there is none of its own.
pub(crate) fn code_of(kind: ErrorKind) -> Option<Code> {
    match kind {
        ErrorKind::Fenced => Some(Code::Fenced),
        ErrorKind::Corrupt => Some(Code::Corrupt),
        ErrorKind::Unavailable | ErrorKind::ReadOnly => Some(Code::Unavailable),
        ErrorKind::InvalidLocation => Some(Code::WrongLocation),
        _ => None,
    }
}

/// Prints an error with its causes, in one line, and returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("wasm-checkpoint: error: {}", one_line(error));
    code_for(error)
}

/// The code to exit with for an error.
pub(crate) fn code_for(error: &anyhow::Error) -> ExitCode {
    code(error).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn code(error: &anyhow::Error) -> Option<Code> {
    // One that was added as context is not in the chain as itself.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.code);
    }
    error.chain().find_map(|cause| {
        let failure = cause.downcast_ref::<Failure>().map(|failure| failure.code);
        let storage = cause.downcast_ref::<checkpoint_storage::Error>();
        failure.or_else(|| code_of(storage?.kind()))
    })
}

/// An error and its causes in one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    checkpoint_storage::causes(error.as_ref())
}
