/** What a thread runs (thread-run.ts). */
import { parentPort, workerData } from "node:worker_threads";
import { leftBehind } from "../transforms/plugin/process-guard.js";
import type { FromThread, ThreadTask, ToThread } from "./messages.js";
import { sendError } from "./sent-error.js";
import { ThreadRun } from "./thread-run.js";

const run = new ThreadRun(workerData as ThreadTask, (message, handedOver = []) =>
  parentPort?.postMessage(message, handedOver),
);
// What nobody handles would end the thread without saying whose it is.
for (const event of ["uncaughtException", "unhandledRejection"])
  process.on(event, (error: unknown) => {
    parentPort?.postMessage({ type: "brokeDown", error: sendError(leftBehind(error)) } satisfies FromThread);
  });
parentPort?.on("message", (message: ToThread | { readonly type: "close" }) => {
  if (message.type !== "close") run.take(message);
  // Without its port the thread ends by itself.
  else void run.close().finally(() => parentPort?.close());
});
