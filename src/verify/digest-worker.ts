/** The thread's side of digest-thread.ts. */
import { parentPort } from "node:worker_threads";
import type { RecordKind } from "../catalog/index.js";
import { ByteWriter } from "../codecs/byte-writer.js";
import { type ErrorCode, StorageError } from "../errors.js";
import { RecordBatch } from "../records/record-batch.js";
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

parentPort?.on("message", (question: Question) => {
  try {
    if (question.type === "sums") {
      answer({ type: "sums", sums: new Map([...sections].map(([path, { sum }]) => [path, sum.state()])) });
      sections.clear();
      return;
    }
    const { path, kind, rows, bytes, slot } = question;
    if (kind !== undefined) kinds.set(path, kind);
    const known = kinds.get(path) as RecordKind;
    const values = rows * known.fields.length;
    const batch = new RecordBatch(
      known,
      rows,
      Buffer.from(slot, 8 * values, bytes),
      new Uint32Array(slot, 0, values),
      new Int32Array(slot, 4 * values, values),
    );
    const section = sectionOf(path);
    for (let row = 0; row < rows; row++) section.add(batch, row, undefined, text);
    answer({ type: "slot", slot }, [slot]);
  } catch (error) {
    const code = error instanceof StorageError ? error.code : "E_UNEXPECTED";
    answer({ type: "failure", code, message: error instanceof Error ? error.message : String(error) });
  }
});
answer({ type: "ready" });
