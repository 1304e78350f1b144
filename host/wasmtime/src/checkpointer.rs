//! The interface `checkpointer`.
//!
//! The code that `bindgen!` generates copies a list before the host sees it. A task's state may be most
//! of its memory, and copying it costs as much as storing it. So `write` is defined by hand and reads
//! the guest's memory directly, which does not change until the call returns. `write-in-background`
//! copies it only once the session has memory for the copy.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::bindings::task::checkpoint::{checkpointer, types};
use crate::convert::{Returned, returned};
use crate::ctx::{CheckpointCtxView, CheckpointView};

pub(crate) fn add_to_linker<T: CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    use checkpointer::{Host as _, SchemaChange};

    let mut interface = linker.instance("task:checkpoint/checkpointer@0.2.0")?;

    macro_rules! define {
        ($name:literal, $method:ident($($argument:ident: $type:ty),*)) => {
            interface.func_wrap_async(
                $name,
                |mut store: StoreContextMut<'_, T>, ($($argument,)*): ($($type,)*)| {
                    Box::new(async move {
                        let mut host = store.data_mut().checkpoint();
                        Ok((host.$method($($argument),*).await?,))
                    })
                },
            )?;
        };
    }
    define!("prev-exists", prev_exists());
    define!("get-resume-point", get_resume_point());
    define!("read", read());
    define!("flush", flush());
    define!("declare-schema", declare_schema(name: String, change: SchemaChange));
    define!("should-save", should_save());
    define!("save-due", save_due());
    define!("get-limits", get_limits());

    interface.func_wrap_async("write", |store, (contents, annotations)| {
        Box::new(async move { Ok((write(store, contents, annotations).await?,)) })
    })?;
    interface.func_wrap_async("write-in-background", |store, (contents, annotations)| {
        Box::new(async move { Ok((write_in_background(store, contents, annotations).await?,)) })
    })
}

async fn write<T: CheckpointView + 'static>(
    mut store: StoreContextMut<'_, T>,
    contents: WasmList<u8>,
    annotations: types::Annotations,
) -> Returned<types::Saved> {
    let session = store.data_mut().checkpoint().ctx.session.clone();
    let contents = contents.as_le_slice(&store);
    returned(session.write_borrowed(contents, annotations).await)
}

async fn write_in_background<T: CheckpointView + 'static>(
    mut store: StoreContextMut<'_, T>,
    contents: WasmList<u8>,
    annotations: types::Annotations,
) -> Returned<()> {
    let session = store.data_mut().checkpoint().ctx.session.clone();
    let contents = contents.as_le_slice(&store);
    let staged = session.write_borrowed_in_background(contents, annotations);
    returned(staged.await)
}

impl types::Host for CheckpointCtxView<'_> {}

impl checkpointer::Host for CheckpointCtxView<'_> {
    async fn prev_exists(&mut self) -> Returned<bool> {
        returned(self.ctx.session.prev_exists().await)
    }

    async fn get_resume_point(&mut self) -> Returned<checkpointer::ResumePoint> {
        returned(self.ctx.session.resume_point().await)
    }

    async fn read(&mut self) -> Returned<Option<checkpointer::Contents>> {
        let contents = self.ctx.session.read().await;
        returned(contents.map(|contents| contents.map(checkpointer::Contents::from)))
    }

    async fn write(
        &mut self,
        contents: Vec<u8>,
        annotations: types::Annotations,
    ) -> Returned<types::Saved> {
        returned(self.ctx.session.write(contents.into(), annotations).await)
    }

    async fn write_in_background(
        &mut self,
        contents: Vec<u8>,
        annotations: types::Annotations,
    ) -> Returned<()> {
        let session = &self.ctx.session;
        returned(
            session
                .write_in_background(contents.into(), annotations)
                .await,
        )
    }

    async fn flush(&mut self) -> Returned<Option<types::Saved>> {
        let newest = self.ctx.session.flush().await;
        returned(newest.map(|newest| newest.map(types::Saved::from)))
    }

    async fn declare_schema(
        &mut self,
        name: String,
        change: checkpointer::SchemaChange,
    ) -> Returned<()> {
        returned(self.ctx.session.declare_schema(name, change.into()).await)
    }

    async fn should_save(&mut self) -> wasmtime::Result<checkpointer::Advice> {
        Ok(self.ctx.session.should_save().into())
    }

    async fn save_due(&mut self) -> wasmtime::Result<bool> {
        Ok(self.ctx.session.save_due())
    }

    async fn get_limits(&mut self) -> Returned<checkpointer::Limits> {
        returned(Ok(self.ctx.session.limits().await))
    }
}
