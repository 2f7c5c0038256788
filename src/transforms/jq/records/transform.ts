/** The stage: programs over the records of a batch, and their outputs back into it. */
import { LARGE_VALUE_BYTES, type RecordKind } from "../../../catalog/index.js";
import { type ErrorCode, StorageError } from "../../../errors.js";
import { BatchEditor } from "../../../records/batch-editor.js";
import { type LargeValue, RecordBatch } from "../../../records/record-batch.js";
import { recordKey } from "../../../records/record-key.js";
import type { RunContext, StepEffect } from "../../../records/run-context.js";
import { effectOf, noneOf } from "../../effect.js";
import { rejectRow } from "../../reject-row.js";
import type { Transform } from "../../transform.js";
import type { Value } from "../compiled/values.js";
import type { Step } from "../document.js";
import { type RecordContext, RecordNames, RecordObject } from "./record-object.js";
import { RecordWriter } from "./record-writer.js";
import { type Item, type JqProgram, RealJqPool, Slice } from "./stage.js";

export type PlannedStep = JqProgram | (Step & { type: "slice" | "drop" });

export interface JqPlan {
  readonly expression: string;
  /** By the path of the record kind. */
  readonly steps: ReadonlyMap<string, readonly PlannedStep[]>;
  readonly vectors: "base64" | "json";
}

export function createJqStage(plan: JqPlan): Transform {
  return {
    name: `jq ${plan.expression}`,
    mayDrop: (path) => (plan.steps.get(path) ?? []).some((step) => "type" in step || step.mayDrop),
    mayChange: (path) => plan.steps.has(path),
    tellsDrops: true,
    async *apply(batches, context) {
      const run = new JqRun(plan, context);
      const effect = effectOf(context);
      try {
        for await (const batch of batches) {
          effect.passed += batch.rows;
          const steps = run.stepsOf(batch.kind);
          if (steps !== undefined) effect.records += batch.rows;
          const edited = steps === undefined ? batch : await run.process(batch, steps);
          if (edited !== batch) effect.hits++;
          if (edited !== undefined) yield edited;
        }
        if (context.ahead !== true) settle(plan, effect, context);
      } finally {
        run.close();
      }
    },
  };
}

/** `effect`: all records that came, those of the sections that it names, and batches that it changed. */
function settle({ expression, steps }: JqPlan, effect: StepEffect, context: RunContext): void {
  const sections = [...steps].filter(([, planned]) => planned.length > 0).map(([path]) => path);
  if (sections.length === 0) return;
  if (effect.records === 0) context.warn(`jq ${expression}: ${noneOf(effect.passed)} is of ${sections.join(", ")}`);
  else if (effect.hits === 0)
    context.note?.(`jq ${expression}: ${noneOf(effect.records, sections)} was changed or left out`);
}

/** One pass. */
class JqRun {
  private readonly editor = new BatchEditor();
  private readonly real = new RealJqPool();
  private readonly names = new Map<RecordKind, RecordNames>();
  private readonly steps = new Map<RecordKind, readonly (JqProgram | Slice)[] | "drop" | undefined>();

  constructor(
    private readonly plan: JqPlan,
    private readonly context: RunContext,
  ) {}

  close(): void {
    this.real.close();
  }

  /** Undefined: the section passes as it is. */
  stepsOf(kind: RecordKind): readonly (JqProgram | Slice)[] | "drop" | undefined {
    if (!this.steps.has(kind)) {
      const planned = this.plan.steps.get(kind.path);
      const steps: (JqProgram | Slice)[] = [];
      let isDropped = false;
      for (const step of planned ?? []) {
        if (!("type" in step)) steps.push(step);
        else if (step.type === "slice") steps.push(new Slice(step));
        else isDropped = true;
      }
      this.steps.set(kind, isDropped ? "drop" : planned === undefined || steps.length === 0 ? undefined : steps);
    }
    return this.steps.get(kind);
  }

