// Performs the calls of the conformance suite: one command a line on stdin, one answer a line on stdout.
// `guest/conformance/cases.txt` describes the commands.

import * as ckpt from "task-checkpoint";
import { getStdin } from "wasi:cli/stdin@0.2.12";

import { Guest } from "./commands.js";

function* lines() {
  const stdin = getStdin();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = stdin.blockingRead(65536n);
    } catch (error) {
      if (error?.payload?.tag !== "closed") throw error;
      return;
    }
    rest += decoder.decode(piece, { stream: true });
    const found = rest.split("\n");
    rest = found.pop();
    yield* found;
  }
}

export const run = ckpt.task(() => {
  const guest = new Guest(ckpt);
  for (const line of lines()) console.log(guest.answer(line));
});
