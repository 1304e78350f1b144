// Performs the commands of the conformance suite with the functions of this package. It takes them as an argument,
// because an engine that does not support resources has no streams.

export class Guest {
  #ckpt;
  // The annotations of the next save.
  #annotations = {};
  #saving;
  #reading;

  constructor(ckpt) {
    this.#ckpt = ckpt;
  }

  /** Performs a command, and returns the answer. */
  answer(line) {
    const [command, rest] = split(line);
    try {
      return this.#perform(command, rest);
    } catch (error) {
      if (!(error instanceof this.#ckpt.CheckpointError)) throw error;
      // The package has one class of errors; those of streams come from `stream` and `end-read`.
      return ["stream", "stream-pattern", "end-read"].includes(command) ? "error stream" : `error ${error.code}`;
    }
  }

  #perform(command, rest) {
    const ckpt = this.#ckpt;
    switch (command) {
      case "prev-exists":
        return `${ckpt.prevExists()}`;
      case "resume-point": {
        const point = ckpt.resumePoint();
        return point === undefined ? "fresh" : point.damaged === undefined ? "resumed" : "fell-back";
      }
      case "resume-position":
        return position(ckpt.resumePoint());
      case "read":
        return described(ckpt.read());
      case "read-position":
        return position(ckpt.readContents()?.checkpoint);
      case "read-annotations": {
        const contents = ckpt.readContents();
        if (contents === undefined) return "none";
        const notes = Object.entries(contents.checkpoint.annotations).map(([key, value]) => ` ${key}=${value}`);
        return `annotations${notes.sort().join("")}`;
      }
      case "read-schema": {
        const contents = ckpt.readContents();
        if (contents === undefined) return "none";
        const { schema } = contents.checkpoint;
        return schema === undefined ? "no-schema" : `schema ${schema}`;
      }
      case "annotate": {
        const [key, value] = split(rest);
        this.#annotations[key] = value;
        return "ok";
      }
      case "write":
        return saved(ckpt.write(rest, this.#options()));
      case "write-pattern":
        return saved(ckpt.write(pattern(rest), this.#options()));
      case "write-in-background":
        ckpt.writeInBackground(rest, this.#options());
        return "ok";
      case "write-pattern-in-background":
        ckpt.writeInBackground(pattern(rest), this.#options());
        return "ok";
      case "save":
        return saved(ckpt.save(rest, this.#options()));
      case "save-in-background":
        ckpt.saveInBackground(rest, this.#options());
        return "ok";
      case "flush":
        ckpt.flush();
        return "ok";
      case "restore":
        return ckpt.restore(rest) === undefined ? "none" : "restored";
      case "replace":
        return ckpt.restore(rest, { replace: true }) === undefined ? "none" : "restored";
      case "declare-schema":
        ckpt.declareSchema(...split(rest));
        return "ok";
      case "begin-save": {
        // An open stream is not replaced if this fails.
        const stream = ckpt.saveStream(this.#options());
        this.#saving = stream;
        return "open";
      }
      case "stream":
        this.#saving.write(rest);
        return "ok";
      case "stream-pattern":
        this.#saving.write(pattern(rest));
        return "ok";
      case "commit":
        return saved(this.#saving.commit());
      case "abort":
        this.#saving.close();
        return "ok";
      case "begin-read": {
        const stream = ckpt.readStream();
        if (stream === undefined) return "none";
        this.#reading = stream;
        return "open";
      }
      case "end-read":
        return described(joined([...this.#reading]));
      case "save-due":
        return `${ckpt.saveDue()}`;
      case "advice": {
        const { now, stopping } = ckpt.advice();
        return `now=${now} stopping=${stopping !== undefined}`;
      }
      case "limits": {
        const limits = ckpt.limits();
        const { checkpointBytes, entries, pathBytes, annotationBytes, savesPerMinute } = limits;
        return `limits ${checkpointBytes} ${entries} ${pathBytes} ${annotationBytes} ${savesPerMinute}`;
      }
      case "bytes-left":
        return `${ckpt.limits().bytesLeft}`;
      default:
        return `unknown command ${command}`;
    }
  }

  /** Returns the options of the next save, and forgets its annotations. */
  #options() {
    const annotations = this.#annotations;
    this.#annotations = {};
    return { annotations };
  }
}

/** Splits at the first space. */
function split(text) {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

const saved = () => "saved";
const position = (checkpoint) => (checkpoint === undefined ? "none" : `position ${checkpoint.sequence}`);

/** Returns `SIZE` bytes that do not repeat, from the arguments `SEED SIZE`. */
function pattern(text) {
  const [seed, size] = text.split(" ").map(Number);
  // WebAssembly is little-endian.
  const words = new Uint32Array(size / 4);
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    words[at] = state;
  }
  return new Uint8Array(words.buffer);
}

function joined(pieces) {
  const bytes = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Converts short UTF-8 to text. QuickJS has no TextDecoder. */
export function decode(bytes) {
  if (typeof TextDecoder !== "undefined") return new TextDecoder().decode(bytes);
  return decodeURIComponent(escape(String.fromCharCode(...bytes)));
}

/** Converts text to UTF-8. */
export function encode(text) {
  if (typeof TextEncoder !== "undefined") return new TextEncoder().encode(text);
  return Uint8Array.from(unescape(encodeURIComponent(text)), (byte) => byte.charCodeAt(0));
}

/** Returns short contents as text, and others as their size and a checksum. */
function described(bytes) {
  if (bytes === undefined) return "none";
  if (bytes.length === 0) return "empty";
  if (bytes.length < 100) return `text ${decode(bytes)}`;
  let sum = 0;
  for (let start = 0; start < bytes.length; start += 4096) {
    const end = Math.min(start + 4096, bytes.length);
    let added = 0;
    for (let at = start; at < end; at++) added += bytes[at];
    sum = (Math.imul(sum, 31) + added) | 0;
  }
  return `bytes ${bytes.length} ${sum >>> 0}`;
}
