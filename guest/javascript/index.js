// The import `task:checkpoint` for tasks in JavaScript. `index.d.ts` describes the functions.

import * as checkpointer from "task:checkpoint/checkpointer@0.2.0";
import * as paths from "task:checkpoint/paths@0.2.0";
import * as streams from "task:checkpoint/streams@0.2.0";

export class CheckpointError extends Error {
  constructor(code, value) {
    super(MESSAGES[code] ?? String(value));
    this.name = "CheckpointError";
    this.code = code;
    if (code === "not-single") this.files = value;
  }
}

const MESSAGES = {
  fenced: "a newer attempt of this task has begun",
  "not-single": "the checkpoint does not hold exactly one file; use restore",
};

/** Calls a function of the import, and converts what it throws. */
function call(work) {
  try {
    return work();
  } catch (error) {
    const payload = error?.payload;
    if (payload?.tag === undefined) throw error;
    throw new CheckpointError(payload.tag, payload.val);
  }
}

const pairs = (options) => Object.entries(options?.annotations ?? {}).map(([key, value]) => [key, String(value)]);
const encode = (contents) => (typeof contents === "string" ? new TextEncoder().encode(contents) : contents);

/** Checks a path, which the host resolves. Anything else would become a string such as "undefined". */
function text(path) {
  if (typeof path !== "string") throw new CheckpointError("invalid-path", `a path is a string, not ${typeof path}`);
  return path;
}

const dispose = (resource) => resource?.[Symbol.dispose]?.();

export const prevExists = () => call(() => checkpointer.prevExists());

export function resumePoint() {
  const { tag, val } = call(() => checkpointer.getResumePoint());
  switch (tag) {
    case "resumed":
      return checkpoint(val);
    case "fell-back":
      return { ...checkpoint(val.checkpoint), damaged: val.damaged, reason: val.reason };
    default:
      return undefined;
  }
}

const checkpoint = (found) => ({
  ...found,
  age: Number(found.age),
  annotations: Object.fromEntries(found.annotations),
});

export function readContents() {
  const contents = call(() => checkpointer.read());
  return contents && { bytes: contents.bytes, checkpoint: checkpoint(contents.checkpoint) };
}

export const read = () => readContents()?.bytes;

export function readText() {
  const contents = read();
  return contents === undefined ? undefined : new TextDecoder().decode(contents);
}

export const write = (contents, options) => call(() => checkpointer.write(encode(contents), pairs(options)));

export const writeInBackground = (contents, options) =>
  call(() => checkpointer.writeInBackground(encode(contents), pairs(options)));

export const save = (path, options) => call(() => paths.save(text(path), pairs(options)));

export const saveInBackground = (path, options) =>
  call(() => paths.saveInBackground(text(path), pairs(options)));

export function restore(path, options) {
  const existing = options?.replace ? "replace" : "refuse";
  const restored = call(() => paths.restore(text(path), existing));
  return restored && checkpoint(restored);
}

export const flush = () => call(() => checkpointer.flush());

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
    return call(() => streams.SaveStream.commit(save, this.#size));
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

export function advice() {
  const { now, stopping } = checkpointer.shouldSave();
  return { now, stopping: stopping === undefined ? undefined : Number(stopping) };
}

export const saveDue = () => checkpointer.saveDue();
export const stopping = () => advice().stopping;
export const declareSchema = (name, change = "refuse") => call(() => checkpointer.declareSchema(name, change));
export const limits = () => call(() => checkpointer.getLimits());

export function task(body) {
  return {
    run() {
      try {
        body();
      } catch (error) {
        console.error(`${error?.stack ? `${error}\n${error.stack}` : error}`);
        // What is thrown here becomes the error of `wasi:cli/run`, which has no value.
        throw undefined;
      }
    },
  };
}
