//! The function that runs a task: its export `wasi:cli/run`, of WASI 0.2 or 0.3.

use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi::p2;
#[cfg(feature = "p3")]
use wasmtime_wasi::p3;

use crate::task::State;

/// A component that exports such a function.
#[derive(Clone)]
pub(crate) enum Command {
    P2(p2::bindings::CommandPre<State>),
    #[cfg(feature = "p3")]
    P3(p3::bindings::CommandPre<State>),
}

impl Command {
    /// Finds the export. With `p3`, that of WASI 0.3 comes first.
    pub(crate) fn find(instance: InstancePre<State>, p3: bool) -> Option<Self> {
        #[cfg(feature = "p3")]
        if p3 && let Ok(command) = p3::bindings::CommandPre::new(instance.clone()) {
            return Some(Self::P3(command));
        }
        let _ = p3;
        let command = p2::bindings::CommandPre::new(instance);
        command.ok().map(Self::P2)
    }

    /// Instantiates the component and calls the function.
    pub(crate) async fn run(&self, store: &mut Store<State>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::P2(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(&mut *store).await
            }
            #[cfg(feature = "p3")]
            Self::P3(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                let run = store.run_concurrent(async |store| {
                    let run = command.wasi_cli_run().call_run(store);
                    run.await
                });
                run.await?
            }
        }
    }
}
