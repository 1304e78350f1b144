/** Why a call failed: one case for each way that a caller can react. */
export type ErrorCode =
  /** A newer attempt of this task has begun, so this attempt can save nothing more. Stop. */
  | "fenced"
  /** The checkpoint holds `files` files instead of one. Use `restore`. */
  | "not-single"
  /** Every checkpoint that could be returned is damaged. Retrying does not help. */
  | "corrupt"
  /** The storage cannot be reached or temporarily refuses requests. Retry later. A save may still take effect. */
  | "unavailable"
  /** A limit of the host is reached. Save less, or less often. */
  | "quota-exceeded"
  /** The path is in no directory of the task, does not name what the call needs, or cannot be stored. */
  | "invalid-path"
  /** This task is not permitted to write to the target or to the storage. */
  | "read-only"
  /** The checkpoint's schema is not the one that this task declared. */
  | "schema-mismatch"
  | "other";

/** The error that every function here throws. */
export class CheckpointError extends Error {
  readonly code: ErrorCode;
  /** The number of files, if `code` is `not-single`. */
  readonly files?: bigint;
}

/** Notes for people and tools, such as a step or a loss. */
export type Annotations = Record<string, string | number | bigint>;

export interface SaveOptions {
  annotations?: Annotations;
}

/** The result of a save. */
export interface Saved {
  /** The checkpoint's position in the log. */
  sequence: bigint;
  logicalBytes: bigint;
  /** The number of bytes uploaded for this save, including its record. */
  uploadedBytes: bigint;
}

/** A committed checkpoint. */
export interface Checkpoint {
  /** Its position in the log. */
  sequence: bigint;
  /** The number of the attempt that saved it. The first attempt is 0. */
  attempt: number;
  /** The time since it was saved, in milliseconds. */
  age: number;
  annotations: Record<string, string>;
  schema?: string;
}

/** What this attempt resumes from. */
export interface ResumePoint extends Checkpoint {
  /** The newest damaged checkpoint that was skipped, if this attempt fell back to an older one. */
  damaged?: bigint;
  /** A description of the damage. */
  reason?: string;
}

/** Returns whether there is a checkpoint that `read` or `restore` would return. */
export function prevExists(): boolean;

/** Returns what this attempt resumes from, or `undefined` if no earlier attempt has saved anything. */
export function resumePoint(): ResumePoint | undefined;

/** Returns the contents of the checkpoint's only file, or `undefined` if there is no checkpoint. */
export function read(): Uint8Array | undefined;

/** The contents of a checkpoint, and which checkpoint they are. */
export interface Contents {
  bytes: Uint8Array;
  checkpoint: Checkpoint;
}

/** Like `read`, and says which checkpoint the contents are. */
export function readContents(): Contents | undefined;

/** Returns what `read` would return as text. Throws `other` if it is not UTF-8. */
export function readText(): string | undefined;

/** Replaces the checkpoint with these bytes, or with this text. It is durable when this returns. */
export function write(contents: Uint8Array | string, options?: SaveOptions): Saved;

/** Like `write`, but returns once the host has its own copy. `flush` waits until it is durable. */
export function writeInBackground(contents: Uint8Array | string, options?: SaveOptions): void;

/** Replaces the checkpoint with the file or directory at `path`. */
export function save(path: string, options?: SaveOptions): Saved;

/** Like `save`, but returns once the host has its own copy. `flush` waits until it is durable. */
export function saveInBackground(path: string, options?: SaveOptions): void;

/**
 * Makes `path` equal to the checkpoint. Returns the checkpoint, or `undefined` if there is none. Throws `invalid-path`
 * if the target has other content, unless `replace` is true.
 */
export function restore(path: string, options?: { replace?: boolean }): Checkpoint | undefined;

/** Waits until no background save is in flight, and returns the newest one since the last `flush`. */
export function flush(): Saved | undefined;

export interface Advice {
  /** Whether this is a good time to save. */
  now: boolean;
  /** If the host has asked the task to stop: the milliseconds until it ends the task. Save, then return. */
  stopping?: number;
}

/** Returns the host's advice. Cheap: call it at every step. */
export function advice(): Advice;

/** Returns whether this is a good time to save. */
export function saveDue(): boolean;

/** Returns the milliseconds until the host ends the task, if it has asked the task to stop. */
export function stopping(): number | undefined;

/** What to do with a checkpoint whose schema is not the declared one. */
export type SchemaChange = "refuse" | "start-fresh" | "allow";

/** Declares the schema of what this task saves. Call it before reading anything. */
export function declareSchema(name: string, change?: SchemaChange): void;

export interface Limits {
  checkpointBytes: bigint;
  bytesLeft: bigint;
  entries: bigint;
  pathBytes: bigint;
  annotationBytes: bigint;
  savesPerMinute: number;
}

/** Returns the host's limits. */
export function limits(): Limits;

/**
 * Makes a function the task of the component: `export const run = task(() => { … })`. If the function throws, the
 * component fails with exit code 1, or traps if its engine is QuickJS. Either prints the error to stderr.
 */
export function task(body: () => void): { run(): void };
