/** What can be checked only when all records are there: whether they have their parents. */
import { setImmediate as nextTick } from "node:timers/promises";
import { columnOf, type Field, type ForeignKey, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import { StorageError } from "../../../errors.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { describeKey } from "../../../records/record-key.js";
import { mainTable, quoted, rowidOf } from "../table.js";
import type { Load } from "./load-session.js";
import type { TableWriter } from "./table-writer.js";

export type Writers = ReadonlyMap<string, TableWriter>;

/** Orphans that are settled between two visits of the event loop. */
const PAGE = 256;

export function column(kind: RecordKind, name: string): string {
  return quoted(columnOf(kind.fields[fieldIndex(kind, name)] as Field));
}

export function parentOf(load: Load, key: ForeignKey): RecordKind {
  return load.catalog.byPath.get(key.references) as RecordKind;
}

/** Rows that the run inserted or replaced. */
export function writtenRows(writer: TableWriter, alias: string): string {
  const rowid = `${alias}.${writer.rowid}`;
  return `(${writer.newRows(alias)} OR ${rowid} IN (SELECT r FROM ${writer.met} WHERE written = 1))`;
}

/** The child's row has a parent, or NULL where it would name one. */
function hasParent(load: Load, kind: RecordKind, key: ForeignKey): string {
  const parent = parentOf(load, key);
  const pairs = key.fields.map((name, i) => {
    const theirs = column(parent, key.referencedFields[i] as string);
    return `p.${theirs} = c.${column(kind, name)}`;
  });
  const nulls = key.fields.map((name) => `c.${column(kind, name)} IS NULL`);
  return `(${nulls.join(" OR ")} OR EXISTS (SELECT 1 FROM ${quoted(mainTable(parent))} p WHERE ${pairs.join(" AND ")}))`;
}

/**
 * The kind's foreign keys, and those between its table and another kind's that the file declares besides: tables that keep
 * llmspell's own shape have some.
 */
export function foreignKeysOf(load: Load, kind: RecordKind): readonly ForeignKey[] {
  const fieldOf = (of: RecordKind, name: string): string | undefined =>
    of.fields.find((field) => field.sqlite !== false && columnOf(field).toLowerCase() === name.toLowerCase())?.name;
  const rows = load.database
    .prepare('SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) WHERE "to" IS NOT NULL ORDER BY id, seq')
    .raw()
    .all(mainTable(kind)) as [number, string, string, string][];
  const declared = Map.groupBy(rows, ([id]) => id);
  const more = [...declared.values()].flatMap((pairs) => {
    const table = pairs[0]?.[1].toLowerCase();
    const parent = load.catalog.kinds.find((each) => mainTable(each) === table);
    if (parent === undefined) return [];
    const fields = pairs.map(([, , from]) => fieldOf(kind, from));
    const referencedFields = pairs.map(([, , , to]) => fieldOf(parent, to));
    const names = (list: readonly (string | undefined)[]): list is string[] => !list.includes(undefined);
    const known = kind.foreignKeys.some((key) => key.references === parent.path && key.fields.join() === fields.join());
    if (known || !names(fields) || !names(referencedFields)) return [];
    return [{ fields, references: parent.path, referencedFields }];
  });
  return [...kind.foreignKeys, ...more];
}

/**
 * Refuses, drops or rejects the records whose parents are not there; parents' kinds before their children's. Where keys go
 * round in a cycle, what is taken out may have been the parent of one that was looked at before: again, until none is.
 */
export async function settleOrphans(load: Load, writers: Writers): Promise<void> {
  for (const group of load.catalog.importGroups) {
    const ofGroup = group.flatMap(({ path }) => writers.get(path) ?? []).filter((each) => each.foreignKeys.length > 0);
    const refersToItself = ofGroup.some(({ foreignKeys }) =>
      foreignKeys.some(({ references }) => group.some(({ path }) => path === references)),
    );
    let found = true;
    while (found) {
      found = false;
      for (const writer of ofGroup) if (await settleKind(load, writer)) found = refersToItself;
    }
  }
}

/** Whether any record was taken out. */
async function settleKind(load: Load, writer: TableWriter): Promise<boolean> {
  const { kind, table, foreignKeys } = writer;
  const { database, context } = load;
  const at = `c.${writer.rowid}`;
  const orphaned = `FROM ${quoted(table)} c WHERE ${writtenRows(writer, "c")} AND NOT (${foreignKeys.map((key) => hasParent(load, kind, key)).join(" AND ")})`;
  const page = database.prepare(`SELECT ${at} ${orphaned} AND ${at} > ? ORDER BY ${at} LIMIT ${PAGE}`);
  page.safeIntegers().pluck();
  let total: number | undefined;
  for (let after = -(2n ** 63n); ; ) {
    const rowids = page.all(after) as bigint[];
    if (rowids.length === 0) return total !== undefined;
    total ??= database.prepare(`SELECT count(*) ${orphaned}`).pluck().get() as number;
    for (const rowid of rowids) {
      after = rowid;
      const record = writer.stored.read(rowid) as RecordBatch;
      const rejectedParent = foreignKeys.some((key) => isParentRejected(load, key, record));
      if (!rejectedParent && load.options.onOrphan === "drop") {
        writer.undo(rowid, "dropped");
        continue;
      }
      const missing = foreignKeys.find((key) => !isThere(load, kind, key, rowid));
      const located = {
        section: kind.path,
        key: writer.stored.keyOf(rowid),
        field: missing?.fields.at(-1) as string,
      };
      const parent = missing === undefined ? "parent" : parentOf(load, missing).noun;
      const error = rejectedParent
        ? new StorageError("E_PARENT_REJECTED", `the ${parent} that the ${kind.noun} belongs to was rejected`, located)
        : new StorageError("E_ORPHAN", `the ${kind.noun} refers to a ${parent} that is not there`, {
            ...located,
            detail: `records of ${kind.path} without their parents: ${total}`,
            hint: "--on-orphan drop leaves them out.",
          });
      await context.reject({ kind, error, record: recordChunks(record, 0) });
      writer.undo(rowid, "rejected");
    }
    await nextTick();
    context.signal.throwIfAborted();
  }
}

function isThere(load: Load, kind: RecordKind, key: ForeignKey, rowid: bigint): boolean {
  const table = mainTable(kind);
  const query = `SELECT ${hasParent(load, kind, key)} FROM ${quoted(table)} c WHERE c.${rowidOf(load.database, table)} = ?`;
  return load.database.prepare(query).pluck().get(rowid) === 1;
}

function isParentRejected(load: Load, key: ForeignKey, record: RecordBatch): boolean {
  const parent = parentOf(load, key);
  const name = describeKey(parent, (field) => {
    const at = key.referencedFields.indexOf((parent.fields[field] as Field).name);
    return at === -1 ? undefined : record.value(0, fieldIndex(record.kind, key.fields[at] as string));
  });
  return load.context.isRejected(key.references, name);
}
