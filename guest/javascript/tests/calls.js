// Makes the calls of the package, and checks the answers. Run it twice at one location, with a directory `/data`: the
// second time resumes.

import * as ckpt from "task-checkpoint";

function equal(found, expected) {
  const text = (value) => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? Number(part) : part));
  if (text(found) !== text(expected)) throw new Error(`${text(found)} is not ${text(expected)}`);
}

function fails(code, call) {
  try {
    call();
  } catch (error) {
    if (error instanceof ckpt.CheckpointError && error.code === code) return error;
    throw error;
  }
  throw new Error(`no error ${code}`);
}

function freshAttempt() {
  equal(ckpt.prevExists(), false);
  equal(ckpt.resumePoint(), undefined);
  equal(ckpt.read(), undefined);
  equal(ckpt.readStream(), undefined);
  equal(ckpt.restore("/data/nothing"), undefined);
  ckpt.declareSchema("calls/1");

  const saved = ckpt.write("text", { annotations: { step: 1 } });
  equal(saved.logicalBytes, 4n);
  equal(ckpt.readText(), "text");
  ckpt.write(new Uint8Array());
  equal(ckpt.prevExists(), true);
  equal(ckpt.read().length, 0);

  const stream = ckpt.saveStream();
  fails("quota-exceeded", () => ckpt.saveStream());
  for (let piece = 0; piece < 8; piece++) stream.write(new Uint8Array(100_000).fill(piece));
  equal(stream.commit().logicalBytes, 800_000n);
  fails("other", () => stream.commit());
  const lost = ckpt.saveStream();
  lost.write("lost");
  lost.close();
  const reading = ckpt.readStream();
  equal(reading.size, 800_000n);
  let size = 0;
  let last;
  for (const piece of reading) {
    size += piece.length;
    last = piece[piece.length - 1];
  }
  equal([size, last], [800_000, 7]);

  // There is no file API, so files come from a restore.
  equal(ckpt.restore("/data/tree/file").sequence, reading.checkpoint.sequence);
  equal(ckpt.save("data/tree").logicalBytes, 800_000n);
  ckpt.write("other");
  fails("invalid-path", () => ckpt.restore("/data/tree/file"));
  ckpt.restore("/data/tree/file", { replace: true });
  ckpt.saveInBackground("/data/tree");
  equal(ckpt.flush().logicalBytes, 5n);
  equal(ckpt.flush(), undefined);
  equal(ckpt.readText(), "other");
  fails("invalid-path", () => ckpt.save("/data/missing"));
  fails("invalid-path", () => ckpt.save("/elsewhere"));
  fails("invalid-path", () => ckpt.save("/data/../tmp"));
  fails("invalid-path", () => ckpt.save(""));

  equal(typeof ckpt.saveDue(), "boolean");
  equal(ckpt.stopping(), undefined);
  equal(ckpt.limits().bytesLeft > 0n, true);
  ckpt.writeInBackground("the end", { annotations: { step: 2 } });
  console.log("javascript: every call works");
}

export const run = ckpt.task(() => {
  if (!ckpt.prevExists()) return freshAttempt();
  ckpt.declareSchema("calls/2");
  fails("schema-mismatch", () => ckpt.read());
  ckpt.declareSchema("calls/1");
  const point = ckpt.resumePoint();
  equal([point.schema, point.annotations, point.damaged, typeof point.age], ["calls/1", { step: "2" }, undefined, "number"]);
  equal(ckpt.readText(), "the end");
  equal(ckpt.readContents().checkpoint.sequence, point.sequence);
  console.log("javascript: the second attempt resumes");
});
