// Performs commands of the conformance suite: one a line on stdin, one answer a line on stdout.
// `guest/conformance/cases.txt` describes the commands.

import { getStdin } from "wasi:cli/stdin@0.2.12";
import { getStdout } from "wasi:cli/stdout@0.2.12";

import { Guest, decode, encode } from "./commands.js";

export function perform(ckpt) {
  const guest = new Guest(ckpt);
  const stdout = getStdout();
  for (const line of lines()) stdout.blockingWriteAndFlush(encode(`${guest.answer(line)}\n`));
}

function* lines() {
  const stdin = getStdin();
  // QuickJS takes a u64 as a number.
  const most = typeof TextDecoder === "undefined" ? 4096 : 4096n;
  let rest = [];
  for (;;) {
    let piece;
    try {
      piece = stdin.blockingRead(most);
    } catch (error) {
      if (error?.payload?.tag !== "closed") throw error;
      return;
    }
    for (const byte of piece) {
      if (byte !== 10) {
        rest.push(byte);
        continue;
      }
      yield decode(Uint8Array.from(rest));
      rest = [];
    }
  }
}