  /** The records that go on; undefined where none does. */
  async process(source: RecordBatch, steps: readonly (JqProgram | Slice)[] | "drop"): Promise<RecordBatch | undefined> {
    if (steps === "drop") {
      for (let row = 0; row < source.rows; row++) this.context.dropped?.(source, row);
      await source.large?.discard();
      return undefined;
    }
    const context = await this.recordContext(source, steps);
    const { batch } = context;
    const records = Array.from({ length: batch.rows }, (_, row) => RecordObject.of(context, row));
    const failures = new Map<number, StorageError>();
    let items: Item[] = records.map((value, row) => ({ row, value }));
    for (const step of steps) {
      if (step instanceof Slice) items = step.keep(items);
      else {
        items = await step.run(
          items,
          (row, ...failure) => this.fail(failures, batch, row, ...failure),
          this.real,
          this.context.signal,
        );
        if (failures.size > 0) items = items.filter(({ row }) => !failures.has(row));
      }
    }
    const edited = await this.write(context, records, items, failures);
    if (edited?.large !== batch.large) await batch.large?.discard();
    return edited;
  }

  private fail(
    failures: Map<number, StorageError>,
    batch: RecordBatch,
    row: number,
    message: string,
    code: ErrorCode = "E_JQ",
    hint?: string,
  ): void {
    if (failures.has(row)) return;
    const where = { section: batch.kind.path, key: recordKey(batch, row), ...(hint === undefined ? {} : { hint }) };
    failures.set(row, new StorageError(code, `jq: ${message}`, where));
  }

  private async write(
    context: RecordContext,
    records: readonly RecordObject[],
    items: readonly Item[],
    failures: Map<number, StorageError>,
  ): Promise<RecordBatch | undefined> {
    const { editor } = this;
    const { batch } = context;
    editor.begin(batch);
    const writer = new RecordWriter(editor, context);
    let at = 0;
    for (const record of records) {
      const { row } = record;
      const first = at;
      while (items[at]?.row === row) at++;
      const error = failures.get(row) ?? this.writeRow(writer, record, items, first, at);
      if (error !== undefined) {
        editor.drop(row);
        await rejectRow(this.context, batch, row, error);
      } else if (first === at) {
        editor.drop(row);
        this.context.dropped?.(batch, row);
      }
    }
    return editor.finish();
  }

  private writeRow(
    writer: RecordWriter,
    record: RecordObject,
    items: readonly Item[],
    from: number,
    to: number,
  ): StorageError | undefined {
    const { editor } = this;
    const rows: number[] = [];
    try {
      for (let at = from; at < to; at++) {
        const copy = at === from ? record.row : this.copyOf(record);
        rows.push(copy);
        writer.write(record, (items[at] as Item).value as Value, copy);
      }
      return undefined;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      for (const row of rows) editor.drop(row);
      return error;
    }
  }

  private copyOf({ context: { batch }, row }: RecordObject): number {
    if (batch.large === undefined) return this.editor.duplicate(row);
    const where = { section: batch.kind.path, key: recordKey(batch, row) };
    throw new StorageError("E_JQ", "jq: a record with a content of 1 MiB or more cannot be given twice", where);
  }

  /** Holds the content of a large value where a program looks at it. */
  private async recordContext(source: RecordBatch, steps: readonly (JqProgram | Slice)[]): Promise<RecordContext> {
    const { kind, large } = source;
    const names = this.names.get(kind) ?? new RecordNames(kind);
    this.names.set(kind, names);
    const { vectors } = this.plan;
    const field = large === undefined ? undefined : kind.fields[large.field]?.name;
    const reads = (step: JqProgram | Slice): boolean =>
      !(step instanceof Slice) && (step.usage.fields?.has(field as string) ?? true);
    if (large === undefined || !steps.some(reads)) return { batch: source, names, vectors, content: undefined };
    const chunks: Buffer[] = [];
    for await (const chunk of large.chunks()) chunks.push(Buffer.from(chunk));
    const content = Buffer.concat(chunks);
    const { rows, bytes, starts, lengths, assumed } = source;
    const batch = new RecordBatch(kind, rows, bytes, starts, lengths, heldValue(large.field, content), assumed);
    return { batch, names, vectors, content };
  }
}

function heldValue(field: number, content: Buffer): LargeValue {
  return {
    field,
    async *chunks() {
      for (let at = 0; at < content.length; at += LARGE_VALUE_BYTES) yield content.subarray(at, at + LARGE_VALUE_BYTES);
    },
    async discard() {},
  };
}
