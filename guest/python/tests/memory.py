"""Saves 10 GiB in pieces of 1 MiB, in three ways. Run it under a memory limit of 256 MiB."""

import os
import time

import task_checkpoint as ckpt

PIECE = 1 << 20
SAVES = 3 * 1024
STREAMED = 4 * 1024


@ckpt.task
def main():
    piece = bytearray(os.urandom(PIECE))
    began = time.monotonic()
    for number in range(SAVES):
        piece[:8] = number.to_bytes(8, "little")
        ckpt.write(piece)
    print(f"{SAVES} writes of 1 MiB: {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    for number in range(SAVES):
        piece[:8] = number.to_bytes(8, "big")
        ckpt.write_in_background(piece)
    ckpt.flush()
    print(f"{SAVES} background writes of 1 MiB: {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    with ckpt.save_stream() as stream:
        for number in range(STREAMED):
            piece[:8] = number.to_bytes(8, "little")
            stream.write(piece)
    print(f"a stream of {STREAMED} MiB: {time.monotonic() - began:.0f} s", flush=True)
    with ckpt.read_stream() as contents:
        left = contents.size
        while read := contents.read(PIECE):
            left -= len(read)
    assert left == 0
    print("python: 10 GiB are saved, and 4 GiB read, within the memory limit")
