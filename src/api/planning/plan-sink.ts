/** A sink that writes nothing: it finds what the load would make of each record. */
import { hash } from "node:crypto";
import { fieldIndex, type RecordKind, uniqueKeysOf } from "../../catalog/index.js";
import { located } from "../../codecs/index.js";
import { StorageError } from "../../errors.js";
import { createConstraintCheck } from "../../records/constraints.js";
import { createKeyDigest, type KeyDigest } from "../../records/key-digest.js";
import type { LoadPlanner, Meeting } from "../../records/loads/load-plan.js";
import { NULL_VALUE, type RecordBatch } from "../../records/record-batch.js";
import { describeKey, keylessConflict, recordKey } from "../../records/record-key.js";
import type { RunContext } from "../../records/run-context.js";
import type { Sink } from "../../sinks/sink.js";
import type { openKeyLedger } from "../../stores/index.js";

type KeyLedger = Awaited<ReturnType<typeof openKeyLedger>>;

/** What would become of one kind's records. */
export interface PlannedCounts {
  records: number;
  bytes: number;
  added: number;
  same: number;
  changed: number;
  refused: number;
  /** Orphans that are left out (`onOrphan: "drop"`). */
  dropped: number;
}

export interface PlanSinkOptions {
  readonly name: string;
  readonly planner: LoadPlanner;
  readonly ledger: KeyLedger;
  readonly kinds: readonly RecordKind[];
  readonly onConflict: "update" | "skip" | "error";
  readonly onOrphan: "error" | "drop";
  /** Orphans, when all records have come: so many, and the first. */
  readonly onOrphans: (kind: RecordKind, error: StorageError, count: number) => void;
}

/** What is asked of one kind's records. */
interface Asked {
  readonly number: number;
  readonly check: (batch: RecordBatch, row: number) => void;
  readonly keys: readonly { readonly slot: number; readonly digest: KeyDigest; readonly fields: readonly string[] }[];
  readonly parents: readonly { readonly slot: number; readonly digest: KeyDigest }[];
  readonly counts: PlannedCounts;
  empty: boolean | undefined;
}

/** The digest of all of a record's values. `large`: that of the content which is no part of the batch. */
async function recordDigest(batch: RecordBatch, row: number, large: Buffer | undefined): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let field = 0; field < batch.width; field++) {
    const length = batch.lengths[row * batch.width + field] as number;
    const head = Buffer.alloc(5);
    head.writeInt32BE(length < 0 ? 0 : length);
    head.writeUInt8(length === NULL_VALUE ? 1 : 0, 4);
    parts.push(head);
    if (length >= 0) parts.push(batch.value(row, field));
    else if (length !== NULL_VALUE && large !== undefined) parts.push(large);
  }
  return hash("sha256", Buffer.concat(parts), "buffer");
}

/** Reads a large content to its end: its digest, and its bytes. */
async function readLarge(batch: RecordBatch): Promise<{ digest: Buffer; bytes: number } | undefined> {
  if (batch.large === undefined) return undefined;
  const { createHash } = await import("node:crypto");
  const sum = createHash("sha256");
  let bytes = 0;
  for await (const chunk of batch.large.chunks()) {
    sum.update(chunk);
    bytes += chunk.length;
  }
  return { digest: sum.digest(), bytes };
}

export class PlanSink implements Sink {
  readonly name: string;
  readonly checksReferences = true;
  readonly counts = new Map<string, PlannedCounts>();
  private readonly asked = new Map<string, Asked>();
  private readonly slots = new Map<string, number>();
  private context: RunContext | undefined;

  constructor(private readonly options: PlanSinkOptions) {
    this.name = options.name;
  }

  async open(_header: unknown, context: RunContext): Promise<void> {
    this.context = context;
  }

