import type { Checkpoint, SaveOptions, Saved } from "./plain.js";

export * from "./plain.js";

/** A save whose contents are written in pieces. Nothing is saved unless it is committed. */
export interface SaveStream {
  write(piece: Uint8Array | string): void;
  /** Replaces the checkpoint with what was written. */
  commit(): Saved;
  /** Drops the stream. Saves nothing if it is not committed. */
  close(): void;
}

/** Begins a save whose contents are larger than memory. Only one stream may be open at a time. */
export function saveStream(options?: SaveOptions): SaveStream;

/** The contents of a checkpoint in pieces. It is closed at its end, or by `close`. */
export interface ReadStream extends Iterable<Uint8Array> {
  readonly size: bigint;
  readonly checkpoint: Checkpoint;
  /** Returns the next piece, or `undefined` at the end. */
  read(atMost?: number): Uint8Array | undefined;
  close(): void;
}

/** Returns what `read` would return as a stream, or `undefined` if there is no checkpoint. */
export function readStream(): ReadStream | undefined;
