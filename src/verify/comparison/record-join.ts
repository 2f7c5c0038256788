/**
 * Brings the records of two stores together by their keys, whatever the order in which either gives them. As long as both go
 * through the same keys nothing is kept. A record that the other side has not at hand is put aside in a temporary file, and
 * what both sides put aside of a kind is joined at the end, in the order of the keys. So nothing depends on an order; it only
 * decides how much is put aside.
 *
 * A side may be known to be in order (a database, when nothing changes its keys): what it has passed by it does not have, and
 * the other side's record is alone at once. That the order holds is checked from there on: OrderError.
 */
import { hash } from "node:crypto";
import type { Catalog, RecordKind } from "../../catalog/index.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { Cursor, checkOrder, type KindState, rely, type Side } from "./join-cursor.js";
import { KeyOrder } from "./key-order.js";
import { LeastHashes } from "./least-hashes.js";
import { RecordSpool } from "./record-spool.js";

export { OrderError, type Side } from "./join-cursor.js";

/** What is told of each record: `pair` or `alone`, once. What is to be waited for is a promise. */
export interface JoinTarget {
  /** The batches are valid until what it gives resolves. A LargeValue of either is read or discarded by whoever is told. */
  pair(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): void | Promise<void>;
  /** `key` as `order` has it, valid during the call. */
  alone(side: Side, kind: RecordKind, key: Buffer, order: KeyOrder): void | Promise<void>;
}

export interface JoinOptions {
  readonly catalog: Catalog;
  readonly signal: AbortSignal;
  readonly batches: Readonly<Record<Side, AsyncIterable<RecordBatch>>>;
  /** Sides that give kinds in the catalog's order and each kind's records in the order of their keys. */
  readonly ordered: Readonly<Record<Side, boolean>>;
  /** Only so many records of each kind, chosen by the seed: those whose keys have the least hashes. */
  readonly sample?: { readonly size: number; readonly seed: string } | undefined;
  /** Called with each batch of either side, before its records. */
  readonly onBatch?: (side: Side, batch: RecordBatch) => void | Promise<void>;
  /** Called when both are read: what was put aside is joined now. */
  readonly onRead?: () => void;
}

const OTHER = { a: "b", b: "a" } as const;

export async function joinRecords(options: JoinOptions, target: JoinTarget): Promise<void> {
  const join = new Join(options, target);
  try {
    await join.run();
  } finally {
    await join.close();
  }
}

class Join {
  private readonly cursors: Readonly<Record<Side, Cursor>>;
  private readonly states = new Map<RecordKind, KindState>();

  constructor(
    private readonly options: JoinOptions,
    private readonly target: JoinTarget,
  ) {
    const { a, b } = options.batches;
    this.cursors = { a: new Cursor("a", a[Symbol.asyncIterator]()), b: new Cursor("b", b[Symbol.asyncIterator]()) };
  }

