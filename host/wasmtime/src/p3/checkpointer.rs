//! The interface `checkpointer`.

use checkpoint_session::Session;
use wasmtime::component::{Access, Accessor, FutureReader};

use super::bindings::task::checkpoint::{checkpointer, types};
use super::calls::{held_bytes, in_turn, in_turn_until_returned, session};
use super::convert::{Returned, returned};
use crate::HasCheckpoint;
use crate::ctx::CheckpointCtxView;

impl types::Host for CheckpointCtxView<'_> {}

impl checkpointer::Host for CheckpointCtxView<'_> {
    fn should_save(&mut self) -> wasmtime::Result<checkpointer::Advice> {
        Ok(self.ctx.session.should_save().into())
    }

    fn save_due(&mut self) -> wasmtime::Result<bool> {
        Ok(self.ctx.session.save_due())
    }
}

impl<T> checkpointer::HostWithStore<T> for HasCheckpoint {
    async fn prev_exists(store: &Accessor<T, Self>) -> Returned<bool> {
        let call = |session: Session| async move { session.prev_exists().await };
        returned(in_turn(session(store), 0, call).await?)
    }

    async fn get_resume_point(store: &Accessor<T, Self>) -> Returned<checkpointer::ResumePoint> {
        let call = |session: Session| async move { session.resume_point().await };
        returned(in_turn(session(store), 0, call).await?)
    }

    async fn read(store: &Accessor<T, Self>) -> Returned<Option<checkpointer::Contents>> {
        let call = |session: Session| async move { session.read().await };
        let read = in_turn_until_returned(session(store), call).await?;
        returned(read.map(|(read, _turn)| read.map(checkpointer::Contents::from)))
    }

    async fn write(
        store: &Accessor<T, Self>,
        contents: Vec<u8>,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        let held = held_bytes(contents.len(), &annotations);
        let call =
            |session: Session| async move { session.write(contents.into(), annotations).await };
        returned(in_turn(session(store), held, call).await?)
    }

    async fn declare_schema(
        store: &Accessor<T, Self>,
        name: String,
        change: checkpointer::SchemaChange,
    ) -> Returned<()> {
        let held = name.len() as u64;
        let call = move |session: Session| async move {
            session.declare_schema(name, change.into()).await
        };
        returned(in_turn(session(store), held, call).await?)
    }

    fn stopping(mut store: Access<'_, T, Self>) -> wasmtime::Result<FutureReader<u64>> {
        let stopping = store.get().ctx.session.stopping();
        let left = async move {
            let left = checkpoint_session::milliseconds(stopping.await);
            wasmtime::error::Ok(left)
        };
        FutureReader::new(&mut store, left)
    }

    async fn get_limits(store: &Accessor<T, Self>) -> Returned<checkpointer::Limits> {
        let call = |session: Session| async move { Ok(session.limits().await) };
        returned(in_turn(session(store), 0, call).await?)
    }
}
