//! Version 0.3 of the import: the same calls of the same session, as `async` functions.
//!
//! The task and this component share a thread. A call takes effect when the task waits for something, and the task
//! stands still meanwhile.
//!
//! The interface `files` is missing. It takes descriptors of WASI 0.3, and `checkpoint_storage` walks directories
//! with functions that block, as those of WASI 0.2 do.

mod bindings;
mod calls;
mod checkpointer;
mod isolation;
mod paths;
mod streams;

use crate::Component;

checkpoint_session::wit_conversions!(crate::p3::bindings::exports::task::checkpoint);

bindings::export!(Component with_types_in bindings);
