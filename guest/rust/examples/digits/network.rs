//! A neural network of 64 inputs, one hidden layer (ReLU) and ten outputs (softmax).

use crate::Example;

const INPUTS: usize = 64;
const HIDDEN: usize = 256;
const OUTPUTS: usize = 10;
const RATE: f32 = 0.05;

/// The input weights and the bias of each neuron in a layer.
type Layer<const IN: usize, const OUT: usize> = [([f32; IN], f32); OUT];

#[derive(Clone)]
pub(crate) struct Network {
    hidden: Layer<INPUTS, HIDDEN>,
    output: Layer<HIDDEN, OUTPUTS>,
}

impl Network {
    /// Creates an untrained network. `random` returns numbers between -1 and 1.
    pub(crate) fn new(mut random: impl FnMut() -> f32) -> Self {
        Self {
            hidden: layer(&mut random),
            output: layer(&mut random),
        }
    }

    /// Returns the digit that this image most likely shows.
    pub(crate) fn answer(&self, example: &Example) -> usize {
        let (_, chances) = self.forward(example);
        (0..OUTPUTS).fold(0, |best, digit| {
            if chances[digit] > chances[best] {
                digit
            } else {
                best
            }
        })
    }

    /// Takes one gradient descent step on a batch. Returns the sum of the losses.
    pub(crate) fn learn(&mut self, batch: &[&Example]) -> f32 {
        let before = self.clone();
        let rate = RATE / batch.len() as f32;
        let mut loss = 0.0;
        for example in batch {
            let (hidden, mut slopes) = before.forward(example);
            loss -= slopes[example.digit].max(f32::MIN_POSITIVE).ln();
            slopes[example.digit] -= 1.0;

            let mut hidden_slopes = [0.0; HIDDEN];
            for ((weights, _), slope) in before.output.iter().zip(slopes) {
                for i in 0..HIDDEN {
                    hidden_slopes[i] += slope * weights[i];
                }
            }
            for i in 0..HIDDEN {
                if hidden[i] == 0.0 {
                    hidden_slopes[i] = 0.0;
                }
            }
            descend(&mut self.output, &hidden, &slopes, rate);
            descend(&mut self.hidden, &example.pixels, &hidden_slopes, rate);
        }
        loss
    }

    /// Returns the outputs of the hidden layer, and the probability of each digit.
    fn forward(&self, example: &Example) -> ([f32; HIDDEN], [f32; OUTPUTS]) {
        let hidden = apply(&self.hidden, &example.pixels).map(|x| x.max(0.0));
        let outputs = apply(&self.output, &hidden);
        let greatest = outputs.into_iter().fold(f32::MIN, f32::max);
        let powers = outputs.map(|x| (x - greatest).exp());
        let sum: f32 = powers.iter().sum();
        (hidden, powers.map(|x| x / sum))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        append(&self.hidden, &mut bytes);
        append(&self.output, &mut bytes);
        bytes
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut numbers = std::iter::from_fn(|| {
            let (number, rest) = bytes.split_first_chunk()?;
            bytes = rest;
            Some(f32::from_le_bytes(*number))
        });
        let network = Self {
            hidden: take(&mut numbers)?,
            output: take(&mut numbers)?,
        };
        bytes.is_empty().then_some(network)
    }
}

fn layer<const IN: usize, const OUT: usize>(random: &mut impl FnMut() -> f32) -> Layer<IN, OUT> {
    // Keeps a layer's outputs about as large as its inputs.
    let scale = (6.0 / IN as f32).sqrt();
    std::array::from_fn(|_| (std::array::from_fn(|_| random() * scale), 0.0))
}

fn apply<const IN: usize, const OUT: usize>(
    layer: &Layer<IN, OUT>,
    inputs: &[f32; IN],
) -> [f32; OUT] {
    std::array::from_fn(|i| {
        let (weights, bias) = &layer[i];
        weights
            .iter()
            .zip(inputs)
            .fold(*bias, |sum, (weight, input)| sum + weight * input)
    })
}

fn descend<const IN: usize, const OUT: usize>(
    layer: &mut Layer<IN, OUT>,
    inputs: &[f32; IN],
    slopes: &[f32; OUT],
    rate: f32,
) {
    for ((weights, bias), slope) in layer.iter_mut().zip(slopes) {
        for (weight, input) in weights.iter_mut().zip(inputs) {
            *weight -= rate * slope * input;
        }
        *bias -= rate * slope;
    }
}

fn append<const IN: usize, const OUT: usize>(layer: &Layer<IN, OUT>, bytes: &mut Vec<u8>) {
    for (weights, bias) in layer {
        for number in weights.iter().chain([bias]) {
            bytes.extend(number.to_le_bytes());
        }
    }
}

fn take<const IN: usize, const OUT: usize>(
    numbers: &mut impl Iterator<Item = f32>,
) -> Option<Layer<IN, OUT>> {
    let mut layer = [([0.0; IN], 0.0); OUT];
    for (weights, bias) in &mut layer {
        for number in weights.iter_mut().chain([bias]) {
            *number = numbers.next()?;
        }
    }
    Some(layer)
}
