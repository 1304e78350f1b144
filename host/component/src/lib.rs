//! The import `task:checkpoint` as a component, for hosts that cannot add imports of their own, such as the
//! stock `wasmtime run`. `wasm-checkpoint compose` plugs it into a task.
//!
//! It exports the interfaces of `task:checkpoint`, imports only WASI, and uses the same storage crate as the
//! other hosts. Environment variables configure it; see `settings`. The task sees neither the directory that
//! contains its checkpoints nor these variables; see `isolation`.
//!
//! There is one thread, so a background save runs immediately. The feature `p3` adds version 0.3 of the import, for tasks
//! of WASI 0.3; see `p3`.

// This crate is only a WebAssembly component, so it is empty on other targets.
#![cfg(target_family = "wasm")]

mod bindings;
mod checkpointer;
mod files;
mod isolation;
mod log;
#[cfg(feature = "p3")]
mod p3;
mod paths;
#[cfg(feature = "s3")]
mod s3;
mod settings;
mod streams;
mod task;
mod tree;

/// Implements the exported interfaces.
struct Component;

checkpoint_session::wit_conversions!(crate::bindings::exports::task::checkpoint);

bindings::export!(Component with_types_in bindings);