  async run(): Promise<void> {
    const { a, b } = this.cursors;
    // Both connect and begin at once.
    await Promise.all([this.advance(a), this.advance(b)]);
    while (a.batch !== undefined || b.batch !== undefined) {
      if (a.batch === undefined) await this.leave(b);
      else if (b.batch === undefined) await this.leave(a);
      else if (this.options.sample !== undefined)
        await this.leave((a.state?.place ?? 0) <= (b.state?.place ?? 0) ? a : b);
      else if (a.state !== b.state) await this.leave((a.state?.place ?? 0) < (b.state?.place ?? 0) ? a : b);
      else await this.meet(a.state as KindState);
      if (a.batch !== undefined && a.row === a.batch.rows) await this.advance(a);
      if (b.batch !== undefined && b.row === b.batch.rows) await this.advance(b);
    }
    this.options.onRead?.();
    for (const kind of this.options.catalog.kinds) {
      const state = this.states.get(kind);
      if (state !== undefined) await this.joinAside(state);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.cursors.a.close(), this.cursors.b.close()]);
    for (const { aside } of this.states.values()) {
      await aside.a.close();
      await aside.b.close();
    }
  }

  private async advance(cursor: Cursor): Promise<void> {
    const last = cursor.state;
    const batch = await cursor.next();
    this.options.signal.throwIfAborted();
    if (batch?.kind !== last?.kind) await last?.aside[cursor.side].settle();
    if (batch === undefined) return;
    cursor.state = this.stateOf(batch.kind);
    await this.options.onBatch?.(cursor.side, batch);
    if (cursor.bound !== undefined) checkOrder(cursor);
  }

  /** Both are at records of one kind: goes through them as long as neither batch ends. */
  private async meet(state: KindState): Promise<void> {
    const { a, b } = this.cursors;
    const [aBatch, bBatch] = [a.batch as RecordBatch, b.batch as RecordBatch];
    while (a.row < aBatch.rows && b.row < bBatch.rows) {
      const order = sameKey(state, aBatch, a.row, bBatch, b.row) ? 0 : Buffer.compare(a.key(), b.key());
      if (order === 0) {
        const told = this.target.pair(aBatch, a.row, bBatch, b.row);
        if (told !== undefined) await told;
        this.step(a);
        this.step(b);
      } else await this.leave(order < 0 ? a : b);
    }
  }

  private step(cursor: Cursor): void {
    cursor.row++;
    if (cursor.bound !== undefined && cursor.row < (cursor.batch as RecordBatch).rows) checkOrder(cursor);
  }

  /** The other side has none for the record at hand yet, or has passed it: the record is alone, or put aside. */
  private async leave(cursor: Cursor): Promise<void> {
    const { side } = cursor;
    const batch = cursor.batch as RecordBatch;
    const state = cursor.state as KindState;
    const other = this.cursors[OTHER[side]];
    const { sample, ordered } = this.options;
    const isPassed = ordered[other.side] && sample === undefined && state.aside[other.side].count === 0;
    // Then the rest of the batch has none at hand either.
    const isWhole = sample !== undefined || other.batch === undefined || other.state !== state;
    do {
      if (isPassed) {
        const told = this.target.alone(side, state.kind, cursor.key(), state.order);
        if (told !== undefined) await told;
        rely(other);
        await batch.large?.discard();
      } else await this.putAside(cursor, batch, state);
      this.step(cursor);
    } while (isWhole && cursor.row < batch.rows);
  }

  private async putAside(cursor: Cursor, batch: RecordBatch, state: KindState): Promise<void> {
    const { sample } = this.options;
    const aside = state.aside[cursor.side];
    if (sample !== undefined && !state.chosen[cursor.side].takes(hashOf(sample.seed, state, cursor.key()))) {
      await batch.large?.discard();
      return;
    }
    if (batch.large === undefined) aside.add(batch, cursor.row);
    else await aside.addLarge(batch);
    if (aside.full) await aside.settle();
  }

  /** What both sides put aside. */
  private async joinAside({ kind, aside, chosen }: KindState): Promise<void> {
    const { signal, sample } = this.options;
    const limit = sample === undefined ? Number.POSITIVE_INFINITY : Math.min(chosen.a.limit, chosen.b.limit);
    const isChosen = (key: Buffer): boolean =>
      sample === undefined || hashOf(sample.seed, this.stateOf(kind), key) <= limit;
    const [a, b] = [aside.a.sorted(), aside.b.sorted()];
    let [left, right] = [(await a.next()).value, (await b.next()).value];
    for (let turn = 0; left !== undefined || right !== undefined; turn++) {
      if (turn % 1000 === 0) signal.throwIfAborted();
      const order = left === undefined ? 1 : right === undefined ? -1 : Buffer.compare(left.key, right.key);
      const key = order <= 0 ? left?.key : right?.key;
      if (key !== undefined && isChosen(key)) {
        if (order !== 0) await this.target.alone(order < 0 ? "a" : "b", kind, key, this.stateOf(kind).order);
        else if (left !== undefined && right !== undefined) await this.target.pair(left.load(), 0, right.load(), 0);
      }
      if (order <= 0) left = (await a.next()).value;
      if (order >= 0) right = (await b.next()).value;
    }
    await aside.a.close();
    await aside.b.close();
  }

  private stateOf(kind: RecordKind): KindState {
    let state = this.states.get(kind);
    if (state === undefined) {
      const order = new KeyOrder(kind);
      const size = this.options.sample?.size ?? 0;
      state = {
        kind,
        place: this.options.catalog.kinds.indexOf(kind),
        order,
        keyFields: kind.key.map((name) => kind.fields.findIndex((field) => field.name === name)),
        aside: { a: new RecordSpool(kind, order), b: new RecordSpool(kind, order) },
        chosen: { a: new LeastHashes(size), b: new LeastHashes(size) },
      };
      this.states.set(kind, state);
    }
    return state;
  }
}

/** Whether the keys are the same bytes: then they need not be looked into. */
function sameKey({ keyFields }: KindState, a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): boolean {
  const width = a.width;
  for (const field of keyFields) {
    const [aAt, bAt] = [aRow * width + field, bRow * width + field];
    const length = a.lengths[aAt] as number;
    if (length !== b.lengths[bAt]) return false;
    const [aStart, bStart] = [a.starts[aAt] as number, b.starts[bAt] as number];
    if (a.bytes.compare(b.bytes, bStart, bStart + length, aStart, aStart + length) !== 0) return false;
  }
  return true;
}

function hashOf(seed: string, { kind }: KindState, key: Buffer): number {
  const digest = hash("sha256", Buffer.concat([Buffer.from(`${seed}\n${kind.path}\n`, "utf8"), key]), "buffer");
  return digest.readUIntBE(0, 6);
}
