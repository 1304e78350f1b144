//! The interface `paths`.

use checkpoint_session::{Session, held_bytes};
use wasmtime::component::Accessor;

use super::bindings::task::checkpoint::{paths, types};
use super::calls::in_turn;
use super::convert::{Returned, returned};
use crate::files::Access;
use crate::paths::{HasPaths, PathsView};

impl paths::Host for PathsView<'_> {}

impl<T> paths::HostWithStore<T> for HasPaths {
    async fn save(
        store: &Accessor<T, Self>,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let session = store.with(|mut access| access.get().session.clone());
        let source = store.with(|mut access| access.get().open(&path, Access::Read))?;
        let held = held_bytes(path.len(), &annotations);
        let call = |session: Session| async move { session.save(source, annotations).await };
        returned(in_turn(session, held, call).await?)
    }

    async fn restore(
        store: &Accessor<T, Self>,
        path: String,
        existing: types::Existing,
    ) -> Returned<Option<types::Checkpoint>> {
        let session = store.with(|mut access| access.get().session.clone());
        let target = store.with(|mut access| access.get().open(&path, Access::Write))?;
        let held = path.len() as u64;
        let call =
            move |session: Session| async move { session.restore(target, existing.into()).await };
        let restored = in_turn(session, held, call).await?;
        returned(restored.map(|restored| restored.map(types::Checkpoint::from)))
    }
}