  /** A row of the target, where only its own source can say what it has. Before any record. */
  async noteThere(batch: RecordBatch): Promise<void> {
    const { keys } = await this.of(batch.kind);
    const large = await readLarge(batch);
    for (let row = 0; row < batch.rows; row++) {
      const digest = await recordDigest(batch, row, large?.digest);
      for (const { slot, digest: keyOf } of [...keys, ...this.referencedKeys(batch.kind)]) {
        const key = keyOf(batch, row);
        if (key !== undefined) this.options.ledger.noteThere(slot, Buffer.from(key), digest);
      }
    }
    await batch.large?.discard();
  }

  async write(batch: RecordBatch): Promise<void> {
    const { kind } = batch;
    const asked = await this.of(kind);
    const { counts } = asked;
    counts.records += batch.rows;
    counts.bytes += batch.byteLength;
    const meetings = await this.options.planner.meet?.(batch);
    const large = await readLarge(batch);
    counts.bytes += large?.bytes ?? 0;
    for (let row = 0; row < batch.rows; row++) {
      const meeting = meetings?.[row] ?? (await this.meet(batch, row, asked, large?.digest));
      const outcome = this.arrive(batch, row, asked, meeting.outcome);
      if (outcome instanceof StorageError) {
        counts.refused++;
        const where = { section: kind.path, key: recordKey(batch, row) };
        await this.context?.reject({ kind, error: located(outcome, where) as StorageError });
        continue;
      }
      counts[outcome === "new" ? "added" : outcome]++;
      if (this.options.onConflict === "skip" && outcome !== "new") continue;
      this.noteLacks(batch, row, asked, meeting.parents);
    }
    await batch.large?.discard();
  }

  /** What is not known of the target by its own query. */
  private async meet(
    batch: RecordBatch,
    row: number,
    { check, keys, empty }: Asked,
    large: Buffer | undefined,
  ): Promise<Meeting> {
    try {
      check(batch, row);
    } catch (error) {
      if (error instanceof StorageError) return { outcome: error, parents: [] };
      throw error;
    }
    const { kind } = batch;
    if (kind.keyless === true) return { outcome: empty === false ? keylessConflict(kind) : "new", parents: [] };
    const digest = await recordDigest(batch, row, large);
    const found = new Set<string>();
    for (const { slot, digest: keyOf } of keys) {
      const key = keyOf(batch, row);
      const there = key === undefined ? undefined : this.options.ledger.there(slot, key);
      if (there !== undefined) found.add(there.toString("hex"));
    }
    if (found.size === 0) return { outcome: "new", parents: [] };
    if (found.size > 1)
      return { outcome: new StorageError("E_KEY_CONFLICT", "the record matches two rows of the target"), parents: [] };
    if (this.options.onConflict === "error")
      return { outcome: new StorageError("E_CONFLICT", "the target already has the record"), parents: [] };
    return { outcome: found.has(digest.toString("hex")) ? "same" : "changed", parents: [] };
  }

  /** Of two records of one run that share a key the later one is refused. */
  private arrive(batch: RecordBatch, row: number, { keys }: Asked, outcome: Meeting["outcome"]): Meeting["outcome"] {
    if (outcome instanceof StorageError) return outcome;
    let result = outcome as Meeting["outcome"];
    for (const { slot, digest, fields } of keys) {
      const key = digest(batch, row);
      if (key === undefined || this.options.ledger.noteArrived(slot, key)) continue;
      result = new StorageError("E_KEY_CONFLICT", `two records of the run have the same (${fields.join(", ")})`);
    }
    if (!(result instanceof StorageError))
      for (const { slot, digest } of this.referencedKeys(batch.kind)) {
        const key = digest(batch, row);
        if (key !== undefined) this.options.ledger.noteArrived(slot, key);
      }
    return result;
  }

