//! Compares with the backup programs restic and borg, on the local disk: what a save stores of what has changed, and
//! the times of saving and restoring.
//!
//! They do more than this crate (restic encrypts, both keep every version) and less (neither fences another writer). What
//! is compared is the cost of keeping a state that changes a little. Debian has both as packages.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use checkpoint_storage::{Attempt, AttemptSettings, DirTree, Existing, Location};
use tempfile::TempDir;

use crate::measure::{MIB, Target, human_size, note, ratio, row, skipped, time};
use crate::noise::noise;

const ROUNDS: usize = 3;

/// A program that keeps versions of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    Ours,
    Restic,
    Borg,
}

/// A directory whose versions are kept, and where each program keeps them.
struct Kept {
    source: TempDir,
    stores: TempDir,
    keepers: Vec<Keeper>,
}

/// What one program took for one version.
struct Cost {
    time: Duration,
    stored_bytes: u64,
}

pub(crate) async fn peers() {
    let mut keepers = vec![Keeper::Ours];
    for (keeper, program) in [(Keeper::Restic, "restic"), (Keeper::Borg, "borg")] {
        match Command::new(program)
            .arg("help")
            .stdout(Stdio::null())
            .status()
        {
            Ok(_) => keepers.push(keeper),
            Err(_) => skipped(&format!("the rows against {program}"), program),
        }
    }
    one_file(&keepers).await;
    contiguous(&keepers).await;
    many_files(&keepers).await;
}

/// A file of 1 GiB, and 200 pages of 4 KiB changed in it.
async fn one_file(keepers: &[Keeper]) {
    const PAGE: usize = 4096;
    let (mut saves, mut stored, mut restores) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let kept = Kept::new(keepers);
        let file = kept.source.path().join("state");
        fs::write(&file, noise(round as u64, 1024 * MIB)).unwrap();
        saves.push(kept.save().await);
        let pages = noise(100 + round as u64, 200 * PAGE);
        let mut open = fs::File::options().write(true).open(&file).unwrap();
        for (n, page) in pages.chunks(PAGE).enumerate() {
            // Pages that are scattered, none twice.
            let at = (n * 1_299_709 + round) % (1024 * MIB / PAGE);
            open.seek(SeekFrom::Start((at * PAGE) as u64)).unwrap();
            open.write_all(page).unwrap();
        }
        drop(open);
        stored.push(kept.save().await);
        restores.push(kept.restore(&mut Vec::new()).await);
    }
    speeds("save 1 GiB of new bytes", keepers, &saves, 2.0);
    shares(
        "200 scattered pages of 1 GiB",
        keepers,
        &stored,
        200 * PAGE,
        16.0,
    );
    speeds("restore 1 GiB", keepers, &restores, 2.0);
}

/// 1 % changed in one place of a file of 256 MiB.
async fn contiguous(keepers: &[Keeper]) {
    const CHANGED: usize = 256 * MIB / 100;
    let mut stored = Vec::new();
    for round in 0..ROUNDS {
        let kept = Kept::new(keepers);
        let file = kept.source.path().join("state");
        let mut contents = noise(round as u64, 256 * MIB);
        fs::write(&file, &contents).unwrap();
        kept.save().await;
        let at = (round + 1) * 50 * MIB + 12_345;
        contents[at..at + CHANGED].copy_from_slice(&noise(7, CHANGED));
        fs::write(&file, &contents).unwrap();
        stored.push(kept.save().await);
    }
    shares("1 % of 256 MiB", keepers, &stored, CHANGED, 1.2);
}

/// 100,000 files of 512 bytes, and two bytes changed in one of them.
async fn many_files(keepers: &[Keeper]) {
    const FILES: usize = 100_000;
    const FILE: usize = 512;
    let kept = Kept::new(keepers);
    let all = noise(0, FILES * FILE);
    let path = |n: usize| {
        let folder = kept.source.path().join(format!("{:03}", n / 1000));
        (folder.join(format!("file-{n:06}")), folder)
    };
    for (n, contents) in all.chunks(FILE).enumerate() {
        let (file, folder) = path(n);
        if n % 1000 == 0 {
            fs::create_dir(folder).unwrap();
        }
        fs::write(file, contents).unwrap();
    }
    let saves = vec![kept.save().await];
    let mut stored = Vec::new();
    for round in 0..20 {
        let (file, _) = path((round * 7919 + 13) % FILES);
        let mut contents = fs::read(&file).unwrap();
        contents[100] ^= 1;
        contents[101] ^= 1;
        fs::write(&file, contents).unwrap();
        stored.push(kept.save().await);
    }
    // Deleted after the last round: ext4 is slow to create files beside others that were deleted in the minutes before.
    let mut targets = Vec::new();
    let mut restores = Vec::new();
    for _ in 0..ROUNDS {
        restores.push(kept.restore(&mut targets).await);
    }
    speeds("save 100,000 files x 512 B", keepers, &saves, 1.0);
    for (index, keeper) in keepers.iter().enumerate() {
        let target = match keeper {
            Keeper::Ours => Target::AtMost(40.0),
            _ => Target::Nothing,
        };
        let kilobytes = stored
            .iter()
            .map(|costs: &Vec<Cost>| costs[index].stored_bytes as f64 / 1e3);
        row(
            &format!("one of 100,000 files changed: kB stored, {keeper:?}"),
            kilobytes.collect(),
            target,
        );
    }
    speeds("restore 100,000 files x 512 B", keepers, &restores, 2.0);
}

