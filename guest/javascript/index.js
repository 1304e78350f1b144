// The import `task:checkpoint` for tasks in JavaScript. `index.d.ts` describes the functions.

import * as checkpointer from "task:checkpoint/checkpointer@0.2.0";
import * as files from "task:checkpoint/files@0.2.0";
import * as streams from "task:checkpoint/streams@0.2.0";
import { getDirectories } from "wasi:filesystem/preopens@0.2.12";

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

export const save = (path, options) => located(path, (dir, rest) => files.save(dir, rest, pairs(options)));

export const saveInBackground = (path, options) =>
  located(path, (dir, rest) => files.saveInBackground(dir, rest, pairs(options)));

export function restore(path, options) {
  const existing = options?.replace ? "replace" : "refuse";
  const restored = located(path, (dir, rest) => files.restore(dir, rest, existing));
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

export const saveDue = () => advice().now;
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

/** Calls `work` with the directory of the task that contains `path`, and the path relative to it. */
function located(path, work) {
  const invalid = (why) => new CheckpointError("invalid-path", `${path}: ${why}`);
  // The host would take an empty path as the whole directory, which no slip should save or replace.
  if (typeof path !== "string" || path === "") throw invalid("the path is empty");
  const directories = getDirectories();
  try {
    const found = directories
      .map(([dir, name]) => [dir, beneath(name, path)])
      .filter(([, rest]) => rest !== undefined)
      .sort(([, a], [, b]) => a.length - b.length)[0];
    if (found === undefined) throw invalid("it is in no directory of this task; give it one with --dir");
    return call(() => work(...found));
  } finally {
    for (const [dir] of directories) dispose(dir);
  }
}

/** Returns `path` relative to the directory `name`, or `undefined` if it is not beneath it. */
function beneath(name, path) {
  // The working directory is the root, so absolute and relative paths are the same.
  const parts = (text) => text.split("/").filter((part) => part !== "" && part !== ".");
  const [directory, rest] = [parts(name), parts(path)];
  return directory.every((part, at) => rest[at] === part) ? rest.slice(directory.length).join("/") : undefined;
}
