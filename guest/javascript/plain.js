// All calls but streams, which need resources. `plain.d.ts` describes them.

import * as checkpointer from "task:checkpoint/checkpointer@0.2.0";
import * as paths from "task:checkpoint/paths@0.2.0";
import { CheckpointError, call, checkpoint, decode, encode, pairs, saved } from "./shared.js";

export { CheckpointError };

/** Checks a path, which the host resolves. Anything else would become a string such as "undefined". */
function text(path) {
  if (typeof path !== "string") throw new CheckpointError("invalid-path", `a path is a string, not ${typeof path}`);
  return path;
}

export const prevExists = () => call(() => checkpointer.prevExists());

export function resumePoint() {
  const { tag, val } = call(() => checkpointer.getResumePoint());
  switch (tag) {
    case "resumed":
      return checkpoint(val);
    case "fell-back":
      return { ...checkpoint(val.checkpoint), damaged: BigInt(val.damaged), reason: val.reason };
    default:
      return undefined;
  }
}

export function readContents() {
  const contents = call(() => checkpointer.read());
  return contents && { bytes: contents.bytes, checkpoint: checkpoint(contents.checkpoint) };
}

export const read = () => readContents()?.bytes;

export function readText() {
  const contents = read();
  return contents && decode(contents);
}

export const write = (contents, options) => saved(call(() => checkpointer.write(encode(contents), pairs(options))));

export const writeInBackground = (contents, options) =>
  call(() => checkpointer.writeInBackground(encode(contents), pairs(options)));

export const save = (path, options) => saved(call(() => paths.save(text(path), pairs(options))));

export const saveInBackground = (path, options) => call(() => paths.saveInBackground(text(path), pairs(options)));

export function restore(path, options) {
  const existing = options?.replace ? "replace" : "refuse";
  const restored = call(() => paths.restore(text(path), existing));
  return restored && checkpoint(restored);
}

export const flush = () => saved(call(() => checkpointer.flush()));

export function advice() {
  const { now, stopping } = checkpointer.shouldSave();
  return { now, stopping: stopping == null ? undefined : Number(stopping) };
}

export const saveDue = () => checkpointer.saveDue();
export const stopping = () => advice().stopping;
export const declareSchema = (name, change = "refuse") => call(() => checkpointer.declareSchema(name, change));

export function limits() {
  const { savesPerMinute, ...sizes } = call(() => checkpointer.getLimits());
  for (const name in sizes) sizes[name] = BigInt(sizes[name]);
  return { ...sizes, savesPerMinute };
}

export function task(body) {
  return {
    run() {
      try {
        body();
      } catch (error) {
        // QuickJS has no console, but prints what is thrown.
        if (typeof console === "undefined") throw error;
        console.error(`${error?.stack ? `${error}\n${error.stack}` : error}`);
        // What is thrown here becomes the error of `wasi:cli/run`, which has no value.
        throw undefined;
      }
    },
  };
}
