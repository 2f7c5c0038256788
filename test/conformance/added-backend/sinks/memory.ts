/** Writes a database in memory: all or nothing, by the rules of ARCHITECTURE.md, "Conflicts". */
import { type Catalog, fieldIndex, type RecordKind } from "../../../../src/catalog/index.js";
import { recordChunks } from "../../../../src/document/writing/record-writer.js";
import { StorageError } from "../../../../src/errors.js";
import { createConstraintCheck } from "../../../../src/records/constraints.js";
import { BatchBuilder } from "../../../../src/records/record-batch.js";
import { describeKey, recordKey } from "../../../../src/records/record-key.js";
import type { RunContext } from "../../../../src/records/run-context.js";
import type { Sink } from "../../../../src/sinks/sink.js";
import { append, keyOf, type MemoryDatabase, openMemory, type Values, valuesOf } from "../backends/memory/database.js";

export interface MemorySinkOptions {
  readonly name: string;
  readonly catalog: Catalog;
  readonly onConflict?: "update" | "skip" | "error" | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly dryRun?: boolean | undefined;
}

interface Incoming {
  readonly values: Values;
  /** Fields that the record does not hold: a row that is there keeps its own. */
  readonly assumed: ReadonlySet<number>;
}

/**
 * open: E_STORE_NOT_FOUND. What one record causes goes to `context.reject`: E_MISSING_FIELD, E_CHECK, E_OUT_OF_RANGE,
 * E_CONFLICT, E_KEY_CONFLICT, E_TENANT_CONFLICT, E_ORPHAN.
 */
export function createMemorySink(options: MemorySinkOptions): Sink {
  const { name, catalog, dryRun = false } = options;
  const incoming = new Map<string, Incoming[]>();
  let database: MemoryDatabase | undefined;
  let context: RunContext | undefined;
  const opened = () => {
    if (database === undefined || context === undefined) throw new Error("the sink is not open");
    return { database, context };
  };
  return {
    name: `memory:${name}`,
    async open(_header, given) {
      database = openMemory(name);
      context = given;
    },
    async write(batch) {
      const { kind } = batch;
      const check = createConstraintCheck(kind);
      const list = incoming.get(kind.path) ?? [];
      incoming.set(kind.path, list);
      for (let row = 0; row < batch.rows; row++) {
        try {
          check(batch, row);
        } catch (error) {
          const { code, message, context: where } = error as StorageError;
          const located = new StorageError(code, message, { ...where, section: kind.path, key: recordKey(batch, row) });
          await opened().context.reject({ kind, error: located, record: recordChunks(batch, row) });
          continue;
        }
        const assumed = new Set([...kind.fields.keys()].filter((field) => batch.isAssumed(row, field)));
        list.push({ values: await valuesOf(batch, row), assumed });
      }
    },
    async finish() {
      const { database, context } = opened();
      const kinds = new Map<string, KindLoad>();
      // Parents first: a record that is dropped leaves its children without their parent.
      for (const kind of catalog.importOrder) {
        const load = new KindLoad(kind, database.records.get(kind.path) ?? [], options, context);
        kinds.set(kind.path, load);
        for (const record of incoming.get(kind.path) ?? []) await load.add(record);
        await load.settleOrphans(kinds);
      }
      const notes = [...kinds.values()].flatMap((load) => load.raiseCounters(kinds));
      if (!dryRun) database.records = new Map([...kinds].map(([path, load]) => [path, load.rows()]));
      return { counts: new Map([...kinds].map(([path, { counts }]) => [path, counts])), notes };
    },
    async abort() {
      incoming.clear();
    },
  };
}

/** One kind's rows in the course of a run. */
class KindLoad {
  readonly counts = { inserted: 0, updated: 0, skipped: 0, dropped: 0 };
  /** Records of this run by the rows that they replace. */
  private readonly replaced = new Map<Values, Values>();
  /** Other rows, when their counters were raised. */
  private readonly kept = new Map<Values, Values>();
  private readonly added: Values[] = [];
  /** For the key and each unique key: the rows from before the run, and the records of this run, by their values. */
  private readonly keys: readonly {
    readonly of: (values: Values) => string | undefined;
    readonly before: ReadonlyMap<string | undefined, Values>;
    readonly taken: Map<string | undefined, Values>;
  }[];
  /** The record of this run that matches a row from before it. */
  private readonly matching = new Map<Values, Values>();

  constructor(
    private readonly kind: RecordKind,
    private readonly before: readonly Values[],
    private readonly options: MemorySinkOptions,
    private readonly context: RunContext,
  ) {
    this.keys = [kind.key, ...(kind.uniqueKeys ?? [])].map((names) => {
      const of = keyOf(kind, names);
      return { of, before: new Map(before.map((row) => [of(row), row])), taken: new Map() };
    });
  }

  async add({ values, assumed }: Incoming): Promise<void> {
    const matched = new Set(this.known(values, "before"));
    const [row] = matched;
    const [twin] = [...this.known(values, "taken"), ...(row === undefined ? [] : [this.matching.get(row)])];
    const refusal = this.refusal(values, [...matched], twin);
    if (refusal !== undefined) return this.reject(values, refusal);
    for (const { of, taken } of this.keys) if (of(values) !== undefined) taken.set(of(values), values);
    if (row === undefined) {
      this.added.push(values);
      this.counts.inserted++;
      return;
    }
    this.matching.set(row, values);
    if (this.options.onConflict === "skip") {
      this.counts.skipped++;
      return;
    }
    this.replaced.set(
      row,
      values.map((value, field) => (assumed.has(field) ? (row[field] as Buffer | null) : value)),
    );
    this.counts.updated++;
  }

