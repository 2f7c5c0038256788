/**
 * Ids on their way into a store. PostgreSQL holds UUIDs only, in SQLite and documents an id may be any text: here texts
 * become UUIDs (or are refused), and by an id map the texts that they were before.
 */
import { type Field, idDomain, type RecordKind } from "../catalog/index.js";
import { codecOf } from "../codecs/index.js";
import { deriveUuid, formatUuid, idText, isIdText, uuidDigits, withLeadingId, writeId } from "../codecs/uuid.js";
import { recordChunks } from "../document/writing/record-writer.js";
import { StorageError } from "../errors.js";
import { BatchEditor } from "../records/batch-editor.js";
import { DerivedUuids } from "../records/ids/derived-uuids.js";
import type { IdMap } from "../records/ids/id-map.js";
import type { RecordBatch } from "../records/record-batch.js";
import { recordKey } from "../records/record-key.js";
import type { RunContext } from "../records/run-context.js";
import type { Sink } from "./sink.js";

/** What becomes of ids that are no UUIDs: they stay, each such record is bad, or a UUIDv5 is derived from them. */
export type InvalidUuidPolicy = "keep" | "error" | "derive";

export interface IdSinkOptions {
  readonly policy: InvalidUuidPolicy;
  /** Ids that are no UUIDs, by path, where the source can count them before it is read. */
  readonly count?: (() => Promise<ReadonlyMap<string, number>> | undefined) | undefined;
  /** "keep" brings back the ids that UUIDs stand for; the others add to it. */
  readonly idMap?: IdMap | undefined;
  /** The map is not written. */
  readonly dryRun?: boolean | undefined;
}

