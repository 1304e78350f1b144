//! A plugin without WASI. It counts to a thousand and saves every hundred. Its name selects how it misbehaves, half
//! way and only in its first attempt. What follows a hyphen in the name is for people, except for `works-N-…`.
//!
//! | name | what it does |
//! |---|---|
//! | `works-N` | computes a million times N steps before each save |
//! | `greedy` | saves more than its quota, before each save |
//! | `traps`, `overflows` | traps, or exhausts its stack |
//! | `loops` | never returns |
//! | `hoards` | allocates until there is no memory left |
//! | `floods`, `stages` | saves without pause, in the foreground or the background |
//! | `reads` | reads its checkpoint without pause |
//! | `annotates` | passes annotations that are far larger than its memory |
//! | `fails` | makes calls that fail, without pause |

wit_bindgen::generate!({
    path: ["../../wit", "../../host/wasmtime/examples/plugins/plugin.wit"],
    world: "example:plugins/plugin",
    generate_all,
});

use std::hint::black_box;

use task::checkpoint::checkpointer::{self, ResumePoint};
use task::checkpoint::types::Error;

/// How many calls a plugin makes without pause.
const CALLS: u32 = 20_000;

struct Plugin;

export!(Plugin);

impl Guest for Plugin {
    fn run(name: String) -> Result<String, String> {
        let mut parts = name.split('-');
        let kind = parts.next().unwrap_or_default();
        let amount = parts.next().and_then(|part| part.parse().ok());
        let resumed = !matches!(checkpointer::get_resume_point(), Ok(ResumePoint::Fresh));
        let from = match checkpointer::read().map_err(text)? {
            Some(contents) => *contents.bytes.last().ok_or("an empty checkpoint")?,
            None => 0,
        };
        for hundred in from + 1..=10 {
            let mut state = vec![0; 1];
            match kind {
                "greedy" => {
                    state.resize(usize::from(hundred) << 20, 0);
                    scramble(&mut state, hundred);
                }
                "works" => compute(amount.unwrap_or(0)),
                _ => {}
            }
            state.push(hundred);
            checkpointer::write(&state, &[]).map_err(text)?;
            if hundred == 5 && !resumed {
                misbehave(kind, &state);
            }
        }
        Ok(format!("resumed from {from}00"))
    }
}

fn misbehave(kind: &str, state: &[u8]) {
    match kind {
        "traps" => panic!("this plugin traps, as its name says"),
        "overflows" => _ = deep(0),
        "loops" => loop {
            std::hint::spin_loop();
        },
        "hoards" => hoard(),
        "floods" => (0..CALLS).for_each(|_| drop(checkpointer::write(state, &[]))),
        "stages" => {
            let mut large = vec![0; 1 << 20];
            large.extend(state);
            (0..CALLS).for_each(|_| drop(checkpointer::write_in_background(&large, &[])));
        }
        "reads" => (0..CALLS).for_each(|_| drop(checkpointer::read())),
        "annotates" => {
            let key = "k".repeat(1 << 20);
            let alias = || {
                // SAFETY: nobody changes or drops these strings, which are all the same.
                unsafe { String::from_raw_parts(key.as_ptr().cast_mut(), key.len(), key.len()) }
            };
            let pairs: Vec<_> = (0..1000).map(|_| (alias(), String::new())).collect();
            drop(checkpointer::write(state, &pairs));
            std::mem::forget(pairs);
        }
        "fails" => {
            let pair = ("k".repeat(1 << 20), String::new());
            let pairs = [pair];
            (0..CALLS).for_each(|_| drop(checkpointer::write(state, &pairs)));
        }
        _ => {}
    }
}

/// Takes about a millisecond for each million steps.
fn compute(millions: u64) {
    let mut state = 1_u64;
    for _ in 0..millions * 1_000_000 {
        state = black_box(state.wrapping_mul(167).wrapping_add(1));
    }
}

/// Recurses until the stack is exhausted.
#[expect(
    unconditional_recursion,
    reason = "the plugin overflows its stack on purpose"
)]
fn deep(depth: u64) -> u64 {
    black_box(depth + deep(black_box(depth + 1)))
}

/// Allocates memory until there is none left.
fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
    }
}

/// Fills `bytes` with incompressible data.
fn scramble(bytes: &mut [u8], seed: u8) {
    let mut state = u64::from(seed) + 1;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
}

fn text(error: Error) -> String {
    match error {
        Error::QuotaExceeded(_) => "quota-exceeded".into(),
        other => format!("{other:?}"),
    }
}
