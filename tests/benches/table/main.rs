//! The speed table: each row against what its task would cost otherwise, in turn, in one run.
//!
//! `cargo bench -p checkpoint-tests` prints all of it, and with `-- WORD` the rows whose names hold that
//! word. A row gives medians of ratios, because absolute times say little: they are of whatever machine
//! this runs on. The least and the most show how noisy it was.
//!
//! Two rows need what may not be at hand, and say so: flytekit, in the Python that `FLYTEKIT_PYTHON`
//! names or in `python3`, and the command `wasmtime`, which `WASMTIME` may name.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod composed;
mod counting;
mod files;
mod guest;
mod local;
mod measure;
mod memory;
mod overhead;
mod start;

#[path = "../../support/bucket.rs"]
mod bucket;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../support/cli.rs"]
mod cli;
#[path = "../../support/embedded.rs"]
mod embedded;
#[path = "../../../host/storage/src/tests/noise.rs"]
mod noise;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../support/s3.rs"]
mod s3;

use futures::FutureExt;
use futures::future::BoxFuture;
// For the allocator of the command line, which is what most tasks are run with.
use wasm_checkpoint as _;

/// A name by which it can be asked for, and what prints it.
type Part = (&'static str, fn() -> BoxFuture<'static, ()>);

const PARTS: [Part; 10] = [
    ("local-gib", || local::gib().boxed()),
    ("local-change", || local::change().boxed()),
    ("local-small", || local::small().boxed()),
    ("s3-files", || files::files().boxed()),
    ("guest-background", || guest::background().boxed()),
    ("guest-write", || guest::write().boxed()),
    ("cli-overhead", || overhead::overhead().boxed()),
    ("cli-memory", || memory::memory().boxed()),
    ("cli-start", || start::start().boxed()),
    ("composed", || composed::speed().boxed()),
];

#[tokio::main]
async fn main() {
    // Cargo adds `--bench`.
    let arguments = std::env::args().skip(1);
    let words: Vec<_> = arguments.filter(|word| !word.starts_with("--")).collect();
    for (name, measure) in PARTS {
        if words.is_empty() || words.iter().any(|word| name.contains(word)) {
            measure().await;
        }
    }
}
