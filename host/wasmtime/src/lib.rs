//! The import `task:checkpoint`, for hosts that embed wasmtime.
//!
//! A guest that imports it saves its progress, and its next attempt resumes from there. The host
//! begins an [`Attempt`] for each run of the guest, which claims the guest's location and so fences
//! every earlier run. The host then puts the attempt into the store's state as a [`CheckpointCtx`]. The
//! guest sees the checkpoints of that location and nothing else: no URL, no credential, no other task's
//! data.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use wasmtime::component::{Component, Linker, ResourceTable};
//! use wasmtime::{Engine, Store};
//! use wasmtime_checkpoint::storage::{Attempt, AttemptSettings, Location};
//! use wasmtime_checkpoint::{CheckpointCtx, CheckpointCtxView, CheckpointView};
//!
//! // The state of each plugin's store.
//! struct Plugin {
//!     table: ResourceTable,
//!     checkpoint: CheckpointCtx,
//! }
//!
//! impl CheckpointView for Plugin {
//!     fn checkpoint(&mut self) -> CheckpointCtxView<'_> {
//!         CheckpointCtxView { ctx: &mut self.checkpoint, table: &mut self.table }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> wasmtime::Result<()> {
//! let engine = Engine::default();
//! let mut linker = Linker::<Plugin>::new(&engine);
//! // This plugin saves bytes only. One that saves files imports WASI too: see `add_to_linker`.
//! wasmtime_checkpoint::add_checkpointer_to_linker(&mut linker)?;
//! # let component = r#"(component
//! #     (import "task:checkpoint/types@0.2.0" (instance $types
//! #         (type (variant (case "fenced") (case "not-single" u64) (case "corrupt" string)
//! #             (case "unavailable" string) (case "quota-exceeded" string) (case "invalid-path" string)
//! #             (case "read-only" string) (case "schema-mismatch" string) (case "other" string)))
//! #         (export "error" (type (eq 0)))))
//! #     (alias export $types "error" (type $error))
//! #     (import "task:checkpoint/checkpointer@0.2.0" (instance $checkpointer
//! #         (alias outer 1 $error (type $e))
//! #         (export "error" (type $error (eq $e)))
//! #         (export "prev-exists" (func (result (result bool (error $error)))))))
//! #     (core module $memory (memory (export "memory") 1)
//! #         (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
//! #     (core instance $memory (instantiate $memory))
//! #     (core func $prev-exists (canon lower (func $checkpointer "prev-exists")
//! #         (memory $memory "memory") (realloc (func $memory "realloc"))))
//! #     (core module $plugin
//! #         (import "host" "prev-exists" (func $prev-exists (param i32)))
//! #         (import "host" "memory" (memory 1))
//! #         (func (export "resumes") (result i32)
//! #             (call $prev-exists (i32.const 0))
//! #             (i32.load8_u (i32.const 8))))
//! #     (core instance $plugin (instantiate $plugin (with "host" (instance
//! #         (export "prev-exists" (func $prev-exists))
//! #         (export "memory" (memory $memory "memory"))))))
//! #     (func (export "resumes") (result bool) (canon lift (core func $plugin "resumes"))))"#;
//! let component = Component::new(&engine, component)?;
//!
//! // For each attempt, claim the plugin's location and give the plugin access to its checkpoints.
//! let location = "memory:///plugins/one".parse::<Location>()?.open()?;
//! for expected in [false, true] {
//!     let attempt = Arc::new(Attempt::begin(location.clone(), AttemptSettings::default()).await?);
//!     let plugin = Plugin {
//!         table: ResourceTable::new(),
//!         checkpoint: CheckpointCtx::new(attempt.clone()),
//!     };
//!     let mut store = Store::new(&engine, plugin);
//!     let instance = linker.instantiate_async(&mut store, &component).await?;
//!     let resumes = instance.get_typed_func::<(), (bool,)>(&mut store, "resumes")?;
//!     assert_eq!(resumes.call_async(&mut store, ()).await?, (expected,));
//!     // The host may save for its guest too.
//!     attempt.write("state".into()).await?;
//!     // Even if the guest trapped, commit the saves that were acknowledged to it.
//!     let outcome = store.data().checkpoint.finish(Duration::from_secs(10)).await;
//!     assert!(outcome.lost.is_none());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The calls are `async` in the host, and block only the guest that makes them. When a guest has ended,
//! even by a trap or timeout, call [`CheckpointCtx::finish`]. It commits pending background saves, and
//! its [`Outcome`](session::Outcome) says what was lost and why the guest's last call failed.
//!
//! A guest is hostile until proven otherwise. [`GuestLimits`] bound what it can make the host hold; they have
//! defaults, and their documentation has the formula for a host's memory. `limits.check` checks a component
//! before it is compiled, and [`limit_store`] applies the limits to a store:
//!
//! ```
//! # use wasmtime::Engine;
//! # use wasmtime::component::Component;
//! # use wasmtime_checkpoint::{CheckpointCtx, CheckpointView, GuestLimits, limit_store};
//! # fn prepare<T: CheckpointView + 'static>(
//! #     engine: &Engine, component: &[u8], ctx: CheckpointCtx, state: impl FnOnce(CheckpointCtx) -> T,
//! # ) -> wasmtime::Result<()> {
//! let limits = GuestLimits::default().memory_bytes(16 << 20);
//! limits.check(component)?;
//! let component = Component::from_binary(engine, component)?;
//! let mut store = wasmtime::Store::new(engine, state(ctx.limits(limits)));
//! limit_store(&mut store);
//! # Ok(())
//! # }
//! ```
//!
//! A `write` reads the guest's own memory. A `write-in-background` copies it, within
//! [`Limits::background_bytes`](storage::Limits::background_bytes) for the save in flight and the queued one
//! together; a call that needs more waits for the save in flight. Directories are copied to temporary files, up
//! to [`Limits::spool_bytes`](storage::Limits::spool_bytes) for each guest. See [`session`] for where these lie.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `wasi` | yes | the interfaces `paths`, `files` and `streams`, over `wasmtime-wasi` |
//! | `async` | no | guests that use the async ABI |
//! | `p3` | no | version 0.3 of the import, for guests of WASI 0.3: [`p3`] |
//! | `aws`, `gcp`, `azure` | no | `s3://`, `gs://` and `az://` locations |
//!
//! [`Attempt`]: storage::Attempt

