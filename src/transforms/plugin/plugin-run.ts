/**
 * One pass of a plugin over the records of its sections.
 * Over 300 lines: calls, their limits and what came of them share the state of one pass.
 */
import { setImmediate } from "node:timers/promises";
import pLimit from "p-limit";
import type { Catalog, RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { BatchBuilder, RecordBatch } from "../../records/record-batch.js";
import { recordKey } from "../../records/record-key.js";
import type { RunContext } from "../../records/run-context.js";
import { runWithin } from "../interruptible.js";
import { rejectRow } from "../reject-row.js";
import { isPromise, withDeadline } from "./deadline.js";
import type { PluginContext, PluginRecord, TransformDefinition } from "./definition.js";
import type { ProcessGuard } from "./process-guard.js";
import { type EncodedRecord, keyOf, largeValueOf, RecordEncoder, typeName } from "./record-encoding.js";
import { RecordViews } from "./record-view.js";

const DEFAULT_CONCURRENCY = 8;
/** After so long signals are heard, and what was given so far goes on. */
const SLICE_MILLISECONDS = 100;
/** The same in encoded bytes. */
const SLICE_BYTES = 1048576;

export interface PluginRunOptions {
  readonly definition: TransformDefinition;
  /** As the plugin's schema gave them. */
  readonly options: unknown;
  /** Paths of the sections that `emits` names. */
  readonly emitted: ReadonlySet<string>;
  readonly catalog: Catalog;
  readonly timeoutSeconds: number;
  readonly context: RunContext;
  /** Open while the plugin runs. */
  readonly guard: ProcessGuard;
}

/** What became of a row (undefined: of no row in particular). */
interface Outcome {
  readonly row: number | undefined;
  readonly records: readonly PluginRecord[];
  /** The records, where they are encoded already. */
  readonly encoded?: readonly EncodedRecord[];
  readonly error?: unknown;
}

export class PluginRun {
  private state: unknown;
  private readonly views = new RecordViews();
  private readonly encoder = new RecordEncoder();
  private readonly builders = new Map<RecordKind, BatchBuilder>();
  private readonly targets = new WeakMap<object, RecordKind>();
  private readonly limit;
  private heardUntil = 0;
  /** Of the run, and of what the plugin does to it. */
  private readonly signal: AbortSignal;

  constructor(private readonly run: PluginRunOptions) {
    this.signal = AbortSignal.any([run.context.signal, run.guard.signal]);
    this.limit = pLimit(run.definition.concurrency ?? DEFAULT_CONCURRENCY);
  }

  async setup(): Promise<void> {
    this.state = await this.call("setup", () => this.run.definition.setup?.(this.contextFor("")));
  }

  /** The records that go on instead of the batch's. */
  async *process(source: RecordBatch): AsyncGenerator<RecordBatch, void, undefined> {
    const { definition, context } = this.run;
    const { batch, content } = definition.content === true ? await withContent(source) : { batch: source };
    const records = Array.from({ length: batch.rows }, (_, row) => this.views.view(batch, row, content));
    let largePassedOn = false;
    const outcomes = definition.batch === true ? this.callBatch(batch, records) : this.callEach(batch, records);
    for await (const some of outcomes)
      for (const outcome of some) {
        const { row, records: given, error } = outcome;
        this.run.guard.check();
        try {
          if (error !== undefined) throw error;
          const encoded = outcome.encoded ?? this.encodeAll(batch, row, given);
          if (given.length === 0 && row !== undefined) context.dropped?.(batch, row);
          largePassedOn ||= encoded.some(({ large }) => large !== undefined && large === batch.large);
          for (const one of encoded) yield* this.append(one, batch);
        } catch (cause) {
          if (!(cause instanceof StorageError) || !isRecordError(cause)) throw cause;
          if (row === undefined) await context.reject({ kind: batch.kind, error: cause });
          else await rejectRow(context, batch, row, cause);
        }
        if (outcome.encoded === undefined) this.encoder.scratch.length = 0;
      }
    yield* this.takeAll();
    this.views.end();
    if (!largePassedOn) await batch.large?.discard();
  }

  async *flush(): AsyncGenerator<RecordBatch, void, undefined> {
    const given = await this.call("flush", () => this.run.definition.flush?.(this.contextFor("")));
    if (given === undefined || given === null) return;
    for (const record of recordsOf(given)) {
      const kind = this.targets.get(record);
      if (kind === undefined) throw this.failure("flush gave a record that context.into gave no section");
      yield* this.append(this.encode(kind, record, undefined), undefined);
      this.encoder.scratch.length = 0;
    }
    yield* this.takeAll();
  }

  private contextFor(section: string): PluginContext<unknown, unknown> & PluginContext<unknown, undefined> {
    const { options, context, emitted, catalog, definition } = this.run;
    return {
      options,
      state: this.state as undefined,
      section,
      signal: context.signal,
      warn: (message) => context.warn(`${definition.name}: ${message}`),
      into: (target, record) => {
        const kind = catalog.byPath.get(target);
        if (kind === undefined || (target !== section && !emitted.has(target)))
          throw new Error(`the section ${target} is not among those that the plugin emits`);
        this.targets.set(record, kind);
        return record;
      },
    };
  }

  /** One call for each record, in their order; as many at once as the plugin wants where it is asynchronous. */
  private async *callEach(batch: RecordBatch, records: readonly PluginRecord[]): AsyncGenerator<readonly Outcome[]> {
    const { definition } = this.run;
    if (definition.batch === true) return;
    const context = this.contextFor(batch.kind.path);
    const { guard } = this.run;
    const attempt = (record: PluginRecord): unknown => guard.run(() => definition.transform(record, context));
    const settle = async (row: number, work: () => unknown): Promise<Outcome> => {
      try {
        const given = work();
        const result = isPromise(given) ? await this.settled(given, () => recordKey(batch, row), batch) : given;
        return { row, records: recordsOf(result) };
      } catch (error) {
        return { row, records: [], error: this.located(error, batch, row) };
      }
    };
    const outcomes: Outcome[] = [];
    for (let row = 0; row < records.length; ) {
      outcomes.length = 0;
      this.encoder.scratch.length = 0;
      let first: unknown;
      let isAsynchronous = false;
      const until = performance.now() + SLICE_MILLISECONDS;
      // Each is encoded before the next call: a plugin may give the same object, changed, for all of them.
      const work = (): void => {
        for (; row < records.length && !this.isSliceOver(row, until); row++) {
          try {
            first = definition.transform(records[row] as PluginRecord, context);
            isAsynchronous = isPromise(first);
            if (isAsynchronous) return;
            const given = recordsOf(first);
            outcomes.push({ row, records: given, encoded: this.encodeAll(batch, row, given) });
          } catch (error) {
            outcomes.push({ row, records: [], encoded: [], error: this.located(error, batch, row) });
          }
        }
      };
      if (await this.isCut(() => guard.run(work))) {
        const at = row++;
        // It may have been done just then.
        if (outcomes.at(-1)?.row !== at)
          outcomes.push({
            row: at,
            records: [],
            encoded: [],
            error: this.timeoutError(() => recordKey(batch, at), batch),
          });
      }
      guard.check();
      yield outcomes;
      if (!isAsynchronous) continue;
      this.encoder.scratch.length = 0;
      // It is asynchronous: the rest is started as the limit allows, and taken in order.
      const from = row;
      const rest = records.slice(from + 1);
      const started = [
        this.limit(() => settle(from, () => first)),
        ...rest.map((one, at) => this.limit(() => settle(from + 1 + at, () => attempt(one)))),
      ];
      try {
        for (const outcome of started) yield [await outcome];
      } finally {
        this.limit.clearQueue();
      }
      return;
    }
  }

  /** One call for all; a record that none of the results is made from was dropped. */
  private async *callBatch(batch: RecordBatch, records: readonly PluginRecord[]): AsyncGenerator<readonly Outcome[]> {
    const { definition } = this.run;
    if (definition.batch !== true) return;
    let given: readonly PluginRecord[];
    try {
      let promise: unknown;
      const work = (): void => {
        promise = this.run.guard.run(() => definition.transform([...records], this.contextFor(batch.kind.path)));
      };
      if (await this.isCut(work)) throw this.timeoutError(() => undefined, batch);
      const result = isPromise(promise) ? await this.settled(promise, () => undefined, batch) : promise;
      if (!Array.isArray(result)) throw new Error(`it returned ${typeName(result)}, not an array of records`);
      given = recordsOf(result);
    } catch (error) {
      // Nobody can say which of them it failed at.
      for (const row of records.keys()) yield [{ row, records: [], error: this.located(error, batch, row) }];
      return;
    }
    const rowOf = new Map<string, number>();
    for (const [row, record] of records.entries()) rowOf.set(keyOf(batch.kind, record), row);
    const left = new Set(records.keys());
    for (const record of given) {
      const row = this.views.originOf(record)?.row ?? rowOf.get(keyOf(batch.kind, record));
      if (row !== undefined) left.delete(row);
      yield [{ row, records: [record] }];
    }
    for (const row of left) yield [{ row, records: [] }];
  }

  private encodeAll(batch: RecordBatch, row: number | undefined, given: readonly PluginRecord[]): EncodedRecord[] {
    if (given.length === 0 && this.run.definition.drops === false)
      throw this.located(new Error("it dropped a record, which it says it never does"), batch, row);
    const encoded = given.map((record) => {
      const kind = this.targets.get(record) ?? batch.kind;
      const origin = this.views.originOf(record) ?? (row === undefined ? undefined : this.views.originAt(row));
      try {
        return this.encode(kind, record, origin);
      } catch (error) {
        throw this.located(error, batch, row);
      }
    });
    if (encoded.filter(({ large }) => large !== undefined && large === batch.large).length > 1)
      throw this.located(new Error("content of 1 MiB or more can be given to one record only"), batch, row);
    return encoded;
  }

  private encode(
    kind: RecordKind,
    record: PluginRecord,
    origin: Parameters<RecordEncoder["encode"]>[2],
  ): EncodedRecord {
    try {
      return this.encoder.encode(kind, record, origin);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      throw new StorageError(
        "E_PLUGIN",
        `the plugin ${this.run.definition.name} gave no valid record: ${error.message}`,
        {
          section: kind.path,
          ...error.context,
        },
      );
    }
  }

  private async *append(record: EncodedRecord, batch: RecordBatch | undefined): AsyncGenerator<RecordBatch> {
    const { kind, large } = record;
    const builder = this.builders.get(kind) ?? new BatchBuilder(kind);
    this.builders.set(kind, builder);
    if (large !== undefined && builder.length > 0) yield* take(builder);
    this.encoder.append(record, batch, builder);
    if (builder.full) yield* take(builder);
  }

  private async *takeAll(): AsyncGenerator<RecordBatch> {
    for (const builder of this.builders.values()) if (builder.length > 0) yield* take(builder);
  }

  /** setup or flush. */
  private async call<Value>(what: "setup" | "flush", work: () => Value | PromiseLike<Value>): Promise<Value> {
    try {
      let given: Value | PromiseLike<Value> | undefined;
      const call = (): void => {
        given = this.run.guard.run(work);
      };
      if (await this.isCut(call)) throw this.timeoutError(() => undefined, undefined);
      const value = isPromise(given)
        ? await this.settled(given as PromiseLike<Value>, () => undefined, undefined)
        : given;
      this.run.guard.check();
      return value as Value;
    } catch (error) {
      this.run.guard.check();
      throw error instanceof StorageError ? error : this.failure(`${what} failed: ${messageOf(error)}`, error);
    }
  }

  private isSliceOver(row: number, until: number): boolean {
    return this.encoder.scratch.length >= SLICE_BYTES || (row % 16 === 15 && performance.now() > until);
  }

  /** Runs what the plugin does without waiting; true when its time was up. Ctrl-C ends it, and the run. */
  private async isCut(work: () => void): Promise<boolean> {
    const { timeoutSeconds, guard, context } = this.run;
    if (performance.now() > this.heardUntil) {
      // A signal that came before is not heard while the plugin works.
      await setImmediate();
      this.heardUntil = performance.now() + SLICE_MILLISECONDS;
    }
    context.signal.throwIfAborted();
    const ended = runWithin(timeoutSeconds * 1000 + SLICE_MILLISECONDS, work, true);
    if (ended === "done") return false;
    guard.leave();
    if (ended === "interrupted") {
      // Whoever listens to the signal hears it now.
      for (let turns = 0; turns < 100 && !context.signal.aborted; turns++) await setImmediate();
      context.signal.throwIfAborted();
      throw new StorageError("E_INTERRUPTED", "interrupted");
    }
    return true;
  }

  private timeoutError(key: () => string | undefined, batch: RecordBatch | undefined): StorageError {
    const { definition, timeoutSeconds } = this.run;
    const record = key();
    return new StorageError(
      "E_PLUGIN_TIMEOUT",
      `the plugin ${definition.name} did not come to an end within ${timeoutSeconds} seconds`,
      {
        ...(batch === undefined ? {} : { section: batch.kind.path }),
        ...(record === undefined ? {} : { key: record }),
        hint: "--plugin-timeout gives it more time.",
      },
    );
  }

  private settled<Value>(
    promise: PromiseLike<Value>,
    key: () => string | undefined,
    batch: RecordBatch | undefined,
  ): Promise<Value> {
    const { timeoutSeconds } = this.run;
    return withDeadline(promise, timeoutSeconds, this.signal, () => this.timeoutError(key, batch));
  }

  private failure(message: string, cause?: unknown): StorageError {
    return new StorageError("E_PLUGIN", `the plugin ${this.run.definition.name}: ${message}`, {}, cause);
  }

  /** The plugin's error, naming the plugin and the record. */
  private located(error: unknown, batch: RecordBatch, row: number | undefined): unknown {
    const place = { section: batch.kind.path, ...(row === undefined ? {} : { key: recordKey(batch, row) }) };
    if (error instanceof StorageError && isRecordError(error))
      return new StorageError(error.code, error.message, { ...place, ...error.context }, error.cause);
    // An interrupted run is none of the plugin's doing.
    if (this.run.context.signal.aborted) return error;
    const message = `the plugin ${this.run.definition.name} failed: ${messageOf(error)}`;
    return new StorageError("E_PLUGIN", message, place, error);
  }
}

async function* take(builder: BatchBuilder): AsyncGenerator<RecordBatch, void, undefined> {
  const batch = builder.take();
  yield batch;
  builder.recycle(batch);
}

/** The batch with its LargeValue held in memory. */
async function withContent(batch: RecordBatch): Promise<{ batch: RecordBatch; content?: Buffer }> {
  const { kind, rows, bytes, starts, lengths, large, assumed } = batch;
  if (large === undefined) return { batch };
  const chunks: Buffer[] = [];
  for await (const chunk of large.chunks()) chunks.push(Buffer.from(chunk));
  const content = Buffer.concat(chunks);
  const value = largeValueOf(large.field, content);
  return { batch: new RecordBatch(kind, rows, bytes, starts, lengths, value, assumed), content };
}

function recordsOf(result: unknown): readonly PluginRecord[] {
  if (result === null) return [];
  if (result === undefined)
    throw new Error("it returned nothing; it returns the record to keep it, and null to drop it");
  const records: readonly unknown[] = Array.isArray(result) ? result : [result];
  for (const record of records)
    if (typeof record !== "object" || record === null || Array.isArray(record))
      throw new Error(`it returned ${typeName(record)} for a record`);
  return records as readonly PluginRecord[];
}

function isRecordError({ code }: StorageError): boolean {
  return code === "E_PLUGIN" || code === "E_PLUGIN_TIMEOUT";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
