"""Learns to read handwritten digits, and dies after epoch 6 of 12 in its first attempt.

Expects the directory of `guest/rust/examples/digits` as `/data`. The state of the random number generator is part of
the checkpoint, so an attempt that resumes computes exactly what the one that died would have computed.
"""

import csv
import hashlib
import math
import os
import pickle
import random
import sys

import task_checkpoint

EPOCHS = 12
# The number of images at the end of the file that are held back for testing, as is usual for this data set.
TESTED = 297


def answers(weights, pixels):
    """Returns the probability of each digit."""
    sums = [sum(w * p for w, p in zip(row, pixels)) for row in weights]
    top = max(sums)
    powers = [math.exp(value - top) for value in sums]
    total = sum(powers)
    return [power / total for power in powers]


def train(weights, images, shuffled):
    for index in shuffled:
        pixels, digit = images[index]
        for answer, probability in enumerate(answers(weights, pixels)):
            step = 0.05 * (probability - (answer == digit))
            weights[answer] = [w - step * p for w, p in zip(weights[answer], pixels)]


def right(weights, images):
    best = [max(range(10), key=answers(weights, pixels).__getitem__) == digit for pixels, digit in images]
    return sum(best) / len(best)


@task_checkpoint.task
def main():
    with open("/data/digits.csv", newline="") as file:
        rows = [[int(cell) for cell in row] for row in csv.reader(file)]
    images = [([cell / 16 for cell in row[:-1]] + [1.0], row[-1]) for row in rows]

    task_checkpoint.declare_schema("digits.py/1", task_checkpoint.SchemaChange.START_FRESH)
    state = task_checkpoint.read_stream()
    if state is None:
        epoch, weights, generator = 0, [[0.0] * 65 for _ in range(10)], random.Random(1)
    else:
        with state:
            epoch, weights, generator = pickle.load(state)
        print("resumed after epoch", epoch)
    dies = state is None and "--die" in sys.argv
    while epoch < EPOCHS:
        order = list(range(len(images) - TESTED))
        generator.shuffle(order)
        train(weights, images, order)
        epoch += 1
        with task_checkpoint.save_stream(annotations={"epoch": epoch}) as stream:
            pickle.dump((epoch, weights, generator), stream)
        print(f"epoch {epoch}: {right(weights, images[-TESTED:]):.1%} right")
        if dies and epoch == EPOCHS // 2:
            os.abort()
    print("model", hashlib.sha256(repr(weights).encode()).hexdigest()[:16])
