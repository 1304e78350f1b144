//! Classifies storage errors by what the caller can do about them.

use std::error::Error as StdError;
use std::io;

use crate::error::ErrorKind;

/// Returns the kind of an error. A permanent error is never `Unavailable`, because callers retry that.
pub(super) fn kind(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as E;
    match error {
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::ReadOnly,
        // No object is requested here, so the missing thing is the bucket.
        E::NotFound { .. }
        | E::NotImplemented { .. }
        | E::NotSupported { .. }
        | E::InvalidPath { .. } => ErrorKind::InvalidLocation,
        other if is_refused(other) => ErrorKind::ReadOnly,
        other => causes(other)
            .find_map(kind_of_cause)
            .unwrap_or(ErrorKind::Unavailable),
    }
}

/// Whether a server refused a list because of who asked, which `object_store` reports only as text.
fn is_refused(error: &object_store::Error) -> bool {
    let refusals = ["status code: 401", "status code: 403"];
    causes(error).any(|cause| {
        let text = cause.to_string();
        refusals.iter().any(|refusal| text.contains(refusal))
    })
}

fn kind_of_cause(cause: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    #[cfg(any(feature = "aws-base", feature = "gcp", feature = "azure"))]
    if cause.is::<super::client::Permanent>() {
        return Some(ErrorKind::InvalidLocation);
    }
    let error = cause.downcast_ref::<io::Error>()?;
    kind_of_io(error)
}

fn kind_of_io(error: &io::Error) -> Option<ErrorKind> {
    use io::ErrorKind as E;
    if is_loop(error) {
        return Some(ErrorKind::InvalidLocation);
    }
    match error.kind() {
        E::PermissionDenied | E::ReadOnlyFilesystem | E::NotADirectory => Some(ErrorKind::ReadOnly),
        // Something other than a file is in the place of a record or data object.
        E::InvalidData => Some(ErrorKind::Corrupt),
        E::IsADirectory
        | E::InvalidFilename
        | E::InvalidInput
        | E::Unsupported
        | E::TooManyLinks => Some(ErrorKind::InvalidLocation),
        _ => None,
    }
}

/// Returns whether a path leads through too many links. The standard library has no stable error kind for that.
pub(super) fn is_loop(error: &io::Error) -> bool {
    #[cfg(unix)]
    let code = rustix::io::Errno::LOOP.raw_os_error();
    // That of WASI. Windows uses this code for something else.
    #[cfg(not(unix))]
    let code = 32;
    !cfg!(windows) && error.raw_os_error() == Some(code)
}

/// Iterates over an error and its causes. Local storage wraps the system's error more than once.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
