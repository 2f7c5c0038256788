/**
 * Where the records of a kind wait whose table has rows already: a table of the run's own, from which they are merged at the end
 * (merge-kinds.ts). It is an ordinary, logged one, as a crash of the server would empty any other, and parts with it that the
 * ledger calls loaded. The ledger's row of the section says that there is one, and what became of its merge.
 */
import { hash } from "node:crypto";
import type { RecordKind } from "../../../../catalog/index.js";
import { StorageError } from "../../../../errors.js";
import { keylessConflict } from "../../../../records/record-key.js";
import { quote, schemaSql, tableOf } from "../../database/table-names.js";
import { ASSUMED, columnNamed, loadColumns, type TargetTable } from "../../database/target-table.js";
import { mayGoDirectly } from "../../loading/table-loader.js";
import type { PostgresConnection } from "../../session/connection.js";
import { postgresCause } from "../../session/errors.js";
import type { StepRow } from "../ledger/ledger.js";

/** What a merge made of a section's records; `kept`: lines of an undo. */
export interface MergedCounts {
  readonly inserted: number;
  readonly updated: number;
  readonly unchanged: number;
  readonly skipped: number;
  readonly dropped: number;
}

/** What the ledger keeps of a staged section. */
interface Kept {
  readonly staged: true;
  readonly merged?: MergedCounts;
  readonly kept?: readonly string[];
}

export interface Stage {
  readonly table: TargetTable;
  /** The staged records: ordinal, the columns of the load, ASSUMED. Qualified and quoted. */
  readonly name: string;
  /** Rows of the table as they were before the merge changed them. Qualified and quoted. */
  readonly replaced: string;
  /** Of the section's row in the ledger. */
  readonly step: number;
  readonly isMerged: boolean;
  readonly counts: MergedCounts | undefined;
  readonly kept: readonly string[];
}

/** The digest of the row of the ledger that stands for a merge, whose transaction it has. */
export const MERGED = "merged";

/** A name of the ledger's, which pg_dump's users leave out with it; table names of 64 bytes are none. */
function namesOf(kind: RecordKind, schema: string): { readonly name: string; readonly replaced: string } {
  const { schema: own, table } = tableOf(kind);
  const isShort = own === schema && Buffer.byteLength(table) <= 40;
  const rest = isShort ? table : hash("sha256", `${own}.${table}`).slice(0, 32);
  const named = (what: string): string => `${schemaSql(schema)}.${quote(`storage_${what}_${rest}`)}`;
  return { name: named("staged"), replaced: named("replaced") };
}

function readKept({ what, definition }: StepRow): Kept | undefined {
  if (what !== "section" || definition === "") return undefined;
  try {
    const kept = JSON.parse(definition) as Partial<Kept> | null;
    return kept?.staged === true ? (kept as Kept) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a row of the ledger is that of a section whose records wait to be merged, or did. */
export function isStaged(step: StepRow): boolean {
  return readKept(step) !== undefined;
}

/** The staged sections, by path. */
export function stagesOf(
  steps: readonly StepRow[],
  tables: ReadonlyMap<string, TargetTable>,
  schema: string,
): Map<string, Stage> {
  const stages = new Map<string, Stage>();
  for (const step of steps) {
    const kept = readKept(step);
    const table = tables.get(step.section);
    if (kept === undefined || table === undefined) continue;
    stages.set(step.section, {
      table,
      ...namesOf(table.kind, schema),
      step: step.step,
      isMerged: step.done,
      counts: step.done ? kept.merged : undefined,
      kept: Array.isArray(kept.kept) ? kept.kept.map(String) : [],
    });
  }
  return stages;
}

/** A staged section's definition for its row of the ledger. */
export function stagedDefinition(rest: Omit<Kept, "staged"> = {}): string {
  return JSON.stringify({ staged: true, ...rest } satisfies Kept);
}

/**
 * Whether the records of the table have to be merged: it has rows, or its indexes do not tell all records apart.
 * @throws {StorageError} E_CONFLICT for records without keys where there are rows
 */
export async function needsMerge(connection: PostgresConnection, table: TargetTable): Promise<boolean> {
  const { rows } = await connection.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${table.name}) AS filled`);
  const filled = rows[0]?.filled === true;
  if (table.kind.keyless !== true) return filled || !mayGoDirectly(table);
  if (filled) throw keylessConflict(table.kind);
  return false;
}

/** E_PERMISSION where the role may not make the tables of a merge. */
export async function requireStages(connection: PostgresConnection, schema: string): Promise<void> {
  const { rows } = await connection.query<{ may: boolean; role: string }>(
    "SELECT pg_catalog.has_schema_privilege($1, 'CREATE') AS may, current_user::text AS role",
    [schema],
  );
  if (rows[0]?.may === true) return;
  throw new StorageError("E_PERMISSION", `the role ${rows[0]?.role} may not make a run's tables in schema ${schema}`, {
    detail: "records for tables that have rows wait there to be merged",
    hint: `As its owner: GRANT CREATE ON SCHEMA ${quote(schema)} TO ${quote(rows[0]?.role ?? "")}. Or load with one job.`,
  });
}

