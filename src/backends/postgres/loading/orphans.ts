/** Foreign keys, checked once over all records of a kind when its parents are in place. */
import { type Catalog, type ForeignKey, fieldIndex, type RecordKind } from "../../../catalog/index.js";
import { located } from "../../../codecs/index.js";
import { recordChunks } from "../../../document/writing/record-writer.js";
import { StorageError } from "../../../errors.js";
import type { RecordBatch } from "../../../records/record-batch.js";
import { describeKey, recordKey } from "../../../records/record-key.js";
import type { RunContext } from "../../../records/run-context.js";
import { quote } from "../database/table-names.js";
import { columnNamed, type TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { PAGE } from "./staged-records.js";
import { readRecords } from "./stored-records.js";

/** The records to check: all of a relation, but for those that `except` (a condition on the row `s`) names. */
export interface Candidates {
  readonly kind: RecordKind;
  readonly relation: string;
  readonly except?: string;
  /** Expressions over `s` that identify a record. */
  readonly identity: readonly string[];
}

export interface OrphanOptions {
  readonly connection: PostgresConnection;
  readonly context: RunContext;
  readonly catalog: Catalog;
  readonly tables: ReadonlyMap<string, TargetTable>;
  readonly onOrphan: "error" | "drop";
  /** Whether others are kept from deleting rows of the kind's table by a lock of this run. */
  readonly isHeld: (path: string) => boolean;
  /** By path: the staging tables whose records are still to be merged, with those of the candidates. They are there. */
  readonly waiting: ReadonlyMap<string, string>;
  /** Takes the records with these identities (one array per expression) out. */
  readonly discard: (identities: readonly (readonly string[])[]) => Promise<void>;
}

export interface OrphanCounts {
  readonly dropped: number;
  readonly rejected: number;
}

/** Takes out the records whose parent is not there: dropped, or rejected with E_ORPHAN or E_PARENT_REJECTED. */
export async function removeOrphans(candidates: Candidates, options: OrphanOptions): Promise<OrphanCounts> {
  const keys = candidates.kind.foreignKeys;
  const checks = keys.map((key) => ({ key, missing: missingParent(candidates, key, options) }));
  await holdParents(candidates, options);
  let total = await countOrphans(candidates, options.connection, checks);
  let dropped = 0;
  let rejected = 0;
  // Again, as what is taken out may have been a parent itself.
  while (total > 0) {
    for (const { key, missing } of checks) {
      for (let page = await readPage(candidates, options, missing); page.length > 0; ) {
        for (const { batch } of page) {
          const error = orphanError(batch, key, options, dropped + rejected === 0 ? total : 1);
          if (error === undefined) dropped++;
          else {
            rejected++;
            await options.context.reject({
              kind: candidates.kind,
              error,
              record: recordChunks(batch, 0),
              // Staged ones are taken out there; a table that was empty has nothing to prune.
              spares: true,
            });
          }
        }
        await options.discard(
          candidates.identity.map((_, at) => page.map(({ extras }) => (extras[at] as Buffer).toString("utf8"))),
        );
        page = await readPage(candidates, options, missing);
      }
    }
    total = await countOrphans(candidates, options.connection, checks);
  }
  return { dropped, rejected };
}

/** The condition that a record `s` refers to a parent that is not there. */
function missingParent({ kind, except }: Candidates, key: ForeignKey, { tables, waiting }: OrphanOptions): string {
  const parent = tables.get(key.references) as TargetTable;
  const own = key.fields.map((name) => columnNamed(kind, name));
  const referenced = key.referencedFields.map((name) => columnNamed(parent.kind, name));
  const same = referenced.map((column, at) => `p.${column} = s.${own[at]}`).join(" AND ");
  const conditions = own.map((column) => `s.${column} IS NOT NULL`);
  conditions.push(`NOT EXISTS (SELECT FROM ${parent.name} p WHERE ${same})`);
  // A record may refer to one of its own kind, or of a cycle, that is still to be merged.
  const staged = waiting.get(key.references);
  if (staged !== undefined) conditions.push(`NOT EXISTS (SELECT FROM ${staged} p WHERE ${same})`);
  if (except !== undefined) conditions.push(`NOT (${except})`);
  return conditions.join(" AND ");
}

/** Keeps others from deleting the parents until the commit: in replica mode nothing else would notice. */
async function holdParents(
  { kind, relation }: Candidates,
  { connection, tables, isHeld }: OrphanOptions,
): Promise<void> {
  for (const key of kind.foreignKeys) {
    if (isHeld(key.references)) continue;
    const parent = tables.get(key.references) as TargetTable;
    const same = key.referencedFields.map(
      (name, at) => `p.${columnNamed(parent.kind, name)} = s.${columnNamed(kind, key.fields[at] as string)}`,
    );
    await connection.query(
      `SELECT count(*) FROM (
         SELECT FROM ${parent.name} p WHERE EXISTS (SELECT FROM ${relation} s WHERE ${same.join(" AND ")})
         FOR KEY SHARE OF p
       ) held`,
    );
  }
}

async function countOrphans(
  { relation, identity }: Candidates,
  connection: PostgresConnection,
  checks: readonly { readonly missing: string }[],
): Promise<number> {
  const columns = identity.map((expression, at) => `${expression} AS i${at}`).join(", ");
  const each = checks.map(({ missing }) => `SELECT ${columns} FROM ${relation} s WHERE ${missing}`);
  const { rows } = await connection.query<{ count: bigint }>(
    `SELECT count(*) AS count FROM (${each.join(" UNION ")}) orphans`,
  );
  return Number(rows[0]?.count ?? 0n);
}

async function readPage({ kind, relation, identity }: Candidates, { connection }: OrphanOptions, missing: string) {
  return readRecords(
    connection,
    kind,
    "s",
    `FROM ${relation} s WHERE ${missing} ORDER BY ${identity.join(", ")} LIMIT ${PAGE}`,
    [],
    identity.map((expression) => `(${expression})::text`),
  );
}

/** Undefined where the record is to be dropped. */
function orphanError(
  batch: RecordBatch,
  key: ForeignKey,
  { catalog, context, onOrphan }: OrphanOptions,
  total: number,
): StorageError | undefined {
  const parent = catalog.byPath.get(key.references) as RecordKind;
  const parentKey = describeKey(parent, (index) => {
    const at = key.referencedFields.indexOf((parent.fields[index] as (typeof parent.fields)[number]).name);
    return at < 0 ? undefined : batch.value(0, fieldIndex(batch.kind, key.fields[at] as string));
  });
  const detail = `it refers to the ${parent.noun} ${parentKey}`;
  const where = {
    section: batch.kind.path,
    key: recordKey(batch, 0),
    field: key.fields[key.fields.length - 1] as string,
  };
  if (context.isRejected(parent.path, parentKey))
    return new StorageError("E_PARENT_REJECTED", `its ${parent.noun} was rejected`, { ...where, detail });
  if (onOrphan === "drop") return undefined;
  const message =
    total === 1
      ? `the ${parent.noun} that it belongs to is not there`
      : `${total} records refer to records that are not there; the first lacks its ${parent.noun}`;
  return located(new StorageError("E_ORPHAN", message, { ...where, detail }), {
    hint: "--on-orphan drop leaves such records out and counts them.",
  }) as StorageError;
}

/**
 * DELETE of rows of a table by (tableoid, ctid) arrays as `discard` gets them; unlinks their large objects, but for those that
 * a row which stays has too, or that somebody has unlinked.
 */
export async function deleteRows(
  connection: PostgresConnection,
  table: TargetTable,
  identities: readonly (readonly string[])[],
): Promise<void> {
  const { largeObject } = table.kind.postgres;
  const among = "(SELECT * FROM unnest($1::oid[], $2::tid[]))";
  const these = `(t.tableoid, t.ctid) IN ${among}`;
  if (largeObject !== undefined) {
    const oid = quote(largeObject.oidColumn);
    await connection.query(
      `SELECT count(pg_catalog.lo_unlink(m.oid)) FROM pg_catalog.pg_largeobject_metadata m
       WHERE m.oid IN (SELECT t.${oid} FROM ${table.name} t WHERE ${these})
         AND NOT EXISTS (SELECT FROM ${table.name} o WHERE o.${oid} = m.oid AND (o.tableoid, o.ctid) NOT IN ${among})`,
      [...identities],
    );
  }
  const { rowCount } = await connection.query(`DELETE FROM ${table.name} t WHERE ${these}`, [...identities]);
  const wanted = identities[0]?.length ?? 0;
  if ((rowCount ?? 0) < wanted)
    throw new StorageError("E_CONSTRAINT", `the table let ${rowCount ?? 0} of ${wanted} records be deleted`, {
      section: table.kind.path,
      hint: "A trigger of it (ENABLE ALWAYS or REPLICA) keeps rows.",
    });
}
