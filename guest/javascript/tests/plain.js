// Makes the calls of `task-checkpoint/plain`, and checks the answers. Run it twice at one location, with a directory
// `/data`: the second time resumes.

import * as ckpt from "task-checkpoint/plain";
import { equal, fails } from "./check.js";

function freshAttempt() {
  equal(ckpt.prevExists(), false);
  equal(ckpt.resumePoint(), undefined);
  equal(ckpt.read(), undefined);
  equal(ckpt.readText(), undefined);
  equal(ckpt.restore("/data/nothing"), undefined);
  ckpt.declareSchema("calls/1");

  const saved = ckpt.write("Grüße, 世界 🌍", { annotations: { step: 1 } });
  equal([saved.logicalBytes, typeof saved.sequence, typeof saved.uploadedBytes], [20n, "bigint", "bigint"]);
  equal(ckpt.readText(), "Grüße, 世界 🌍");
  ckpt.write("\ud800");
  equal(ckpt.readText(), "\ufffd");
  ckpt.write(Uint8Array.of(0xff, 0xfe));
  equal([...ckpt.read()], [0xff, 0xfe]);
  fails("other", () => ckpt.readText());
  ckpt.write(new Uint8Array());
  equal([ckpt.prevExists(), ckpt.read().length, ckpt.readText()], [true, 0, ""]);

  // There is no file API, so files come from a restore.
  const text = "a line of text\n".repeat(10_000);
  const { sequence, logicalBytes } = ckpt.write(text);
  equal(ckpt.readText() === text, true);
  equal(ckpt.restore("/data/tree/file").sequence, sequence);
  equal(ckpt.save("data/tree").logicalBytes, logicalBytes);
  ckpt.write("other");
  equal(ckpt.restore("/data/tree/second").annotations, {});
  fails("invalid-path", () => ckpt.restore("/data/tree/file"));
  ckpt.restore("/data/tree/file", { replace: true });
  ckpt.saveInBackground("/data/tree");
  equal(ckpt.flush().logicalBytes, 10n);
  equal(ckpt.flush(), undefined);
  equal(fails("not-single", () => ckpt.read()).files, 2n);
  fails("invalid-path", () => ckpt.save("/data/missing"));
  fails("invalid-path", () => ckpt.save("/elsewhere"));
  fails("invalid-path", () => ckpt.save("/data/../tmp"));
  fails("invalid-path", () => ckpt.save(""));
  fails("invalid-path", () => ckpt.save());

  equal(typeof ckpt.saveDue(), "boolean");
  equal([ckpt.stopping(), typeof ckpt.advice().now], [undefined, "boolean"]);
  equal(ckpt.limits().bytesLeft > 0n, true);
  equal(Object.values(ckpt.limits()).map((limit) => typeof limit).sort(), [...Array(5).fill("bigint"), "number"]);
  ckpt.writeInBackground("the end", { annotations: { step: 2 } });
}

function secondAttempt() {
  ckpt.declareSchema("calls/2");
  fails("schema-mismatch", () => ckpt.read());
  ckpt.declareSchema("calls/1");
  const point = ckpt.resumePoint();
  equal([point.schema, point.annotations, point.damaged], ["calls/1", { step: "2" }, undefined]);
  equal([typeof point.age, typeof point.sequence], ["number", "bigint"]);
  equal(ckpt.readText(), "the end");
  equal(ckpt.readContents().checkpoint.sequence, point.sequence);
}

/** Makes the calls. Returns whether this is the first attempt. */
export function calls() {
  const fresh = !ckpt.prevExists();
  if (fresh) freshAttempt();
  else secondAttempt();
  return fresh;
}

export const run = ckpt.task(() => void calls());
