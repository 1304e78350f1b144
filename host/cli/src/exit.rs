//! The exit codes. A task's own code passes through, so the host's failures use codes that few programs use: those of
//! sysexits(3), and some next to 124 of timeout(1). Docker uses 125; shells use 126 and 127.

use std::fmt;
use std::process::ExitCode;

use checkpoint_storage::ErrorKind;

use crate::output;

/// The table for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    the task succeeded
  1    the task or this program failed without a more specific code
  2    invalid usage
  65   every checkpoint is damaged, or `verify` found damage
  66   no such location, or no such checkpoint in it
  69   the storage cannot be reached
  76   a newer attempt has claimed the location
  77   no permission to read or write the storage
  78   invalid location or environment variable, or a storage that is not fit
  121  cannot read the file, or it is not a component that can run
  122  the component imports something that this host does not provide
  124  the last attempt timed out
  130  stopped by SIGINT; rerun the command to resume
  134  the last attempt trapped
  143  stopped by SIGTERM; rerun the command to resume
A task that learned of a stop request counts as stopped, whatever it returns. Any other code is the task's own, from its last
attempt. Rust's standard library for wasm32-wasip2 reports every exit code except 0 as 1.";

/// A failure with a specific exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Usage = 2,
    Corrupt = 65,
    NoInput = 66,
    Unavailable = 69,
    Fenced = 76,
    NoPermission = 77,
    WrongLocation = 78,
    NotComponent = 121,
    UnknownImport = 122,
    Timeout = 124,
    Trap = 134,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A message, and the code to exit with. Causes are added as context.
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

/// Returns an error that ends the program with this code.
pub(crate) fn failure(code: Code, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure {
        code,
        message: message.into(),
    })
}

/// Returns the code for an error of the storage; `None` if it has no specific one.
pub(crate) fn code_of(kind: ErrorKind) -> Option<Code> {
    match kind {
        ErrorKind::Fenced => Some(Code::Fenced),
        ErrorKind::Corrupt => Some(Code::Corrupt),
        ErrorKind::Unavailable => Some(Code::Unavailable),
        ErrorKind::ReadOnly => Some(Code::NoPermission),
        ErrorKind::InvalidLocation => Some(Code::WrongLocation),
        _ => None,
    }
}

/// Prints an error with its causes on one line. Returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    output::say(format!("error: {}", one_line(error)));
    code_for(error)
}

/// Returns the code to exit with for an error.
pub(crate) fn code_for(error: &anyhow::Error) -> ExitCode {
    code(error).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn code(error: &anyhow::Error) -> Option<Code> {
    // A failure that was added as context does not show up in the chain; only `downcast_ref` finds it.
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.code);
    }
    error.chain().find_map(|cause| {
        let failure = cause.downcast_ref::<Failure>().map(|failure| failure.code);
        let storage = cause.downcast_ref::<checkpoint_storage::Error>();
        failure.or_else(|| code_of(storage?.kind()))
    })
}

/// Returns an error and its causes on one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    checkpoint_storage::causes(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker's code, and those of shells for a program that cannot be executed or found.
    const TAKEN: [u8; 3] = [125, 126, 127];

    #[test]
    fn no_code_collides_with_those_of_docker_or_shells() {
        let codes = [
            Code::Usage,
            Code::Corrupt,
            Code::NoInput,
            Code::Unavailable,
            Code::Fenced,
            Code::NoPermission,
            Code::WrongLocation,
            Code::NotComponent,
            Code::UnknownImport,
            Code::Timeout,
            Code::Trap,
        ];
        for code in codes {
            assert!(!TAKEN.contains(&(code as u8)), "{code:?}");
            assert!(
                HELP.contains(&format!("\n  {:<4} ", code as u8)),
                "{code:?}"
            );
        }
    }
}
