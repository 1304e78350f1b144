"""Saves 10 GiB in pieces of 1 MiB, in three ways. Run it under a memory limit of 256 MiB.

An argument is another number of MiB.
"""

import os
import sys
import time

import task_checkpoint as ckpt

PIECE = 1 << 20


@ckpt.task
def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10 * 1024
    saves, streamed = total * 3 // 10, total * 4 // 10
    piece = bytearray(os.urandom(PIECE))
    began = time.monotonic()
    for number in range(saves):
        piece[:8] = number.to_bytes(8, "little")
        ckpt.write(piece)
    print(f"{saves} writes of 1 MiB: {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    for number in range(saves):
        piece[:8] = number.to_bytes(8, "big")
        ckpt.write_in_background(piece)
    ckpt.flush()
    print(f"{saves} background writes of 1 MiB: {time.monotonic() - began:.0f} s", flush=True)
    began = time.monotonic()
    with ckpt.save_stream() as stream:
        for number in range(streamed):
            piece[:8] = number.to_bytes(8, "little")
            stream.write(piece)
    print(f"a stream of {streamed} MiB: {time.monotonic() - began:.0f} s", flush=True)
    with ckpt.read_stream() as contents:
        left = contents.size
        while read := contents.read(PIECE):
            left -= len(read)
    assert left == 0
    print(f"python: {total} MiB are saved, and {streamed} MiB read, within the memory limit")
