//! The interface `files`.

use checkpoint_storage::{DirTree, Error, ErrorKind, Result};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;

use crate::bindings::task::checkpoint::{files, types};
use crate::convert::{Returned, returned};
use crate::ctx::CheckpointCtxView;

impl files::Host for CheckpointCtxView<'_> {
    async fn save(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let source = self.open(&dir, &path, Access::Read)?;
        returned(self.ctx.session.save(source, annotations).await)
    }

    async fn save_in_background(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<()> {
        let source = self.open(&dir, &path, Access::Read)?;
        let session = &self.ctx.session;
        returned(session.save_in_background(source, annotations).await)
    }

    async fn restore(
        &mut self,
        dir: Resource<Descriptor>,
        path: String,
        existing: types::Existing,
    ) -> Returned<Option<types::Checkpoint>> {
        let target = self.open(&dir, &path, Access::Write)?;
        let restored = self.ctx.session.restore(target, existing.into()).await;
        returned(restored.map(|restored| restored.map(types::Checkpoint::from)))
    }
}

/// Whether a call reads or writes the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl CheckpointCtxView<'_> {
    /// Opens a path in a directory of the guest. Traps if the handle is invalid.
    pub(crate) fn open(
        &self,
        dir: &Resource<Descriptor>,
        path: &str,
        access: Access,
    ) -> wasmtime::Result<Result<DirTree<cap_std::fs::Dir>>> {
        Ok(open_in(self.table.get(dir)?, path, access))
    }
}

/// Opens a path in a directory, to save from it or restore to it.
pub(crate) fn open_in(
    dir: &Descriptor,
    path: &str,
    access: Access,
) -> Result<DirTree<cap_std::fs::Dir>> {
    let Descriptor::Dir(dir) = dir else {
        let what = "the descriptor is a file; pass its directory and the file's name";
        return Err(Error::new(ErrorKind::InvalidPath, what));
    };
    if access == Access::Write && dir.perms.write_not_permitted() {
        let what = "the host granted read-only access to this directory";
        return Err(Error::new(ErrorKind::ReadOnly, what));
    }
    let handle = dir.dir.try_clone().map_err(|error| {
        let what = "cannot reopen the directory";
        Error::new(ErrorKind::Other, what).with_source(error)
    })?;
    DirTree::new(cap_std::fs::Dir::from_std_file(handle), path)
}