pub mod bindings;
mod checkpointer;
mod convert;
mod ctx;
#[cfg(feature = "wasi")]
mod files;
mod limits;
#[cfg(feature = "wasi")]
mod listings;
#[cfg(feature = "p3")]
pub mod p3;
#[cfg(feature = "wasi")]
mod paths;
#[cfg(feature = "wasi")]
mod streams;

pub use checkpoint_session as session;
pub use checkpoint_storage as storage;
pub use ctx::{CheckpointCtx, CheckpointCtxView, CheckpointView};
pub use limits::{GuestLimits, TooLarge, limit_store};
#[cfg(feature = "wasi")]
pub use listings::add_wasi_to_linker;
#[cfg(feature = "wasi")]
pub use paths::{HasPaths, PathsView};

use wasmtime::component::{HasData, Linker};

/// The marker with which the generated `add_to_linker` functions in [`bindings`] find the import's part
/// of a store's state. It is public for hosts that call those functions themselves.
#[derive(Debug)]
pub struct HasCheckpoint;

impl HasData for HasCheckpoint {
    type Data<'a> = CheckpointCtxView<'a>;
}

/// Adds all interfaces of `task:checkpoint` to a linker. The interface `files` takes descriptors of
/// `wasmtime_wasi`, and `paths` finds paths in its preopened directories, so call [`add_wasi_to_linker`] on the
/// same linker.
///
/// # Errors
/// If the linker already has one of the interfaces.
#[cfg(feature = "wasi")]
pub fn add_to_linker<T: CheckpointView + wasmtime_wasi::WasiView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    use bindings::task::checkpoint::{files, paths, streams};

    add_checkpointer_to_linker(linker)?;
    paths::add_to_linker::<_, HasPaths>(linker, |state| PathsView::new(state))?;
    files::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    streams::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)
}

/// Adds `checkpointer` and its types to a linker, for hosts without WASI, whose guests save only bytes.
///
/// # Errors
/// If the linker already has one of the interfaces.
pub fn add_checkpointer_to_linker<T: CheckpointView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    use bindings::task::checkpoint::types;

    types::add_to_linker::<_, HasCheckpoint>(linker, T::checkpoint)?;
    checkpointer::add_to_linker(linker)
}