/// Prints how much faster than each other program ours is.
fn speeds(what: &str, keepers: &[Keeper], rounds: &[Vec<Cost>], target: f64) {
    for (index, keeper) in keepers.iter().enumerate().skip(1) {
        let ratios = rounds
            .iter()
            .map(|costs| ratio(costs[index].time, costs[0].time));
        row(
            &format!("{what}: speed / {keeper:?}"),
            ratios.collect(),
            Target::AtLeast(target),
        );
    }
    let last = rounds.last().into_iter().flatten();
    let times: Vec<_> = keepers
        .iter()
        .zip(last)
        .map(|(keeper, cost)| format!("{keeper:?} {:.2?}", cost.time))
        .collect();
    note(&format!("last round: {}", times.join(", ")));
}

/// Prints how many times the changed bytes each program has stored.
fn shares(what: &str, keepers: &[Keeper], rounds: &[Vec<Cost>], changed: usize, target: f64) {
    for (index, keeper) in keepers.iter().enumerate() {
        let target = match keeper {
            Keeper::Ours => Target::AtMost(target),
            _ => Target::Nothing,
        };
        let ratios = rounds
            .iter()
            .map(|costs| costs[index].stored_bytes as f64 / changed as f64);
        row(
            &format!("{what} changed: stored / changed, {keeper:?}"),
            ratios.collect(),
            target,
        );
    }
    let last = rounds.last().into_iter().flatten();
    let sizes: Vec<_> = keepers
        .iter()
        .zip(last)
        .map(|(keeper, cost)| format!("{keeper:?} {}", human_size(cost.stored_bytes)))
        .collect();
    note(&format!("last round: {}", sizes.join(", ")));
}

impl Kept {
    fn new(keepers: &[Keeper]) -> Self {
        let stores = TempDir::new().unwrap();
        for keeper in keepers {
            let store = stores.path().join(format!("{keeper:?}"));
            fs::create_dir(&store).unwrap();
            keeper.prepare(&store);
        }
        Self {
            source: TempDir::new().unwrap(),
            stores,
            keepers: keepers.to_vec(),
        }
    }

    fn store(&self, keeper: Keeper) -> PathBuf {
        self.stores.path().join(format!("{keeper:?}"))
    }

    /// Saves the directory with each program.
    async fn save(&self) -> Vec<Cost> {
        let mut costs = Vec::new();
        for keeper in &self.keepers {
            let store = self.store(*keeper);
            let before = size_of(&store);
            let time = keeper.save(&store, self.source.path()).await;
            costs.push(Cost {
                time,
                stored_bytes: size_of(&store).saturating_sub(before),
            });
        }
        costs
    }

    /// Restores the newest version with each program, each into a new directory, kept in `targets`.
    async fn restore(&self, targets: &mut Vec<TempDir>) -> Vec<Cost> {
        let mut costs = Vec::new();
        for keeper in &self.keepers {
            let target = TempDir::new().unwrap();
            let time = keeper.restore(&self.store(*keeper), target.path()).await;
            costs.push(Cost {
                time,
                stored_bytes: 0,
            });
            targets.push(target);
        }
        costs
    }
}

impl Keeper {
    fn prepare(self, store: &Path) {
        match self {
            Self::Ours => {}
            Self::Restic => run(self.command(store).arg("init")),
            Self::Borg => run(self.command(store).args(["init", "-e", "none"]).arg(store)),
        }
    }

    async fn save(self, store: &Path, source: &Path) -> Duration {
        let mut command = self.command(store);
        command.current_dir(source);
        match self {
            Self::Ours => {
                let attempt = begin(store).await;
                let tree = DirTree::ambient(source).unwrap();
                let (took, saved) = time(attempt.save(tree).into_future()).await;
                saved.unwrap();
                attempt.settle().await;
                return took;
            }
            Self::Restic => command.args(["backup", "."]),
            Self::Borg => {
                let name = format!("{}::{{now:%s-%f}}", store.display());
                command.args(["create", &name, "."])
            }
        };
        time(async { run(&mut command) }).await.0
    }

    async fn restore(self, store: &Path, target: &Path) -> Duration {
        let mut command = self.command(store);
        command.current_dir(target);
        match self {
            Self::Ours => {
                let attempt = begin(store).await;
                let tree = DirTree::ambient(&target.join("restored")).unwrap();
                let (took, restored) = time(attempt.restore(tree, Existing::Refuse)).await;
                restored.unwrap();
                return took;
            }
            Self::Restic => command.args(["restore", "latest", "--target", "restored"]),
            Self::Borg => {
                let newest = Command::new("borg")
                    .args(["list", "--last", "1", "--format", "{archive}"])
                    .arg(store)
                    .output();
                let newest = String::from_utf8(newest.unwrap().stdout).unwrap();
                command.args(["extract", &format!("{}::{newest}", store.display())])
            }
        };
        // Ours is durable when it returns; the others leave that to the system.
        time(async {
            run(&mut command);
            run(Command::new("sync").arg("-f").arg(target));
        })
        .await
        .0
    }

    fn command(self, store: &Path) -> Command {
        let program = match self {
            Self::Ours => "true",
            Self::Restic => "restic",
            Self::Borg => "borg",
        };
        let mut command = Command::new(program);
        command
            .env("RESTIC_REPOSITORY", store)
            .env("RESTIC_PASSWORD", "benchmark")
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command
    }
}

async fn begin(store: &Path) -> Attempt {
    let location = Location::from_path(store).open().unwrap();
    // As many as the others keep, which is all: what a save stores is then the growth of its location.
    let settings = AttemptSettings::default().keep(NonZeroUsize::new(100).unwrap());
    Attempt::begin(location, settings).await.unwrap()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Returns the size of all files in a directory.
pub(crate) fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap();
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => size_of(&entry.path()),
            false => entry.metadata().unwrap().len(),
        }
    });
    sizes.sum()
}
