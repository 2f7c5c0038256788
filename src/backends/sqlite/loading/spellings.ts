/** References to rows that were there before the run use the text in which their ids are stored. */
import { columnOf, type Field, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { isIdText } from "../../../codecs/uuid.js";
import { NULL_VALUE } from "../../../records/record-batch.js";
import { mainTable, quoted, uuidOrDerivedSql } from "../table.js";
import { idDigits, spelledFields } from "./key-lookup.js";
import type { Load } from "./load-session.js";
import type { SqlParam, UuidSpelling } from "./row-encoder.js";

interface Reference {
  readonly parent: RecordKind;
  /** [own field, the parent's field] as indexes. */
  readonly pairs: readonly (readonly [own: number, parent: number])[];
}

function referencesOf(load: Load, kind: RecordKind): Reference[] {
  const keys = kind.foreignKeys.map(({ references, fields, referencedFields }) => {
    const parent = load.catalog.byPath.get(references) as RecordKind;
    const pairs = fields.map(
      (name, i) => [fieldIndex(kind, name), fieldIndex(parent, referencedFields[i] as string)] as const,
    );
    return { parent, pairs };
  });
  const loose = kind.fields.flatMap(({ refersTo }, own) => {
    const parent = refersTo === undefined ? undefined : load.catalog.byPath.get(refersTo.kind);
    if (refersTo === undefined || parent === undefined) return [];
    return [{ parent, pairs: [[own, fieldIndex(parent, refersTo.field)] as const] }];
  });
  return [...keys, ...loose];
}

/** For each id field that refers to rows of which some are spelled otherwise: how to find their spelling. */
export function referenceSpellings(load: Load, kind: RecordKind): ReadonlyMap<number, UuidSpelling> {
  const spellings = new Map<number, UuidSpelling>();
  for (const { parent, pairs } of referencesOf(load, kind)) {
    const spelled = spelledFields(load.database, parent);
    for (const [own, theirs] of pairs)
      if (spelled.has(theirs)) spellings.set(own, createSpelling(load, kind, parent, pairs, theirs));
  }
  return spellings;
}

function createSpelling(
  load: Load,
  kind: RecordKind,
  parent: RecordKind,
  pairs: Reference["pairs"],
  wanted: number,
): UuidSpelling {
  const columnAt = (index: number): string => quoted(columnOf(parent.fields[index] as Field));
  const isUuid = (index: number): boolean => codecOf(parent.fields[index] as Field).sqlite === "id";
  const compared = pairs.map(([, theirs]) => (isUuid(theirs) ? uuidOrDerivedSql(columnAt(theirs)) : columnAt(theirs)));
  load.createIndex(mainTable(parent), compared, false);
  const where = compared.map((expression) => `${expression} = ?`).join(" AND ");
  const field = parent.fields[wanted] as Field;
  // A row that has the very id is the one that is meant.
  const order = `ORDER BY ${columnAt(wanted)} = ? DESC`;
  const select = load.database
    .prepare(`SELECT ${columnAt(wanted)} FROM ${quoted(mainTable(parent))} WHERE ${where} ${order} LIMIT 1`)
    .pluck();
  const [reference] = pairs.find(([, theirs]) => theirs === wanted) as readonly [number, number];
  return (batch, row) => {
    const values: SqlParam[] = [];
    // A text is the very id.
    if (field.chosen && isIdText(batch.lengths[row * batch.width + reference] as number)) return undefined;
    for (const [own, theirs] of pairs) {
      const at = row * batch.width + own;
      const length = batch.lengths[at] as number;
      if (length === NULL_VALUE) return undefined;
      const start = batch.starts[at] as number;
      if (isUuid(theirs)) values.push(idDigits(batch, row, own));
      else values.push(codecOf(kind.fields[own] as Field).toParam(batch.bytes, start, length));
    }
    const at = row * batch.width + reference;
    values.push(codecOf(field).toParam(batch.bytes, batch.starts[at] as number, batch.lengths[at] as number));
    return select.get(values) as string | undefined;
  };
}
