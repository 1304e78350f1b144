//! The interface `files`.

use checkpoint_session::{Session, held_bytes};
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::filesystem::Descriptor;

use super::bindings::task::checkpoint::{files, types};
use super::calls::{in_turn, session};
use super::convert::{Returned, returned};
use crate::HasCheckpoint;
use crate::ctx::CheckpointCtxView;
use crate::files::Access;

impl files::Host for CheckpointCtxView<'_> {}

impl<T> files::HostWithStore<T> for HasCheckpoint {
    async fn save(
        store: &Accessor<T, Self>,
        dir: Resource<Descriptor>,
        path: String,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let session = session(store);
        let source = store.with(|mut access| access.get().open(&dir, &path, Access::Read))?;
        let held = held_bytes(path.len(), &annotations);
        let call = |session: Session| async move { session.save(source, annotations).await };
        returned(in_turn(session, held, call).await?)
    }

    async fn restore(
        store: &Accessor<T, Self>,
        dir: Resource<Descriptor>,
        path: String,
        existing: types::Existing,
    ) -> Returned<Option<types::Checkpoint>> {
        let session = session(store);
        let target = store.with(|mut access| access.get().open(&dir, &path, Access::Write))?;
        let held = path.len() as u64;
        let call =
            move |session: Session| async move { session.restore(target, existing.into()).await };
        let restored = in_turn(session, held, call).await?;
        returned(restored.map(|restored| restored.map(types::Checkpoint::from)))
    }
}
