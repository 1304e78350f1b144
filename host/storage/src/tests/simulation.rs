//! Runs the storage crate in a simulated world: a seed decides its clock, storage, network and processes.
//!
//! Several attempts take over one location from each other while older ones still run and readers read.
//! Each may die at any moment. Requests fail before or after they take effect, are slow, overtake each other,
//! arrive after their sender has given up or died, and arrive twice. A list arrives in pages, and each page
//! shows the state at a different moment. An answer may break off. The crate makes no multipart uploads, so
//! there are no partial uploads.
//!
//! [`ledger`] holds the invariants. A seed always produces the same run: everything runs on one thread, with
//! a clock that advances only when nothing else can happen, and random numbers come from the seed.
//! [`Environment::simulated`](crate::environment::Environment) lists the other differences from production.
//!
//! `CHECKPOINT_SEEDS=100000 cargo test --lib simulation -- --nocapture` runs more seeds than the default,
//! starting with `CHECKPOINT_FIRST_SEED`. A failing seed prints its trace and the command that reruns it.

mod connection;
mod contents;
mod course;
mod dice;
mod ledger;
mod owner;
mod process;
mod store;
mod trace;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use course::Weather;
use dice::Dice;
use owner::Owner;
use process::{Habits, Process, Violated};
use store::{Lists, Shared};
use trace::Trace;

use crate::contents::read::list_objects;

/// The default number of seeds. They take a few seconds.
const SEEDS: u64 = 500;

/// The maximum lifetime of a process, in milliseconds.
const LIFE: u64 = 6000;

/// The result of one seed.
struct Run {
    trace: Trace,
    violations: Vec<String>,
}

fn run(seed: u64) -> Run {
    run_with(seed, Lists::Ordered)
}

fn run_with(seed: u64, lists: Lists) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let mut dice = Dice::new(seed);
        let shared = Shared::new(dice.split(), lists);
        let _ = live(&shared, &mut dice).await;
        let mut world = shared.lock();
        Run {
            trace: std::mem::take(&mut world.trace),
            violations: std::mem::take(&mut world.ledger.violations),
        }
    })
}

/// Runs the whole history of one location.
async fn live(shared: &Shared, dice: &mut Dice) -> Result<(), Violated> {
    let hasty = dice.chance(300);
    let habits = Habits {
        keep: if hasty { 1 } else { dice.within(1..4) as usize },
        thinks: if hasty { 5 } else { dice.pick(&[1, 20, 200]) },
        schema: dice.chance(300),
        afresh: None,
        hasty,
    };
    let weather = Weather::draw(dice);
    shared.lock().ledger.keep = habits.keep;
    let attempts = dice.within(if hasty { 4..12 } else { 2..7 });
    let afresh = dice
        .chance(300)
        .then(|| dice.within(1..attempts + 1) as u32);
    let habits = Habits { afresh, ..habits };
    let readers = dice.below(if hasty { 5 } else { 3 });
    let mut lives = JoinSet::new();
    for number in 1..=attempts + readers {
        let process = Process::new(shared, number as u32, weather.elsewhere(dice), dice.split());
        let begins = dice.millis(0..LIFE / 2);
        let lasts = dice.millis(1..LIFE);
        let (mut dice, habits) = (dice.split(), habits.clone());
        let connection = process.connection.clone();
        lives.spawn(async move {
            sleep(begins).await;
            let life = async {
                match number <= attempts {
                    true => attempt(&process, &habits, &mut dice).await,
                    false => reader(&process, &mut dice).await,
                }
            };
            let lived = timeout(lasts, life).await;
            connection.die();
            process.shared.note(process.number, "dies");
            lived.unwrap_or(Ok(()))
        });
    }
    while let Some(ended) = lives.join_next().await {
        match ended {
            Ok(lived) => lived?,
            Err(panicked) => {
                shared
                    .lock()
                    .violated(format!("a process panicked: {panicked}"));
            }
        }
    }
    shared.quiet().await;
    settle(
        &Process::new(shared, 90, Weather::FAIR, dice.split()),
        &habits,
        dice,
    )
    .await
}

async fn attempt(process: &Process, habits: &Habits, dice: &mut Dice) -> Result<(), Violated> {
    let Some(mut owner) = process.begin(habits).await? else {
        return Ok(());
    };
    owner.read().await?;
    // A fenced attempt stays fenced.
    let mut fenced = 0;
    while fenced < 3 {
        sleep(dice.millis(0..habits.thinks)).await;
        owner.step(habits, dice).await?;
        fenced += u32::from(owner.fenced);
    }
    Ok(())
}

