//! From the storage's kinds of errors to the guest's cases.

use checkpoint_storage::{Error, ErrorKind};

use crate::bindings::task::checkpoint::types;
use crate::ctx::CheckpointCtx;

impl CheckpointCtx {
    /// What the guest is told of an error. Texts about its own paths are passed on; others could name
    /// the location, so the host keeps them.
    pub(crate) fn guest_error(&mut self, error: Error) -> types::Error {
        let own = error.to_string();
        let told = match error.kind() {
            ErrorKind::Fenced => types::Error::Fenced,
            ErrorKind::NotSingle(files) => types::Error::NotSingle(files),
            ErrorKind::Corrupt => types::Error::Corrupt("no checkpoint can be restored".into()),
            ErrorKind::Unavailable => {
                types::Error::Unavailable("the storage does not answer as it should".into())
            }
            ErrorKind::QuotaExceeded => types::Error::QuotaExceeded(own),
            ErrorKind::InvalidPath => types::Error::InvalidPath(own),
            ErrorKind::ReadOnly => types::Error::ReadOnly("this may not be written".into()),
            ErrorKind::SchemaMismatch => types::Error::SchemaMismatch(own),
            _ => types::Error::Other("the host failed; its own messages say why".into()),
        };
        self.note_failure(error);
        told
    }
}
