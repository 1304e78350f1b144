//! The bindings that `wit-bindgen` generates from the world, with the WASI types of the crate `wasip2`.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "generated")]

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "checkpoint:component/host",
    with: {
        "wasi:clocks/wall-clock@0.2.12": wasip2::clocks::wall_clock,
        "wasi:filesystem/types@0.2.12": wasip2::filesystem::types,
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
});
