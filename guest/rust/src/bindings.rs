//! The imports that `wit-bindgen` generates from `wit/`, for uses that the functions of this crate do not
//! cover, such as saving from a `Descriptor` that is not a preopened directory.
//!
//! The types of `wasi:filesystem` come from the crate `wasip2`.

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
