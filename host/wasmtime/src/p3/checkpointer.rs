//! The interface `checkpointer`.
//!
//! The code that `bindgen!` generates copies a list before the host sees it, even if the call is then
//! refused. So `write` is defined by hand, as in version 0.2.

use bytes::Bytes;
use checkpoint_session::{Session, held_bytes};
use wasmtime::AsContext as _;
use wasmtime::component::{Access, Accessor, FutureReader, Linker, WasmList};

use super::bindings::task::checkpoint::{checkpointer, types};
use super::calls::{Queued, in_turn, session};
use super::convert::{Returned, returned};
use crate::HasCheckpoint;
use crate::ctx::{CheckpointCtxView, CheckpointView};

pub(crate) fn add_to_linker<T: CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    checkpointer::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    linker.allow_shadowing(true);
    let replaced = replace_write(linker);
    linker.allow_shadowing(false);
    replaced
}

fn replace_write<T: CheckpointView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("task:checkpoint/checkpointer@0.3.0")?;
    interface.func_wrap_concurrent("write", |store, (contents, annotations)| {
        Box::pin(async move { Ok((write(store, contents, annotations).await?,)) })
    })
}

/// Saves the guest's bytes. It copies them once the call is admitted, and before anything else can run.
async fn write<T: CheckpointView + 'static>(
    store: &Accessor<T>,
    contents: WasmList<u8>,
    annotations: types::Annotations,
) -> Returned<types::Saved> {
    let (session, size) = store.with(|mut access| {
        let size = contents.as_le_slice(access.as_context()).len();
        (access.data_mut().checkpoint().ctx.session.clone(), size)
    });
    let queued = match Queued::enter(session, held_bytes(size, &annotations)).await {
        Ok(queued) => queued,
        Err(error) => return Ok(Err(error.into())),
    };
    let contents =
        store.with(|access| Bytes::copy_from_slice(contents.as_le_slice(access.as_context())));
    let call = |session: Session| async move { session.write(contents, annotations).await };
    returned(queued.make(call).await?)
}

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
        let read = match Queued::enter(session(store), 0).await {
            Ok(queued) => queued.make_large(call).await?,
            Err(error) => Err(error),
        };
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