  private noteLacks(batch: RecordBatch, row: number, { number, parents }: Asked, have: readonly boolean[]): void {
    for (const [at, { slot, digest }] of parents.entries()) {
      if (have[at] === true) continue;
      const key = digest(batch, row);
      if (key === undefined) continue;
      const foreignKey = batch.kind.foreignKeys[at] as (typeof batch.kind.foreignKeys)[number];
      const parent = this.kindOf(foreignKey.references);
      this.options.ledger.noteLack({
        kind: number,
        foreignKey: at,
        slot,
        key: Buffer.from(key),
        child: recordKey(batch, row),
        parent: describeKey(parent, (index) => {
          const place = foreignKey.referencedFields.indexOf(
            (parent.fields[index] as (typeof parent.fields)[number]).name,
          );
          return place < 0 ? undefined : batch.value(row, fieldIndex(batch.kind, foreignKey.fields[place] as string));
        }),
      });
    }
  }

  async finish() {
    const { ledger, kinds, onOrphan, onOrphans } = this.options;
    for (const { kind: number, foreignKey, count, first, parent } of ledger.orphans()) {
      const kind = kinds[number] as RecordKind;
      const key = kind.foreignKeys[foreignKey] as (typeof kind.foreignKeys)[number];
      const { noun } = this.kindOf(key.references);
      const counts = this.counts.get(kind.path) as PlannedCounts;
      const isRejected = this.context?.isRejected(key.references, parent) === true;
      if (onOrphan === "drop" && !isRejected) {
        counts.dropped += count;
        counts.added -= count;
        continue;
      }
      counts.refused += count;
      counts.added -= count;
      const where = { section: kind.path, key: first, field: key.fields.at(-1) as string };
      const error = isRejected
        ? new StorageError("E_PARENT_REJECTED", `its ${noun} was rejected`, where)
        : new StorageError("E_ORPHAN", `the ${noun} that it belongs to is not there`, {
            ...where,
            detail: `it refers to the ${noun} ${parent}`,
            hint: "--on-orphan drop leaves such records out and counts them.",
          });
      onOrphans(kind, error, count);
    }
    return { counts: new Map(), notes: [] };
  }

  async abort(): Promise<void> {}

  private kindOf(path: string): RecordKind {
    return this.options.kinds.find((kind) => kind.path === path) as RecordKind;
  }

  private slotOf(path: string, fields: readonly string[]): number {
    const name = `${path} ${fields.join(" ")}`;
    const slot = this.slots.get(name) ?? this.slots.size;
    this.slots.set(name, slot);
    return slot;
  }

  /** The fields of the kind that others refer to, where these are no key of it. */
  private referencedKeys(kind: RecordKind): { slot: number; digest: KeyDigest }[] {
    const keys = new Set(uniqueKeysOf(kind).map((fields) => fields.join(" ")));
    return this.options.kinds
      .flatMap(({ foreignKeys }) => foreignKeys)
      .filter(({ references, referencedFields }) => references === kind.path && !keys.has(referencedFields.join(" ")))
      .map(({ referencedFields }) => ({
        slot: this.slotOf(kind.path, referencedFields),
        digest: createKeyDigest(kind, referencedFields),
      }));
  }

  private async of(kind: RecordKind): Promise<Asked> {
    const known = this.asked.get(kind.path);
    if (known !== undefined) return known;
    const counts = { records: 0, bytes: 0, added: 0, same: 0, changed: 0, refused: 0, dropped: 0 };
    const { empty } = await this.options.planner.rowsOf(kind);
    const asked: Asked = {
      number: this.options.kinds.findIndex(({ path }) => path === kind.path),
      check: createConstraintCheck(kind),
      keys: uniqueKeysOf(kind).map((fields) => ({
        slot: this.slotOf(kind.path, fields),
        digest: createKeyDigest(kind, fields),
        fields,
      })),
      parents: kind.foreignKeys.map(({ references, fields, referencedFields }) => ({
        slot: this.slotOf(references, referencedFields),
        digest: createKeyDigest(kind, fields),
      })),
      counts,
      empty,
    };
    this.counts.set(kind.path, counts);
    this.asked.set(kind.path, asked);
    return asked;
  }
}