async fn reader(process: &Process, dice: &mut Dice) -> Result<(), Violated> {
    loop {
        sleep(dice.millis(1..300)).await;
        process.look().await?;
    }
}

/// Once failures have stopped, checks that the location holds everything that was promised and nothing else.
async fn settle(process: &Process, habits: &Habits, dice: &mut Dice) -> Result<(), Violated> {
    process.look().await?;
    let begun = process.begin(habits).await?;
    let mut owner: Owner = begun.ok_or_else(|| {
        process.violated("no attempt can begin although failures have stopped".into())
    })?;
    owner.read().await?;
    for _ in 0..2 {
        owner.save(dice, None).await?;
        owner.read().await?;
    }
    owner.attempt.settle().await;
    process.look().await?;
    let failed = |error| {
        process.violated(format!(
            "a call failed although failures have stopped: {error:?}"
        ))
    };
    let verified = process.location.verify().await.map_err(failed)?;
    if !verified.findings.is_empty() {
        return Err(process.violated(format!("verify reported {:?}", verified.findings)));
    }
    let found = process.location.checkpoints().await.map_err(failed)?;
    let mut needed: Vec<_> = found
        .iter()
        .flat_map(|checkpoint| &checkpoint.commit.objects)
        .map(|object| object.name())
        .collect();
    needed.sort_unstable();
    needed.dedup();
    let mut stored = list_objects(&process.location).await.map_err(failed)?;
    stored.sort_unstable();
    let stored: Vec<_> = stored.into_iter().map(|(name, _)| name).collect();
    if stored != needed {
        return Err(process.violated(format!(
            "stored {stored:?} but the checkpoints need {needed:?}"
        )));
    }
    Ok(())
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")),
    )
}

fn fail(seed: u64, run: &Run) -> ! {
    println!("{}", run.trace.lines.join("\n"));
    panic!(
        "seed {seed}: {}\nto rerun it: CHECKPOINT_SEED={seed} cargo test --lib simulation -- --nocapture",
        run.violations.join("; ")
    );
}

#[test]
fn no_seed_loses_a_checkpoint() {
    if let Some(seed) = setting("CHECKPOINT_SEED") {
        let run = run(seed);
        match run.violations.is_empty() {
            true => println!("{}", run.trace.lines.join("\n")),
            false => fail(seed, &run),
        }
        return;
    }
    let (first, seeds) = (
        setting("CHECKPOINT_FIRST_SEED").unwrap_or(0),
        setting("CHECKPOINT_SEEDS"),
    );
    let end = first + seeds.unwrap_or(SEEDS);
    let started = Instant::now();
    let (next, found) = (AtomicU64::new(first), AtomicBool::new(false));
    let (operations, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while !found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let run = run(seed);
            operations.fetch_add(run.trace.operations, Ordering::Relaxed);
            failed.fetch_add(run.trace.failed, Ordering::Relaxed);
            if !run.violations.is_empty() {
                found.store(true, Ordering::Relaxed);
                fail(seed, &run);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let panicked = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().find_map(|thread| thread.join().err())
    });
    if let Some(panic) = panicked {
        std::panic::resume_unwind(panic);
    }
    println!(
        "{} seeds, {} operations ({} failed), in {:.1?}",
        end - first,
        operations.into_inner(),
        failed.into_inner(),
        started.elapsed()
    );
}

/// The kind of storage where [`with_ordered_lists`](crate::OpenLocation::with_ordered_lists) must not be used.
#[test]
fn unordered_lists_that_are_read_to_their_end_lose_nothing() {
    for seed in 0..50 {
        let run = run_with(seed, Lists::Unordered);
        if !run.violations.is_empty() {
            fail(seed, &run);
        }
    }
}

/// Otherwise the simulation could not show that the order of lists matters.
#[test]
fn unordered_lists_of_which_only_the_first_page_is_read_lose_checkpoints() {
    let broken = (0..100).find(|seed| {
        let run = run_with(*seed, Lists::WronglyTrusted);
        !run.violations.is_empty()
    });
    println!("found with seed {broken:?}");
    assert!(broken.is_some());
}

#[test]
fn a_seed_always_produces_the_same_run() {
    let twice = |seed| {
        let [one, other] = [0, 1].map(|_| run(seed).trace);
        (one, other)
    };
    for seed in 0..20 {
        let (one, other) = twice(seed);
        let differs = one.lines.iter().zip(&other.lines).find(|(a, b)| a != b);
        assert_eq!(one.hash(), other.hash(), "seed {seed}: {differs:?}");
        assert!(one.operations > 0);
    }
}
