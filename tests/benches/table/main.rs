//! The speed table. Each row compares an operation with an alternative, measured in turn in the same run.
//!
//! `cargo bench -p checkpoint-tests` prints all rows, and `-- WORD` selects the rows whose names contain the
//! word. A row shows the median of ratios, because absolute times depend on the machine. The minimum and the
//! maximum show the noise.
//!
//! Rows are skipped if they need a missing program. One needs flytekit, in `python3` or in the Python that
//! `FLYTEKIT_PYTHON` names. One needs the command `wasmtime`, which `WASMTIME` may name.
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
// Links the allocator of the command line, with which most tasks run.
use wasm_checkpoint as _;

/// The name that selects a benchmark, and the function that prints its rows.
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
    // Ignores the argument `--bench`, which cargo adds.
    let arguments = std::env::args().skip(1);
    let words: Vec<_> = arguments.filter(|word| !word.starts_with("--")).collect();
    for (name, measure) in PARTS {
        if words.is_empty() || words.iter().any(|word| name.contains(word)) {
            measure().await;
        }
    }
}