  private known(values: Values, where: "before" | "taken"): Values[] {
    return this.keys.flatMap((key) => {
      const text = key.of(values);
      const found = text === undefined ? undefined : key[where].get(text);
      return found === undefined ? [] : [found];
    });
  }

  private refusal(values: Values, matched: readonly Values[], twin: Values | undefined): StorageError | undefined {
    const [row] = matched;
    if (matched.length > 1) {
      const rows = matched.map((each) => this.nameOf(each)).join(" and ");
      return this.error("E_KEY_CONFLICT", values, `the record matches ${matched.length} rows of the target`, rows);
    }
    const tenant = this.kind.fields.findIndex((field) => field.name === "tenant_id");
    if (row !== undefined && tenant >= 0 && !(row[tenant] as Buffer).equals(values[tenant] as Buffer))
      return this.error("E_TENANT_CONFLICT", values, "the target has the record under another tenant");
    if (row !== undefined && this.options.onConflict === "error")
      return this.error("E_CONFLICT", values, "the target already has the record");
    if (twin === undefined) return undefined;
    return this.error("E_KEY_CONFLICT", values, "two records of the run meet on one unique key", this.nameOf(twin));
  }

  /** Refuses or drops the records of this run whose parents are not there. */
  async settleOrphans(kinds: ReadonlyMap<string, KindLoad>): Promise<void> {
    for (const { fields, references, referencedFields } of this.kind.foreignKeys) {
      const parent = kinds.get(references) as KindLoad;
      const there = new Set(parent.rows().map(keyOf(parent.kind, referencedFields)));
      const of = keyOf(this.kind, fields);
      const isOrphan = (values: Values): boolean => of(values) !== undefined && !there.has(of(values));
      const orphans = [...this.added, ...this.replaced.values()].filter(isOrphan);
      for (const values of orphans) {
        this.takeBack(values);
        if (this.options.onOrphan === "drop") {
          this.counts.dropped++;
          continue;
        }
        const message = `the ${this.kind.noun} refers to a ${parent.kind.noun} that is not there`;
        const detail = `records of ${this.kind.path} without their parents: ${orphans.length}`;
        await this.reject(values, this.error("E_ORPHAN", values, message, detail));
      }
    }
  }

  private takeBack(values: Values): void {
    const at = this.added.indexOf(values);
    if (at >= 0) {
      this.added.splice(at, 1);
      this.counts.inserted--;
      return;
    }
    for (const [row, record] of this.replaced) if (record === values) this.replaced.delete(row);
    this.counts.updated--;
  }

  /**
   * Counters that parents keep of these records (ForeignKey.counter) come as they were exported: one is raised where the
   * target has children of its own, or keeps its own parent. Gives a line for each counter.
   */
  raiseCounters(kinds: ReadonlyMap<string, KindLoad>): string[] {
    return this.kind.foreignKeys.flatMap(({ fields, references, referencedFields, counter }) => {
      if (counter === undefined) return [];
      const parent = kinds.get(references) as KindLoad;
      const of = keyOf(this.kind, fields);
      const named = keyOf(parent.kind, referencedFields);
      const there = Map.groupBy(
        this.before.filter((row) => !this.matching.has(row)),
        of,
      );
      const moved = [...this.replaced].filter(([row, values]) => of(row) !== of(values)).map(([, values]) => values);
      const arriving = Map.groupBy([...this.added, ...moved], of);
      const isWithout = this.added.length === 0 && this.matching.size === 0;
      const raised = parent.raise(fieldIndex(parent.kind, counter), (values, isBrought, count) => {
        const children = ((isBrought ? there : arriving).get(named(values)) ?? []).length;
        return isWithout ? Math.max(count, children) : Math.min(count + children, 2 ** 31 - 1);
      });
      const nouns = `${parent.kind.noun}${raised === 1 ? "" : "s"}`;
      const why = `source and target both have ${this.kind.noun}s of it`;
      return raised === 0 ? [] : [`${counter} of ${raised} ${nouns} was raised: ${why}`];
    });
  }

  /** Gives how many rows' int4 became another. */
  private raise(field: number, toCount: (values: Values, isBrought: boolean, count: number) => number): number {
    let raised = 0;
    const change = (values: Values, isBrought: boolean): Values => {
      const count = (values[field] as Buffer).readInt32BE();
      const value = Buffer.alloc(4);
      value.writeInt32BE(toCount(values, isBrought, count));
      if (value.readInt32BE() === count) return values;
      raised++;
      return values.with(field, value);
    };
    for (const row of this.before) {
      const record = this.replaced.get(row);
      if (record !== undefined) this.replaced.set(row, change(record, true));
      else this.kept.set(row, change(this.kept.get(row) ?? row, false));
    }
    for (const [at, values] of this.added.entries()) this.added[at] = change(values, true);
    return raised;
  }

  rows(): Values[] {
    return [...this.before.map((row) => this.replaced.get(row) ?? this.kept.get(row) ?? row), ...this.added];
  }

  private nameOf(values: Values): string {
    return describeKey(this.kind, (field) => values[field] ?? undefined);
  }

  private error(code: StorageError["code"], values: Values, message: string, detail?: string): StorageError {
    const context = { section: this.kind.path, key: this.nameOf(values) };
    return new StorageError(code, message, detail === undefined ? context : { ...context, detail });
  }

  private async reject(values: Values, error: StorageError): Promise<void> {
    const builder = new BatchBuilder(this.kind);
    append(builder, values);
    await this.context.reject({ kind: this.kind, error, record: recordChunks(builder.take(), 0) });
  }
}
