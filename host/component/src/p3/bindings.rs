//! The bindings that `wit-bindgen` generates from the world of version 0.3.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::redundant_clone,
    dead_code,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: ["../../wit/0.3", "wit/0.3"],
    world: "checkpoint:component-p3/host",
    generate_all,
});
