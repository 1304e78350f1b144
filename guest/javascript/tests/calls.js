// Checks what the package adds to the import; `guest/conformance` checks the rest. Run it twice at one location, with a
// directory `/data`: the second time resumes.

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
  equal(ckpt.readStream(), undefined);
  const saved = ckpt.write("naïve", { annotations: { step: 1 } });
  equal(saved.logicalBytes, 6n);
  equal(ckpt.readText(), "naïve");
  equal(ckpt.readContents().checkpoint.annotations, { step: "1" });

  const stream = ckpt.saveStream();
  fails("quota-exceeded", () => ckpt.saveStream());
  stream.write("text and ");
  stream.write(new TextEncoder().encode("bytes"));
  equal(stream.commit().logicalBytes, 14n);
  fails("other", () => stream.commit());
  stream.close();
  const reading = ckpt.readStream();
  equal(reading.size, 14n);
  equal([...reading].length > 0, true);
  equal(reading.read(), undefined);

  equal(ckpt.restore("/data/a").sequence, reading.checkpoint.sequence);
  ckpt.writeInBackground("the end", { annotations: { step: 2 } });
  equal(ckpt.flush().logicalBytes, 7n);
  equal(ckpt.flush(), undefined);
  fails("invalid-path", () => ckpt.save(undefined));
  equal(ckpt.stopping(), undefined);
  console.log("javascript: the package's own checks pass");
}

export const run = ckpt.task(() => {
  if (!ckpt.prevExists()) return freshAttempt();
  const point = ckpt.resumePoint();
  equal([point.annotations, point.damaged, typeof point.age], [{ step: "2" }, undefined, "number"]);
  equal(ckpt.readContents().checkpoint.sequence, point.sequence);
  console.log("javascript: the second attempt resumes");
});
