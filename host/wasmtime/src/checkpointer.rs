//! The interface `checkpointer` in a linker.
//!
//! What `bindgen!` generates copies a list before the host sees it. A task's state may be most of its
//! memory, and copying it costs as much as storing it, so `write` is defined by hand: over the memory of
//! the guest, which stays as it is until the call returns.

use std::time::Instant;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use crate::CheckpointView;
use crate::bindings::task::checkpoint::checkpointer::{Host, SchemaChange};
use crate::bindings::task::checkpoint::types;
use crate::host::{Answer, metadata, saved};

pub(crate) fn add_to_linker<T: CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    let mut interface = linker.instance("task:checkpoint/checkpointer@0.1.0")?;

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
    define!("resume", resume());
    define!("read", read());
    define!("write-in-background", write_in_background(contents: Vec<u8>, annotations: types::Annotations));
    define!("flush", flush());
    define!("declare-schema", declare_schema(name: String, change: SchemaChange));
    define!("should-save", should_save());
    define!("get-limits", get_limits());

    interface.func_wrap_async("write", |store, (contents, annotations)| {
        Box::new(async move { Ok((write(store, contents, annotations).await?,)) })
    })
}

async fn write<T: CheckpointView + 'static>(
    mut store: StoreContextMut<'_, T>,
    contents: WasmList<u8>,
    annotations: types::Annotations,
) -> Answer<types::Saved> {
    let began = Instant::now();
    let mut host = store.data_mut().checkpoint();
    let attempt = host.ctx.attempt.clone();
    let answer = match host.superseded().await {
        Ok(()) => {
            let save = attempt.write_borrowed(contents.as_le_slice(&store));
            save.metadata(metadata(annotations)).await
        }
        Err(error) => Err(error),
    };
    let mut host = store.data_mut().checkpoint();
    Ok(host.saved(began, answer).map(saved))
}
