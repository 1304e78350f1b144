//! The imports as `wit-bindgen` makes them from `wit/`, for what the functions of this crate do not
//! cover: to save from a `Descriptor` that is no preopened directory, say.
//!
//! Types of `wasi:filesystem` are those of the crate `wasip2`.

wit_bindgen::generate!({
    path: "wit",
    world: "imports",
    with: {
        "wasi:clocks/wall-clock@0.2.12": wasip2::clocks::wall_clock,
        "wasi:filesystem/types@0.2.12": wasip2::filesystem::types,
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
});
