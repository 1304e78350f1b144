// What the tests need of an assertion library.

import { CheckpointError } from "task-checkpoint/plain";

export function equal(found, expected) {
  const text = (value) => JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part));
  if (text(found) !== text(expected)) throw new Error(`${text(found)} is not ${text(expected)}`);
}

export function fails(code, call) {
  try {
    call();
  } catch (error) {
    if (error instanceof CheckpointError && error.code === code) return error;
    throw error;
  }
  throw new Error(`no error ${code}`);
}
