// Performs the calls of the conformance suite on QuickJS, which has no streams.

import * as ckpt from "task-checkpoint/plain";

import { perform } from "./lines.js";

export const run = ckpt.task(() => perform(ckpt));
