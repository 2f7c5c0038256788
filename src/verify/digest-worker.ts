/** The thread's side of digest-thread.ts. */
import { createHash } from "node:crypto";
import { parentPort } from "node:worker_threads";
import type { RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { type ErrorCode, StorageError } from "../errors.js";
import { LARGE_VALUE, RecordBatch } from "../records/record-batch.js";
import { RecordDigester, type SumState } from "./record-digest.js";

export type Question =
  | {
      readonly type: "batch";
      readonly path: string;
      /** With the first batch of the path. */
      readonly kind?: RecordKind;
      readonly rows: number;
      readonly bytes: number;
      /** The batch's starts, lengths and bytes, one behind the other. */
      readonly slot: ArrayBuffer;
    }
  /** A LargeValue's content follows, and then its batch. */
  | { readonly type: "begin" }
  | { readonly type: "content"; readonly bytes: number; readonly slot: ArrayBuffer }
  | { readonly type: "sums" };

export type Answer =
  | { readonly type: "ready" }
  /** A slot that is free again. */
  | { readonly type: "slot"; readonly slot: ArrayBuffer }
  /** Of the batches since the last question. */
  | { readonly type: "sums"; readonly sums: ReadonlyMap<string, SumState> }
  | { readonly type: "failure"; readonly code: ErrorCode; readonly message: string };

const sections = new Map<string, RecordDigester>();
const kinds = new Map<string, RecordKind>();
const text = new ByteWriter();
let content = createHash("sha256");

function answer(message: Answer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

function sectionOf(path: string): RecordDigester {
  let section = sections.get(path);
  if (section === undefined) {
    section = new RecordDigester(kinds.get(path) as RecordKind);
    sections.set(path, section);
  }
  return section;
}

function addBatch({ path, kind, rows, bytes, slot }: Question & { readonly type: "batch" }): void {
  if (kind !== undefined) kinds.set(path, kind);
  const known = kinds.get(path) as RecordKind;
  const values = rows * known.fields.length;
  const lengths = new Int32Array(slot, 4 * values, values);
  const batch = new RecordBatch(
    known,
    rows,
    Buffer.from(slot, 8 * values, bytes),
    new Uint32Array(slot, 0, values),
    lengths,
  );
  const section = sectionOf(path);
  const large = lengths.includes(LARGE_VALUE) ? content.digest() : undefined;
  for (let row = 0; row < rows; row++) section.add(batch, row, large, text);
}

function take(question: Question): void {
  switch (question.type) {
    case "batch":
      addBatch(question);
      answer({ type: "slot", slot: question.slot }, [question.slot]);
      return;
    case "begin":
      content = createHash("sha256");
      return;
    case "content":
      content.update(new Uint8Array(question.slot, 0, question.bytes));
      answer({ type: "slot", slot: question.slot }, [question.slot]);
      return;
    case "sums":
      answer({ type: "sums", sums: new Map([...sections].map(([path, { sum }]) => [path, sum.state()])) });
      sections.clear();
  }
}

parentPort?.on("message", (question: Question) => {
  try {
    take(question);
  } catch (error) {
    const code = error instanceof StorageError ? error.code : "E_UNEXPECTED";
    answer({ type: "failure", code, message: error instanceof Error ? error.message : String(error) });
  }
});
answer({ type: "ready" });
