/** The thread's side of source-thread.ts: opens the real source, and puts its batches into the ring. */
import { parentPort, workerData } from "node:worker_threads";
import { catalog } from "../../llmspell/catalog/index.js";
import { piecesOf, RingWriter } from "../../records/batch-ring.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { Source } from "../../sources/source.js";
import { createSource } from "../../stores/index.js";
import {
  ABORTED,
  BATCH,
  CHUNK,
  CHUNKS_END,
  heardError,
  LONG_BATCH,
  type LongBatch,
  type OpenedHeader,
  type Order,
  PIECE,
  type Question,
  type SourceOrder,
  type Told,
  toldError,
} from "./source-protocol.js";

const { location, options, memory, stop } = workerData as SourceOrder;
const stopped = new Int32Array(stop);
const ring = new RingWriter(memory);
const abort = new AbortController();
const kinds = new Map(catalog.kinds.map(({ path }, index) => [path, index]));
const rejections = new Map<number, (error: Error | undefined) => void>();
const NOTHING = Buffer.alloc(0);
let rejected = 0;

function tell(told: Told): void {
  parentPort?.postMessage(told);
}

const context: RunContext = {
  signal: abort.signal,
  activity: (activity) => tell({ type: "activity", activity }),
  warn: (message) => tell({ type: "warn", message }),
  note: (message) => tell({ type: "note", message }),
  leftOut: (message) => tell({ type: "leftOut", message }),
  isRejected: () => false,
  async reject({ kind, error }) {
    const rejection = ++rejected;
    tell({ type: "reject", rejection, path: kind.path, error: toldError(error) });
    const failure = await new Promise<Error | undefined>((resolve) => rejections.set(rejection, resolve));
    rejections.delete(rejection);
    if (failure !== undefined) throw failure;
  },
};

/** Whether what is read is still wanted. A message is heard only where the thread pauses. */
async function isWanted(): Promise<boolean> {
  const state = Atomics.load(stopped, 0);
  if (state === ABORTED) {
    while (!abort.signal.aborted) await new Promise(setImmediate);
    abort.signal.throwIfAborted();
  }
  return state === 0;
}

async function room(): Promise<void> {
  while (!ring.hasRoom) await ring.room();
}

async function put(type: number, bytes: Uint8Array): Promise<void> {
  await room();
  ring.put(type, bytes);
}

/** All of a batch but for its LargeValue, in pieces. */
async function putLong(batch: RecordBatch, kind: number): Promise<void> {
  const { rows, width, bytes, starts, lengths, large, assumed } = batch;
  const values = rows * width;
  const head: LongBatch = {
    rows,
    bytes: bytes.length,
    largeField: large?.field,
    hasAssumed: assumed !== undefined,
    kind,
  };
  await put(LONG_BATCH, Buffer.from(JSON.stringify(head)));
  const asBytes = (words: Uint32Array | Int32Array): Uint8Array =>
    new Uint8Array(words.buffer, words.byteOffset, 4 * values);
  const parts = [
    asBytes(starts),
    asBytes(lengths),
    ...(assumed === undefined ? [] : [assumed.subarray(0, values)]),
    bytes,
  ];
  for (const part of parts) for (const piece of piecesOf(part)) await put(PIECE, piece);
}

async function putBatch(batch: RecordBatch): Promise<void> {
  const kind = kinds.get(batch.kind.path);
  if (kind === undefined) throw new Error(`${batch.kind.path} is not in the catalog`);
  if (ring.takes(batch)) {
    await room();
    ring.putBatch(BATCH, kind, batch);
  } else await putLong(batch, kind);
  if (batch.large === undefined) return;
  for await (const chunk of batch.large.chunks()) {
    // Nobody reads on: what is left of it is not worth its way.
    for (const piece of piecesOf(chunk)) if (Atomics.load(stopped, 0) === 0) await put(CHUNK, piece);
  }
  await put(CHUNKS_END, NOTHING);
}

async function read(source: Source, selection: Selection): Promise<void> {
  for await (const batch of source.read(selection, context)) {
    if (!(await isWanted())) {
      await batch.large?.discard();
      break;
    }
    await putBatch(batch);
  }
}

async function answer(source: Source, question: Question): Promise<unknown> {
  switch (question.type) {
    case "open": {
      const { catalog: _catalog, ...header } = await source.open(context, question.selection);
      return header satisfies OpenedHeader;
    }
    case "estimate":
      return source.estimate(question.selection);
    case "countInvalidUuids":
      return source.countInvalidUuids?.(question.selection);
    case "read":
      return read(source, question.selection);
    case "close":
      return source.close();
  }
}

async function reply(source: Source, question: Question): Promise<void> {
  const { id } = question;
  const state = (): { method: string | undefined; partial: string | undefined } => ({
    method: source.method,
    partial: source.partial?.(),
  });
  try {
    const value = await answer(source, question);
    tell({ type: "reply", id, value, ...state() });
  } catch (error) {
    tell({ type: "reply", id, error: toldError(error), ...state() });
  }
  if (question.type === "close") parentPort?.close();
}

try {
  const source = await createSource(location, { ...options, catalog, signal: abort.signal });
  parentPort?.on("message", (order: Order) => {
    if (order.type === "abort") abort.abort(heardError(order.reason));
    else if (order.type === "rejected")
      rejections.get(order.rejection)?.(order.error === undefined ? undefined : heardError(order.error));
    else void reply(source, order);
  });
  tell({
    type: "described",
    name: source.name,
    rereadable: source.rereadable,
    tellsPartial: source.partial !== undefined,
    countsInvalidUuids: source.countInvalidUuids !== undefined,
  });
} catch (error) {
  tell({ type: "refused", error: toldError(error) });
}