/** Takes what the schema's default privileges give to others. */
async function revokeAll(connection: PostgresConnection, name: string): Promise<void> {
  const { rows } = await connection.query<{ grantee: string | null }>(
    `SELECT DISTINCT CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END AS grantee
     FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
     WHERE c.oid = pg_catalog.to_regclass($1) AND a.grantee <> c.relowner`,
    [name],
  );
  for (const { grantee } of rows)
    await connection.query(`REVOKE ALL ON ${name} FROM ${grantee === null ? "PUBLIC" : quote(grantee)}`);
}

async function create(connection: PostgresConnection, name: string, sql: string): Promise<void> {
  await connection.query(sql).catch((error: unknown) => {
    if (postgresCause(error)?.sqlState !== "42P07") throw error;
    throw new StorageError("E_SCHEMA", `the target has a table ${name} already, which a run would make`, {
      hint: "Drop it, if it is left of a run that is no more in the ledger, or rename it.",
    });
  });
  // Where all tables are published, nothing could be deleted from one without.
  await connection.query(`ALTER TABLE ${name} REPLICA IDENTITY FULL`);
  await revokeAll(connection, name);
}

/** Makes the tables of a staged section. To be called in a transaction, with the section's row of the ledger. */
export async function createStage(
  connection: PostgresConnection,
  table: TargetTable,
  schema: string,
  isKeyed = false,
): Promise<void> {
  const { name, replaced } = namesOf(table.kind, schema);
  const columns = loadColumns(table.kind).join(", ");
  await create(
    connection,
    name,
    `CREATE TABLE ${name} AS SELECT 0::int8 AS ordinal, ${columns}, 0::int8 AS ${ASSUMED} FROM ${table.name} WITH NO DATA`,
  );
  await connection.query(
    `ALTER TABLE ${name} ALTER COLUMN ordinal SET NOT NULL, ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (CACHE 1000)`,
  );
  const key = table.kind.key.map((field) => columnNamed(table.kind, field));
  if (isKeyed && key.length > 0) await connection.query(`CREATE INDEX ON ${name} (${key.join(", ")})`);
  await create(
    connection,
    replaced,
    `CREATE TABLE ${replaced} AS SELECT ${key.map((column, at) => `${column} AS ${keyColumn(at)}, `).join("")}${columns}
     FROM ${table.name} WITH NO DATA`,
  );
}

/** The column of `replaced` that has the row's key after the merge. */
export function keyColumn(at: number): string {
  return `llmspell_key_${at}`;
}

/** The condition that a row `t` of the table has the key that a row of `replaced` has now. */
export function sameKey(table: TargetTable, alias: string): string {
  return table.kind.key
    .map((field, at) => `${alias}.${keyColumn(at)} = t.${columnNamed(table.kind, field)}`)
    .join(" AND ");
}

/** To be called in a transaction, with the end of the run. */
export async function dropStages(connection: PostgresConnection, stages: Iterable<Stage>): Promise<void> {
  for (const { name, replaced } of stages) await connection.query(`DROP TABLE IF EXISTS ${name}, ${replaced}`);
}

/**
 * Whether the tables are those that a run has made: what is in them is written to the target, and named by what is deleted there.
 * @param runs the ledger's table of runs: who owns it or may write to it is trusted
 * @throws {StorageError} E_PERMISSION, E_RUN_UNFINISHED
 */
export async function requireOwnStages(
  connection: PostgresConnection,
  stages: ReadonlyMap<string, Stage>,
  runs: string,
): Promise<void> {
  const names = [...stages.values()].flatMap(({ name, replaced }) => [name, replaced]);
  if (names.length === 0) return;
  const { rows } = await connection.query<{ name: string; there: boolean; trusted: boolean; usable: boolean }>(
    `SELECT u.name, c.oid IS NOT NULL AS there,
       c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relrowsecurity AND NOT c.relhasrules AND NOT c.relispartition
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhparent, h.inhrelid))
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid)
         AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute b, pg_catalog.aclexplode(b.attacl) a
           WHERE b.attrelid = c.oid AND a.grantee <> c.relowner)
         AND (r.rolsuper OR r.rolname = current_user OR c.relowner = l.relowner
           OR EXISTS (SELECT FROM pg_catalog.aclexplode(l.relacl) a WHERE a.grantee = c.relowner AND a.privilege_type = 'INSERT')) AS trusted,
       pg_catalog.pg_has_role(c.relowner, 'USAGE') AS usable
     FROM unnest($1::text[]) u (name) LEFT JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(u.name)
       LEFT JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
       LEFT JOIN pg_catalog.pg_class l ON l.oid = pg_catalog.to_regclass($2)`,
    [names, runs],
  );
  for (const { name, there, trusted, usable } of rows) {
    if (!there)
      throw new StorageError("E_RUN_UNFINISHED", `the run's table ${name} is not there any more`, {
        hint: "Its records wait there to be merged. Make an empty one of its columns, and undo the run.",
      });
    if (!trusted)
      throw new StorageError(
        "E_PERMISSION",
        `the run's table ${name} is open to others, or is not as the run made it`,
        {
          hint: "REVOKE ALL ON it FROM other roles, drop what was added to it; then look at its rows.",
        },
      );
    if (!usable)
      throw new StorageError("E_PERMISSION", `the run's table ${name} belongs to another role`, {
        hint: "Go on as the role that began the run, or as a superuser.",
      });
  }
}
