//! Properties of random trees, of random histories of a location, and of random damage.
//!
//! Each property runs few cases, so that it is fast enough for every test run; `PROPTEST_CASES` runs more.
//! Failing cases are not kept in a file of seeds, which is useless once a strategy changes. Instead, the
//! smallest failing case is printed and becomes a test of its own.

mod damage;
mod histories;
mod trees;

use proptest::prelude::*;

use super::noise::noise;

pub(super) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Contents given by a recipe, so that a failing case prints on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recipe {
    size_bytes: usize,
    seed: u8,
    compressible: bool,
}

impl Recipe {
    fn make(self) -> Vec<u8> {
        match self.compressible {
            true => format!("all work and no play, {} ", self.seed)
                .into_bytes()
                .into_iter()
                .cycle()
                .take(self.size_bytes)
                .collect(),
            false => noise(self.seed.into(), self.size_bytes),
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Sizes around the boundaries: empty, small enough for a commit, about one chunk, several chunks.
fn recipes() -> impl Strategy<Value = Recipe> {
    let sizes = prop_oneof![
        4 => prop::sample::select(vec![0, 1, 100]),
        3 => 64 * KIB - 1..=64 * KIB + 1,
        2 => MIB - 1..=MIB + 1,
        1 => Just(5 * MIB),
    ];
    (sizes, 0..4u8, any::<bool>()).prop_map(|(size_bytes, seed, compressible)| Recipe {
        size_bytes,
        seed,
        compressible,
    })
}
