// What the modules of this package share. The engines differ: StarlingMonkey turns a `u64` into a BigInt and `none`
// into undefined, and QuickJS makes them a number and null, and has neither a console nor TextEncoder. Nothing of that
// is seen outside of this file.

export class CheckpointError extends Error {
  constructor(code, value) {
    super(MESSAGES[code] ?? String(value));
    this.name = "CheckpointError";
    this.code = code;
    if (code === "not-single") this.files = BigInt(value);
  }
}

const MESSAGES = {
  fenced: "a newer attempt of this task has begun",
  "not-single": "the checkpoint does not hold exactly one file; use restore",
};

/** Calls a function of the import, and converts what it throws. Returns undefined for `none`. */
export function call(work) {
  try {
    return work() ?? undefined;
  } catch (error) {
    const payload = error?.payload;
    if (payload?.tag === undefined) throw error;
    throw new CheckpointError(payload.tag, payload.val);
  }
}

export const pairs = (options) =>
  Object.entries(options?.annotations ?? {}).map(([key, value]) => [key, String(value)]);

export const checkpoint = (found) => ({
  sequence: BigInt(found.sequence),
  attempt: found.attempt,
  age: Number(found.age),
  annotations: Object.fromEntries(found.annotations),
  schema: found.schema ?? undefined,
});

export const saved = (result) =>
  result && {
    sequence: BigInt(result.sequence),
    logicalBytes: BigInt(result.logicalBytes),
    uploadedBytes: BigInt(result.uploadedBytes),
  };

/** Converts text to UTF-8. Returns bytes as they are. */
export function encode(contents) {
  if (typeof contents !== "string") return contents;
  if (typeof TextEncoder !== "undefined") return new TextEncoder().encode(contents);
  const bytes = unescape(encodeURIComponent(contents.toWellFormed()));
  return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
}

// More arguments could exceed the engine's stack.
const ARGUMENTS = 4096;

/** Converts UTF-8 to text. */
export function decode(bytes) {
  try {
    if (typeof TextDecoder !== "undefined") {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    }
    let text = "";
    for (let start = 0; start < bytes.length; start += ARGUMENTS) {
      text += String.fromCharCode(...bytes.subarray(start, start + ARGUMENTS));
    }
    return decodeURIComponent(escape(text));
  } catch {
    throw new CheckpointError("other", "the checkpoint is not UTF-8 text; use read");
  }
}
