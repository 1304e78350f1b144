//! The exit codes. A task's own code passes through, so the host's failures lie where few programs have theirs: in
//! the range of sysexits(3), and beside the shell's 124. 125 is docker's, 126 and 127 are the shell's.

use std::fmt;
use std::process::ExitCode;

use checkpoint_storage::ErrorKind;

use crate::output;

/// The table, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    the task succeeded
  1    the task failed without a code of its own, or this program did
  2    wrong usage
  65   every checkpoint is damaged, or `verify` has found damage
  66   there is no such location, or no such checkpoint in it
  69   the storage cannot be reached
  76   a newer attempt, elsewhere, has claimed the location
  77   the storage may not be read or written
  78   the location, or what the environment says about it, is wrong
  121  the file cannot be read, or is not a component that can be run
  122  the component imports something that this host does not have
  124  the last attempt ran out of time
  130  stopped by SIGINT; rerun the command to resume
  134  the last attempt trapped
  143  stopped by SIGTERM; rerun the command to resume
A task that was told to stop counts as stopped, whatever it returns. Any other code is that of the task's last
attempt. Rust's standard library for wasm32-wasip2 reports each of its codes but 0 as 1.";

/// A failure that has an exit code of its own.
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
        ErrorKind::Unavailable => Some(Code::Unavailable),
        ErrorKind::ReadOnly => Some(Code::NoPermission),
        ErrorKind::InvalidLocation => Some(Code::WrongLocation),
        _ => None,
    }
}

/// Prints an error with its causes, in one line, and returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    output::say(format!("error: {}", one_line(error)));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of docker, and of shells for what cannot be executed or found.
    const TAKEN: [u8; 3] = [125, 126, 127];

    #[test]
    fn no_code_is_one_of_dockers_or_the_shells() {
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