/** `inner`, which gets ids as the options say. Of what it throws itself: E_INVALID_UUID; and what the map's open and save do. */
export function createIdSink(inner: Sink, options: IdSinkOptions): Sink {
  const { policy, idMap } = options;
  if (policy === "keep" && idMap === undefined) return inner;
  const editor = new BatchEditor();
  const fieldsOf = new Map<string, readonly IdField[]>();
  /** Ids that are no UUIDs, by path: as the source counts them, else as they come. */
  let counted: ReadonlyMap<string, number> | undefined;
  const met = new Map<string, number>();
  let context: RunContext;
  let derived: DerivedUuids;
  /** Why the run will end: the rest is read only to count it. */
  let refusal: StorageError | undefined;

  /** What a text is in PostgreSQL; undefined: nothing. */
  function toUuid(domain: string, text: string, isTold: boolean): string | undefined {
    const digits = uuidDigits(text)?.toLowerCase();
    if (digits === undefined && policy !== "derive") return undefined;
    const bytes = digits === undefined ? deriveUuid(text) : Buffer.from(digits, "hex");
    const uuid = formatUuid(bytes, 0);
    if (digits === undefined && isTold) derived.add(text, uuid);
    if (uuid !== text) idMap?.add(domain, uuid, text);
    return uuid;
  }

  /** Changes the ids of a row; gives the field that holds one that cannot be. */
  function convert(batch: RecordBatch, row: number, fields: readonly IdField[]): Field | undefined {
    const { bytes, starts, lengths, width, kind } = batch;
    let bad: Field | undefined;
    for (const { field, index, domain, isId } of fields) {
      const at = row * width + index;
      const length = lengths[at] as number;
      if (length < 0 || (isId && isIdText(length) === (policy === "keep"))) continue;
      const start = starts[at] as number;
      const text = isId ? idText(bytes, start, length) : bytes.toString("utf8", start, start + length);
      let changed: string | undefined;
      if (!isId) changed = withLeadingId(text, (id) => change(domain, id, false));
      else {
        changed = change(domain, text, true);
        if (policy !== "keep" && uuidDigits(text) === undefined) met.set(kind.path, (met.get(kind.path) ?? 0) + 1);
        if (policy === "error" && changed === undefined) bad ??= field;
      }
      if (changed === undefined || changed === text) continue;
      const from = editor.arena.length;
      if (isId) writeId(field, changed, editor.arena);
      else editor.arena.utf8(changed);
      editor.set(row, index, from);
    }
    return bad;
  }

  function change(domain: string, id: string, isTold: boolean): string | undefined {
    return policy === "keep" ? idMap?.find(domain, id) : toUuid(domain, id, isTold);
  }

  async function refuse(batch: RecordBatch, row: number, field: Field): Promise<void> {
    const error = new StorageError("E_INVALID_UUID", "the id is not a UUID", {
      section: batch.kind.path,
      key: recordKey(batch, row),
      field: field.name,
      hint: "--invalid-uuid derive makes UUIDs of such ids, and --id-map FILE keeps what brings them back.",
    });
    try {
      await context.reject({ kind: batch.kind, error, record: recordChunks(batch, row) });
    } catch (thrown) {
      if (thrown !== error) throw thrown;
      refusal = error;
    }
  }

  function withCounts(error: StorageError): StorageError {
    const counts = [...(counted ?? met)].map(([path, count]) => `${path} ${count}`);
    return new StorageError(error.code, error.message, {
      ...error.context,
      detail: `ids that are no UUIDs: ${counts.join(", ")}`,
    });
  }

  function tell(counts: ReadonlyMap<string, number>): void {
    for (const [path, count] of counts)
      context.warn(`${path}: ${count} ${count === 1 ? "id is no UUID" : "ids are no UUIDs"}`);
  }

  return {
    name: inner.name,
    ...(inner.inCatalogOrder === undefined ? {} : { inCatalogOrder: inner.inCatalogOrder }),
    ...(inner.checksReferences === undefined ? {} : { checksReferences: inner.checksReferences }),

    async open(header, runContext) {
      context = runContext;
      derived = new DerivedUuids(context);
      await idMap?.open();
      await inner.open(header, context);
      if (policy !== "keep") counted = await options.count?.();
      tell(counted ?? new Map());
    },

    async write(batch) {
      let fields = fieldsOf.get(batch.kind.path);
      if (fields === undefined) {
        fields = idFields(batch.kind, policy);
        fieldsOf.set(batch.kind.path, fields);
      }
      editor.begin(batch);
      for (let row = 0; row < batch.rows; row++) {
        const bad = convert(batch, row, fields);
        if (bad === undefined) continue;
        if (refusal === undefined) await refuse(batch, row, bad);
        editor.drop(row);
      }
      if (refusal !== undefined && counted !== undefined) throw withCounts(refusal);
      const edited = refusal === undefined ? editor.finish() : undefined;
      if (edited === undefined) await batch.large?.discard();
      else await inner.write(edited);
    },

    async finish(run) {
      if (refusal !== undefined) throw withCounts(refusal);
      if (counted === undefined) tell(met);
      derived.finish();
      if (policy !== "keep" && options.dryRun !== true) {
        const several = (await idMap?.save()) ?? 0;
        if (several > 0)
          context.warn(`${several} UUIDs of the id map stand for more than one id: the first comes back`);
      }
      return inner.finish(run);
    },

    async abort() {
      idMap?.close();
      await inner.abort();
    },
  };
}

/** A field that holds an id, or begins with one. */
interface IdField {
  readonly field: Field;
  readonly index: number;
  readonly domain: string;
  /** Else a text that begins with one. */
  readonly isId: boolean;
}

/** Texts that begin with an id follow it where that is another than before, not only spelled otherwise. */
function idFields(kind: RecordKind, policy: InvalidUuidPolicy): readonly IdField[] {
  return [...kind.fields.entries()]
    .map(([index, field]) => ({ field, index, domain: idDomain(kind, field), isId: codecOf(field).sqlite === "id" }))
    .filter(({ field, isId }) => isId || (field.beginsWith !== undefined && policy !== "error"));
}
