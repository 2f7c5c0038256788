/** What a thread runs (thread-run.ts). */
import { parentPort, workerData } from "node:worker_threads";
import type { ThreadTask, ToThread } from "./messages.js";
import { ThreadRun } from "./thread-run.js";

const run = new ThreadRun(workerData as ThreadTask, (message) => parentPort?.postMessage(message));
parentPort?.on("message", (message: ToThread | { readonly type: "close" }) => {
  if (message.type !== "close") run.take(message);
  // Without its port the thread ends by itself.
  else void run.close().finally(() => parentPort?.close());
});
