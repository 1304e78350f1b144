//! Saves a large state a thousand times, each time after a few scattered changes, and measures what that does to the costs
//! of a save and of a restore.

use std::fs;
use std::path::Path;
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, DirTree, Existing, Location};

use crate::measure::{MIB, Target, ratio, row, time};
use crate::noise::noise;
use crate::peers::size_of;

const STATE: usize = 1024 * MIB;
const SAVES: usize = 1000;
const PAGES: usize = 50;
const PAGE: usize = 4096;

/// How many of the first and last saves are compared.
const COMPARED: usize = 100;

/// How many restores are compared.
const RESTORES: usize = 3;

pub(crate) async fn age() {
    let dir = tempfile::tempdir().unwrap();
    let (aged, fresh) = (dir.path().join("aged"), dir.path().join("fresh"));
    let mut state = noise(0, STATE);
    let attempt = begin(&aged).await;
    attempt.write_borrowed(&state).await.unwrap();
    let (mut times, mut stored, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for save in 0..SAVES {
        let pages = noise(1 + save as u64, PAGES * PAGE);
        for (n, page) in pages.chunks(PAGE).enumerate() {
            let at = (save * PAGES + n) * 1_299_709 % (STATE / PAGE) * PAGE;
            state[at..at + PAGE].copy_from_slice(page);
        }
        let (taken, saved) = time(attempt.write_borrowed(&state).into_future()).await;
        stored.push(saved.unwrap().uploaded_bytes as f64 / (PAGES * PAGE) as f64);
        times.push(taken);
        attempt.settle().await;
        if (save + 1) % COMPARED == 0 {
            kept.push(size_of(&aged) as f64 / STATE as f64);
        }
    }
    let ends = times[..COMPARED].iter().zip(&times[SAVES - COMPARED..]);
    let ratios = ends.map(|(first, last)| ratio(*last, *first)).collect();
    let attempt_of_fresh = begin(&fresh).await;
    attempt_of_fresh.write_borrowed(&state).await.unwrap();
    let mut restores = Vec::new();
    for _ in 0..RESTORES {
        let target = dir.path().join("file");
        let aged = restore(&attempt, &target, &state).await;
        let fresh = restore(&attempt_of_fresh, &target, &state).await;
        restores.push(ratio(aged, fresh));
    }
    let what = "1,000 saves of 1 GiB: bytes stored / bytes changed";
    row(what, stored, Target::AtMost(16.0));
    let what = "bytes kept / size of the state, every 100 saves";
    row(what, kept, Target::AtMost(2.0));
    let what = "the last 100 saves: time / the first 100";
    row(what, ratios, Target::Nothing);
    let what = "restore after them: time / of a fresh save";
    row(what, restores, Target::AtMost(2.0));
}

async fn begin(location: &Path) -> Attempt {
    let location = Location::from_path(location).open().unwrap();
    let attempt = Attempt::begin(location, AttemptSettings::default()).await;
    attempt.unwrap()
}

/// Restores to a file, checks it and removes it.
async fn restore(attempt: &Attempt, target: &Path, state: &[u8]) -> Duration {
    let tree = DirTree::ambient(target).unwrap();
    let (taken, restored) = time(attempt.restore(tree, Existing::Refuse)).await;
    restored.unwrap();
    assert!(fs::read(target).unwrap() == state);
    fs::remove_file(target).unwrap();
    taken
}
