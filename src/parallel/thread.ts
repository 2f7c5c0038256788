/** What a thread runs (thread-run.ts). */
import { parentPort, workerData } from "node:worker_threads";
import { leftBehind } from "../transforms/plugin/process-guard.js";
import type { Frame, FromThread, ThreadOrigin, ToThread } from "./messages.js";
import { sendError } from "./sent-error.js";
import { loadSource, ThreadRun } from "./thread-run.js";

let run: ThreadRun | undefined;
// What nobody handles would end the thread without saying whose it is.
for (const event of ["uncaughtException", "unhandledRejection"])
  process.on(event, (error: unknown) => {
    parentPort?.postMessage({ type: "brokeDown", error: sendError(leftBehind(error)) } satisfies FromThread);
  });
parentPort?.on("message", (message: ToThread | Frame) => {
  if (message.type === "begin")
    run = new ThreadRun(message.task, (said, handedOver = []) => parentPort?.postMessage(said, handedOver));
  else if (message.type !== "close") run?.take(message);
  // Without its port the thread ends by itself.
  else void (run?.close() ?? Promise.resolve()).finally(() => parentPort?.close());
});
// While the store is opened elsewhere.
loadSource(workerData as ThreadOrigin).catch(() => undefined);
