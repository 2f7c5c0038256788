/** What a comparison of two stores finds, record by record. */
import { randomBytes } from "node:crypto";
import type { Catalog, RecordKind } from "../../catalog/index.js";
import { ByteWriter } from "../../codecs/byte-writer.js";
import { Spool } from "../../document/files/spool.js";
import type { ErrorCode } from "../../errors.js";
import type { RecordBatch } from "../../records/record-batch.js";
import { writeFieldToken } from "../../records/record-json.js";
import { recordKey } from "../../records/record-key.js";
import type { Rejection } from "../../records/run-context.js";
import { RejectedKeys } from "../../transforms/rejected-keys.js";
import type { KeyOrder } from "./key-order.js";
import { type Comparison, RecordComparison } from "./record-comparison.js";
import type { JoinTarget, Side } from "./record-join.js";

/** One record that is not the same in both stores. */
export interface Difference {
  readonly section: string;
  /** As `recordKey` gives it. */
  readonly key: string;
  /** "meaning": equal by meaning, told where that counts (`strict`). */
  readonly difference: "onlyInA" | "onlyInB" | "different" | "meaning" | "unreadableInA" | "unreadableInB";
  /** Of "different" and "meaning". */
  readonly fields?: readonly string[];
  /** With `showValues`, by field: JSON as a document has it, long ones cut; null: NULL, or the document lacks the key. */
  readonly values?: Readonly<Record<string, { readonly a: string | null; readonly b: string | null }>>;
  /** Why a record could not be read. */
  readonly code?: ErrorCode;
  readonly field?: string;
}

/** What became of a section's records. */
export interface SectionVerification {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  /** The same canonical bytes. */
  readonly identical: number;
  /** Other bytes, and the same meaning. */
  readonly byMeaning: number;
  readonly onlyInA: number;
  readonly onlyInB: number;
  readonly different: number;
  readonly unreadableInA: number;
  readonly unreadableInB: number;
  /** How many records differ in each field that is different in any. */
  readonly fields: Readonly<Record<string, number>>;
  /** Fields that records of one side do not hold (documents of llmspell's own lack some): they were not compared. */
  readonly notHeld: readonly string[];
  /** The first differences. */
  readonly first: readonly Difference[];
}

export interface VerificationOptions {
  readonly catalog: Catalog;
  readonly showValues: boolean;
  /** Whether records that are equal only by meaning are told. */
  readonly tellsMeaning: boolean;
  /** Whether every difference is kept, for `differences`. */
  readonly keepsAll: boolean;
}

/** So many differences of a section are in its result. */
export const FIRST_DIFFERENCES = 10;
/** Longer values are cut here. */
const VALUE_CHARACTERS = 200;
/** What is written at once. Bytes. */
const WRITE_BYTES = 65536;

interface Tally {
  readonly kind: RecordKind;
  readonly comparison: RecordComparison;
  readonly counts: Record<
    "identical" | "byMeaning" | "onlyInA" | "onlyInB" | "different" | "unreadableInA" | "unreadableInB",
    number
  >;
  readonly fields: Map<string, number>;
  readonly notHeld: Set<string>;
  readonly first: Difference[];
}

/** A seed for a sample, where none was given. */
export function randomSeed(): string {
  return randomBytes(4).toString("hex");
}

export class Verification implements JoinTarget {
  private readonly tallies = new Map<RecordKind, Tally>();
  private readonly unreadable: Readonly<Record<Side, RejectedKeys>>;
  private readonly lines = new ByteWriter(4096);
  private spool: Spool | undefined;
  private last: Tally | undefined;

  constructor(private readonly options: VerificationOptions) {
    const paths = new Set(options.catalog.kinds.map(({ path }) => path));
    this.unreadable = { a: new RejectedKeys(paths), b: new RejectedKeys(paths) };
  }

  pair(a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): void | Promise<void> {
    const tally = this.tallyOf(a.kind);
    if (a.large === undefined && b.large === undefined) {
      this.count(tally, tally.comparison.compare(a, aRow, b, bRow), a, aRow, b, bRow);
      return this.settle();
    }
    return tally.comparison
      .compareLarge(a, aRow, b, bRow)
      .then((found) => this.count(tally, found, a, aRow, b, bRow))
      .then(() => this.settle());
  }

  alone(side: Side, kind: RecordKind, key: Buffer, order: KeyOrder): void | Promise<void> {
    const tally = this.tallyOf(kind);
    const other = this.unreadable[side === "a" ? "b" : "a"];
    const isFirst = tally.first.length < FIRST_DIFFERENCES;
    if (!other.hasAny(kind.path) && !isFirst && !this.options.keepsAll) {
      tally.counts[side === "a" ? "onlyInA" : "onlyInB"]++;
      return;
    }
    const name = order.describe(key);
    // It was told already: the other side has it, and cannot read it.
    if (other.has(kind.path, name)) return;
    tally.counts[side === "a" ? "onlyInA" : "onlyInB"]++;
    this.tell(tally, { section: kind.path, key: name, difference: side === "a" ? "onlyInA" : "onlyInB" });
    return this.settle();
  }

