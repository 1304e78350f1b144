//! The speed table. Each row compares an operation with a baseline; the two are measured alternately in
//! one run.
//!
//! `cargo bench -p checkpoint-tests` prints the whole table; with `-- WORD`, only the parts whose names
//! contain the word. A row shows the median of ratios, because absolute times depend on the machine. The
//! minimum and the maximum show how noisy the measurement was.
//!
//! Three parts need programs that may be missing, and print so: flytekit in `python3` or the Python that
//! `FLYTEKIT_PYTHON` names; `wasmtime`, whose path `WASMTIME` may give; `restic` and `borg`.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

mod age;
mod bounded;
mod composed;
mod counting;
mod files;
mod guest;
mod local;
mod measure;
mod memory;
mod overhead;
mod peers;
mod plugins;
mod start;

/// The allocator of the command line, with which most tasks run.
#[path = "../../../host/cli/src/allocator.rs"]
mod allocator;
#[path = "../../support/bucket.rs"]
mod bucket;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../support/cli.rs"]
mod cli;
#[path = "../../support/embedded.rs"]
mod embedded;
#[path = "../../src/memory_cap.rs"]
mod memory_cap;
#[path = "../../../host/storage/src/tests/noise.rs"]
mod noise;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../../support/s3.rs"]
mod s3;

use futures::FutureExt;
use futures::future::BoxFuture;

/// A name to select a part of the table by, and the function that prints the part.
type Part = (&'static str, fn() -> BoxFuture<'static, ()>);

const PARTS: [Part; 16] = [
    ("local-gib", || local::gib().boxed()),
    ("local-change", || local::change().boxed()),
    ("local-small", || local::small().boxed()),
    ("local-age", || age::age().boxed()),
    ("local-peers", || peers::peers().boxed()),
    ("s3-files", || files::files().boxed()),
    ("guest-background", || guest::background().boxed()),
    ("guest-write", || guest::write().boxed()),
    ("guest-p3", || guest::asynchronous().boxed()),
    ("cli-overhead", || overhead::overhead().boxed()),
    ("cli-memory", || memory::memory().boxed()),
    ("cli-many-files", || memory::many_files().boxed()),
    ("cli-start", || start::start().boxed()),
    ("bounded-attacks", || bounded::attacks().boxed()),
    ("bounded-plugins", || plugins::isolation().boxed()),
    ("composed", || composed::speed().boxed()),
];

#[tokio::main]
async fn main() {
    allocator::return_freed_memory_soon();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == plugins::HOST) {
        let paths: Vec<_> = arguments.map(std::path::PathBuf::from).collect();
        return plugins::be_host(&paths[0], &paths[1]).await;
    }
    // Skips the `--bench` that Cargo adds.
    let arguments = std::env::args().skip(1);
    let words: Vec<_> = arguments.filter(|word| !word.starts_with("--")).collect();
    for (name, measure) in PARTS {
        if words.is_empty() || words.iter().any(|word| name.contains(word)) {
            measure().await;
        }
    }
}
