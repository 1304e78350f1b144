//! Measures times and prints the lines of the table.

use std::time::{Duration, Instant};

/// Number of measurements per row.
pub(crate) const ROUNDS: usize = 5;

pub(crate) const MIB: usize = 1 << 20;

/// The target of a row.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// No target; the figure is for information.
    Nothing,
}

pub(crate) async fn time<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let value = work.await;
    (start.elapsed(), value)
}

/// Returns `a / b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Awaits both futures, `a` first in even rounds and `b` first in odd rounds, because the first one affects
/// the second (caches, for example).
pub(crate) async fn in_turn<A, B>(
    round: usize,
    a: impl Future<Output = A>,
    b: impl Future<Output = B>,
) -> (A, B) {
    if round.is_multiple_of(2) {
        let a = a.await;
        (a, b.await)
    } else {
        let b = b.await;
        (a.await, b)
    }
}

/// Prints a row: the median of its rounds, their minimum and maximum, and the target.
pub(crate) fn row(what: &str, mut rounds: Vec<f64>, target: Target) {
    rounds.sort_by(f64::total_cmp);
    let (least, most) = (rounds[0], rounds[rounds.len() - 1]);
    let median = rounds[rounds.len() / 2];
    let (wanted, met) = match target {
        Target::AtLeast(wanted) => (format!(">= {wanted}"), median >= wanted),
        Target::AtMost(wanted) => (format!("<= {wanted}"), median <= wanted),
        Target::Nothing => ("none".to_owned(), true),
    };
    let mark = if met { "" } else { "  MISSED" };
    println!(
        "{what:<58} {median:>7.2}  ({least:.2} to {most:.2}, {} rounds)  target {wanted}{mark}",
        rounds.len()
    );
}

/// Prints details of the previous row.
pub(crate) fn note(what: &str) {
    println!("    {what}");
}

/// Prints that a row cannot be measured on this machine, and what is missing.
pub(crate) fn skipped(what: &str, missing: &str) {
    println!("{what:<58} not measured; requires {missing}");
}

pub(crate) fn human_size(bytes: u64) -> String {
    let mib = bytes as f64 / MIB as f64;
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KiB", mib * 1024.0),
        _ => format!("{mib:.1} MiB"),
    }
}
