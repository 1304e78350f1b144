//! Learns to read handwritten digits, and survives its own death.
//!
//! `digits <csv> <model-out> [epochs]` trains a small neural network by stochastic gradient descent. It
//! saves a checkpoint after each epoch. A resumed attempt computes exactly what the interrupted one would
//! have, because the checkpoint includes the state of the random numbers.

mod network;

use std::error::Error;
use std::fs;

use network::Network;

/// The last images of the file are held back to test on, as is usual for this data set.
const TESTED: usize = 297;
const BATCH: usize = 10;
/// Identifies the layout of the state. Change it with the layout, so that other bytes are not misread.
const MAGIC: &[u8; 8] = b"digits 1";

/// An image of 8 × 8 grey values from 0 to 1, and the digit that it shows.
pub(crate) struct Example {
    pixels: [f32; 64],
    digit: usize,
}

/// Everything that the next epoch depends on.
struct State {
    epoch: u32,
    random: Random,
    network: Network,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (csv, model, epochs) = match &args[..] {
        [csv, model] => (csv, model, 60),
        [csv, model, epochs] => (csv, model, epochs.parse()?),
        _ => return Err("usage: digits <csv> <model-out> [epochs]".into()),
    };
    let examples = parse(&fs::read_to_string(csv)?)?;
    let train_count = examples
        .len()
        .checked_sub(TESTED)
        .ok_or("too few examples")?;
    let (train, test) = examples.split_at(train_count);

    let mut state = match task_checkpoint::read()? {
        Some(bytes) => {
            let state =
                State::from_bytes(&bytes).ok_or("the checkpoint belongs to another task")?;
            println!("resumed after epoch {}", state.epoch);
            state
        }
        None => State::new(),
    };
    while state.epoch < epochs {
        let loss = state.train(train);
        task_checkpoint::write(state.to_bytes())?;
        let right = test.iter().filter(|e| state.network.answer(e) == e.digit);
        let accuracy = right.count() as f32 / test.len() as f32;
        println!(
            "epoch {}: loss {loss:.4}, accuracy {accuracy:.3}",
            state.epoch
        );
        if task_checkpoint::stopping().is_some() {
            // Running the same command again resumes from here.
            return Ok(());
        }
    }
    fs::write(model, state.network.to_bytes())?;
    Ok(())
}

impl State {
    fn new() -> Self {
        let mut random = Random(1);
        let network = Network::new(|| random.between_minus_one_and_one());
        Self {
            epoch: 0,
            random,
            network,
        }
    }

    /// Runs one epoch: every example once, in a random order. Returns the mean loss.
    fn train(&mut self, examples: &[Example]) -> f32 {
        let mut order: Vec<&Example> = examples.iter().collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.random.below(last + 1));
        }
        let loss: f32 = order
            .chunks(BATCH)
            .map(|batch| self.network.learn(batch))
            .sum();
        self.epoch += 1;
        loss / examples.len() as f32
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.random.0.to_le_bytes());
        bytes.extend(self.network.to_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(MAGIC)?;
        let (epoch, bytes) = bytes.split_first_chunk()?;
        let (random, bytes) = bytes.split_first_chunk()?;
        Some(Self {
            epoch: u32::from_le_bytes(*epoch),
            random: Random(u64::from_le_bytes(*random)),
            network: Network::from_bytes(bytes)?,
        })
    }
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn between_minus_one_and_one(&mut self) -> f32 {
        // 24 bits, because an f32 holds no more of them exactly.
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Lines of 64 pixels from 0 to 16, and the digit.
fn parse(csv: &str) -> Result<Vec<Example>, Box<dyn Error>> {
    csv.lines()
        .map(|line| {
            let numbers: Vec<u8> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
            match numbers.split_last_chunk() {
                Some((pixels, &[digit @ 0..10])) if pixels.len() == 64 => Ok(Example {
                    pixels: std::array::from_fn(|i| f32::from(pixels[i]) / 16.0),
                    digit: digit.into(),
                }),
                _ => Err(format!("not 64 pixels and a digit: {line}").into()),
            }
        })
        .collect()
}
