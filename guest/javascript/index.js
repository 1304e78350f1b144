// The import `task:checkpoint` for tasks in JavaScript. `index.d.ts` describes the functions.

import * as streams from "task:checkpoint/streams@0.2.0";
import { CheckpointError, call, checkpoint, encode, pairs, saved } from "./shared.js";

export * from "./plain.js";

const dispose = (resource) => resource?.[Symbol.dispose]?.();

// The most that `blockingWriteAndFlush` accepts.
const PIECE_BYTES = 4096;

class SaveStream {
  #save;
  #contents;
  #size = 0n;

  constructor(options) {
    this.#save = call(() => streams.SaveStream.begin(pairs(options)));
    this.#contents = call(() => this.#save.contents());
  }

  write(piece) {
    const bytes = encode(piece);
    for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
      const part = bytes.subarray(start, start + PIECE_BYTES);
      try {
        this.#contents.blockingWriteAndFlush(part);
      } catch (error) {
        throw new CheckpointError("other", `the save has failed; commit it to get the reason (${error?.payload?.tag})`);
      }
      this.#size += BigInt(part.length);
    }
  }

  commit() {
    const save = this.#save;
    if (save === undefined) throw new CheckpointError("other", "the save is committed or closed");
    // The stream must be dropped before the commit, and the commit consumes the save.
    dispose(this.#contents);
    this.#contents = this.#save = undefined;
    return saved(call(() => streams.SaveStream.commit(save, this.#size)));
  }

  close() {
    dispose(this.#contents);
    dispose(this.#save);
    this.#contents = this.#save = undefined;
  }
}

export const saveStream = (options) => new SaveStream(options);

class ReadStream {
  #contents;

  constructor(reading) {
    this.#contents = reading.contents;
    this.size = reading.size;
    this.checkpoint = checkpoint(reading.checkpoint);
  }

  read(atMost = 1 << 16) {
    if (this.#contents === undefined) return undefined;
    try {
      return this.#contents.blockingRead(BigInt(atMost));
    } catch (error) {
      const payload = error?.payload;
      const why = payload?.tag === "last-operation-failed" ? payload.val.toDebugString() : undefined;
      this.close();
      if (payload?.tag === "closed") return undefined;
      throw new CheckpointError("other", why ?? error);
    }
  }

  *[Symbol.iterator]() {
    try {
      for (let piece = this.read(); piece !== undefined; piece = this.read()) yield piece;
    } finally {
      this.close();
    }
  }

  close() {
    dispose(this.#contents);
    this.#contents = undefined;
  }
}

export function readStream() {
  const reading = call(() => streams.read());
  return reading === undefined ? undefined : new ReadStream(reading);
}
