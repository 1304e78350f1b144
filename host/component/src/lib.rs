//! The import `task:checkpoint` as a component, for hosts that cannot be given an import of their own: the
//! stock `wasmtime run`. `wasm-checkpoint compose` plugs it into a task.
//!
//! It exports the interfaces of `task:checkpoint` and imports nothing but WASI, on the same storage crate as
//! the other hosts. It is configured by environment variables, see `settings`. The task sees neither the directory in
//! which its checkpoints lie nor the variables that say so, see `isolation`.
//!
//! There is one thread, so a save in the background is made at once.

// Everything here is for the component that it is; there is nothing else to link.
#![cfg(target_family = "wasm")]

mod bindings;
mod checkpointer;
mod files;
mod isolation;
#[cfg(feature = "s3")]
mod s3;
mod settings;
mod streams;
mod task;
mod tree;

/// What the interfaces are exported by.
struct Component;

bindings::export!(Component with_types_in bindings);
