// Performs the calls of the conformance suite on StarlingMonkey.

import * as ckpt from "task-checkpoint";

import { perform } from "./lines.js";

export const run = ckpt.task(() => perform(ckpt));