  /** A record that a side has and cannot give. */
  async reject(side: Side, { kind, error }: Rejection): Promise<void> {
    const tally = this.tallyOf(kind);
    const key = `${error.context.key}`;
    const { field } = error.context;
    const difference = side === "a" ? "unreadableInA" : "unreadableInB";
    await this.unreadable[side].add(kind.path, key);
    tally.counts[difference]++;
    this.tell(tally, {
      section: kind.path,
      key,
      difference,
      code: error.code,
      ...(field === undefined ? {} : { field }),
    });
    await this.settle();
  }

  /** In the catalog's order, those that have records. */
  sections(): SectionVerification[] {
    return this.options.catalog.kinds.flatMap((kind) => {
      const tally = this.tallies.get(kind);
      if (tally === undefined) return [];
      const { counts, fields, notHeld, first } = tally;
      const inOrder = kind.fields
        .filter(({ name }) => fields.has(name))
        .map(({ name }) => [name, fields.get(name) ?? 0]);
      return [
        {
          path: kind.path,
          label: kind.label,
          ...counts,
          fields: Object.fromEntries(inOrder),
          notHeld: kind.fields.map(({ name }) => name).filter((name) => notHeld.has(name)),
          first,
        },
      ];
    });
  }

  /** All of them, as NDJSON, in chunks (each valid until the next), in the order in which they were found. */
  async *differences(): AsyncGenerator<Buffer, void, undefined> {
    if (this.spool !== undefined) {
      const input = this.spool.reader();
      const chunk = Buffer.allocUnsafeSlow(WRITE_BYTES);
      for (let count = await input.read(chunk, 0); count > 0; count = await input.read(chunk, 0))
        yield chunk.subarray(0, count);
    }
    if (this.lines.length > 0) yield this.lines.view();
  }

  /** Idempotent; never throws. */
  async close(): Promise<void> {
    await this.spool?.close();
    await this.unreadable.a.close();
    await this.unreadable.b.close();
  }

  private count(tally: Tally, found: Comparison, a: RecordBatch, aRow: number, b: RecordBatch, bRow: number): void {
    const { different, byMeaning, unheld } = found;
    const { counts, kind } = tally;
    const nameOf = (index: number): string => (kind.fields[index] as (typeof kind.fields)[number]).name;
    for (const index of unheld) tally.notHeld.add(nameOf(index));
    if (different.length > 0) counts.different++;
    else if (byMeaning.length > 0 || unheld.length > 0) counts.byMeaning++;
    else {
      counts.identical++;
      return;
    }
    for (const index of different) tally.fields.set(nameOf(index), (tally.fields.get(nameOf(index)) ?? 0) + 1);
    const told = different.length > 0 ? different : this.options.tellsMeaning ? [...byMeaning, ...unheld] : [];
    if (told.length === 0 || (tally.first.length === FIRST_DIFFERENCES && !this.options.keepsAll)) return;
    const fields = [...told].sort((one, other) => one - other);
    this.tell(tally, {
      section: kind.path,
      key: recordKey(a, aRow),
      difference: different.length > 0 ? "different" : "meaning",
      fields: fields.map(nameOf),
      ...(this.options.showValues
        ? {
            values: Object.fromEntries(
              fields.map((index) => [nameOf(index), { a: valueText(a, aRow, index), b: valueText(b, bRow, index) }]),
            ),
          }
        : {}),
    });
  }

  private tell(tally: Tally, difference: Difference): void {
    if (tally.first.length < FIRST_DIFFERENCES) tally.first.push(difference);
    if (this.options.keepsAll) this.lines.utf8(`${JSON.stringify(difference)}\n`);
  }

  /** Moves the lines to a file when they are many. */
  private settle(): undefined | Promise<void> {
    return this.lines.length < WRITE_BYTES ? undefined : this.spill();
  }

  private async spill(): Promise<void> {
    this.spool ??= await Spool.create();
    const lines = Buffer.from(this.lines.view());
    this.lines.length = 0;
    this.spool.appendNow(lines);
  }

  private tallyOf(kind: RecordKind): Tally {
    if (this.last?.kind === kind) return this.last;
    let tally = this.tallies.get(kind);
    if (tally === undefined) {
      const counts = {
        identical: 0,
        byMeaning: 0,
        onlyInA: 0,
        onlyInB: 0,
        different: 0,
        unreadableInA: 0,
        unreadableInB: 0,
      };
      tally = {
        kind,
        comparison: new RecordComparison(kind),
        counts,
        fields: new Map(),
        notHeld: new Set(),
        first: [],
      };
      this.tallies.set(kind, tally);
    }
    this.last = tally;
    return tally;
  }
}

function valueText(batch: RecordBatch, row: number, field: number): string | null {
  if (batch.large?.field === field) return "content of 1 MiB or more";
  if (batch.isNull(row, field)) return null;
  const out = new ByteWriter(256);
  if (!writeFieldToken(batch, row, field, out)) return null;
  const text = out.view().toString("utf8");
  return text.length <= VALUE_CHARACTERS ? text : `${text.slice(0, VALUE_CHARACTERS)}…`;
}
