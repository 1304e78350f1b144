//! The interface `paths`.

use std::fmt;

use checkpoint_session::{Session, locate};
use checkpoint_storage::{DirTree, Result};
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;

use crate::bindings::task::checkpoint::{paths, types};
use crate::convert::{Returned, returned};
use crate::ctx::CheckpointView;
use crate::files::{Access, open_in};

/// The marker for [`PathsView`], as [`HasCheckpoint`](crate::HasCheckpoint) is for the other interfaces.
#[derive(Debug)]
pub struct HasPaths;

impl HasData for HasPaths {
    type Data<'a> = PathsView<'a>;
}

/// What the interface `paths` needs of a store's state: the session, and the directories that the guest has in WASI.
pub struct PathsView<'a> {
    pub(crate) session: Session,
    wasi: WasiFilesystemCtxView<'a>,
}

impl<'a> PathsView<'a> {
    /// Returns the view of a store's state.
    pub fn new<T: CheckpointView + WasiView>(state: &'a mut T) -> Self {
        Self {
            session: state.checkpoint().ctx.session.clone(),
            wasi: state.filesystem(),
        }
    }

    /// Opens a path in the directories that the guest was given.
    pub(crate) fn open(
        &mut self,
        path: &str,
        access: Access,
    ) -> wasmtime::Result<Result<DirTree<cap_std::fs::Dir>>> {
        // The guest's own table may be full.
        let mut table = ResourceTable::new();
        let mut given = WasiFilesystemCtxView {
            ctx: self.wasi.ctx,
            table: &mut table,
        };
        let mut directories = Vec::new();
        for (descriptor, name) in given.get_directories()? {
            directories.push((given.table.delete(descriptor)?, name));
        }
        let found = locate(directories, path);
        Ok(found.and_then(|(dir, rest)| open_in(&dir, &rest, access)))
    }
}

impl fmt::Debug for PathsView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathsView").finish_non_exhaustive()
    }
}

impl paths::Host for PathsView<'_> {
    async fn save(
        &mut self,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let source = self.open(&path, Access::Read)?;
        returned(self.session.save(source, annotations).await)
    }

    async fn save_in_background(
        &mut self,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<()> {
        let source = self.open(&path, Access::Read)?;
        returned(self.session.save_in_background(source, annotations).await)
    }

    async fn restore(
        &mut self,
        path: String,
        existing: types::Existing,
    ) -> Returned<Option<types::Checkpoint>> {
        let target = self.open(&path, Access::Write)?;
        let restored = self.session.restore(target, existing.into()).await;
        returned(restored.map(|restored| restored.map(types::Checkpoint::from)))
    }
}
