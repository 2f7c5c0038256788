/** The thread's side of digest-thread.ts. */
import { createHash } from "node:crypto";
import { deserialize } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import type { RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { type ErrorCode, StorageError } from "../errors.js";
import { RingReader } from "../records/batch-ring.js";
import { LARGE_VALUE } from "../records/record-batch.js";
import { BATCH, BEGIN, CONTENT, KIND } from "./digest-thread.js";
import { RecordDigester, type SumState } from "./record-digest.js";

export type Answer =
  | { readonly type: "ready" }
  /** Of the batches since the last question. */
  | { readonly type: "sums"; readonly sums: ReadonlyMap<string, SumState> }
  | { readonly type: "failure"; readonly code: ErrorCode; readonly message: string };

const ring = new RingReader(workerData);
const kinds: RecordKind[] = [];
const sections = new Map<RecordKind, RecordDigester>();
const text = new ByteWriter();
let content = createHash("sha256");

function answer(message: Answer): void {
  parentPort?.postMessage(message);
}

function addBatch(): void {
  const kind = kinds[ring.kind] as RecordKind;
  const batch = ring.batch(kind);
  let section = sections.get(kind);
  if (section === undefined) {
    section = new RecordDigester(kind);
    sections.set(kind, section);
  }
  const large = batch.lengths.includes(LARGE_VALUE) ? content.digest() : undefined;
  for (let row = 0; row < batch.rows; row++) section.add(batch, row, large, text);
}

function take(): void {
  switch (ring.type) {
    case BATCH:
      addBatch();
      return;
    case BEGIN:
      content = createHash("sha256");
      return;
    case CONTENT:
      content.update(ring.content());
      return;
    case KIND:
      kinds.push(deserialize(ring.content()));
      return;
    default:
      answer({ type: "sums", sums: new Map([...sections].map(([{ path }, { sum }]) => [path, sum.state()])) });
      sections.clear();
  }
}

answer({ type: "ready" });
for (;;) {
  ring.awaitNext();
  try {
    take();
  } catch (error) {
    const code = error instanceof StorageError ? error.code : "E_UNEXPECTED";
    answer({ type: "failure", code, message: error instanceof Error ? error.message : String(error) });
  }
  ring.release();
}
