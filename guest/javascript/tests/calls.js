// Makes the calls of the package, and checks the answers. Run it twice at one location, with a directory `/data`: the
// second time resumes.

import { readStream, saveStream, task } from "task-checkpoint";
import { equal, fails } from "./check.js";
import { calls } from "./plain.js";

function streams() {
  const lost = saveStream();
  fails("quota-exceeded", () => saveStream());
  lost.write("lost");
  lost.close();
  const stream = saveStream({ annotations: { step: 3 } });
  for (let piece = 0; piece < 8; piece++) stream.write(new Uint8Array(100_000).fill(piece));
  equal(stream.commit().logicalBytes, 800_000n);
  fails("other", () => stream.commit());

  const reading = readStream();
  equal([reading.size, reading.checkpoint.annotations], [800_000n, { step: "3" }]);
  let size = 0;
  let last;
  for (const piece of reading) {
    size += piece.length;
    last = piece[piece.length - 1];
  }
  equal([size, last], [800_000, 7]);
}

export const run = task(() => {
  if (calls()) {
    console.log("javascript: every call but those of streams works");
  } else {
    streams();
    console.log("javascript: the second attempt resumes, and streams work");
  }
});
