/**
 * Rows of the target that the source does not have any more. They are found for each kind before its records are merged, for
 * a merge gives rows other places; all go at the end, children before their parents.
 */
import { type Catalog, type RecordKind, tenantFieldOf } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { emptyNote, referredNote, unclearNote } from "../../../records/loads/prune-notes.js";
import type { PruneScope, RunContext } from "../../../records/run-context.js";
import { quote } from "../database/table-names.js";
import { columnNamed, type TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import type { Counters } from "./counters.js";
import { PAGE, type StagedRecords } from "./staged-records.js";
import { readKeys } from "./stored-records.js";

/** Rows that are to go, by (tab, tid) in a temporary table, numbered from 1. */
interface Doomed {
  readonly table: TargetTable;
  readonly rows: string;
}

/** A foreign key of any table, ours or not, to one of ours. */
interface Reference {
  /** Qualified and quoted. */
  readonly child: string;
  readonly childOid: number;
  /** Quoted columns. */
  readonly own: readonly string[];
  readonly referenced: readonly string[];
}

export class Pruning {
  private readonly doomed = new Map<string, Doomed>();
  readonly notes: string[] = [];

  constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: ReadonlyMap<string, TargetTable>,
    private readonly catalog: Catalog,
    private readonly scope: PruneScope,
    private readonly context: RunContext,
  ) {}

  covers({ path }: RecordKind): boolean {
    return this.scope.paths.has(path);
  }

  /** Before the staged records are merged. The table is locked. */
  async findUnmatched(records: StagedRecords): Promise<void> {
    const { matches, spared, table } = records;
    const met = `EXISTS (SELECT FROM ${matches} m WHERE m.tab = t.tableoid AND m.tid = t.ctid)`;
    const kept = `EXISTS (SELECT FROM ${spared} k WHERE k.tab = t.tableoid AND k.tid = t.ctid)`;
    await this.find(table, `${records.staging}_pruned`, `NOT ${met} AND NOT ${kept}`);
  }

  /** Of a kind without records. The session is prepared for it. */
  async findAll(table: TargetTable): Promise<void> {
    const { kind } = table;
    if (!this.scope.allowEmpty) {
      const [sql, values] = this.inScope(kind, "true");
      const { rows } = await this.connection.query<{ filled: boolean }>(
        `SELECT EXISTS (SELECT FROM ${table.name} t WHERE ${sql}) AS filled`,
        values,
      );
      if (rows[0]?.filled === true) this.notes.push(emptyNote(kind));
      return;
    }
    await this.connection.query(`LOCK TABLE ${table.name} IN SHARE ROW EXCLUSIVE MODE`);
    await this.find(table, `pg_temp.llmspell_pruned_${this.doomed.size}`, "true");
  }

  /** Removes what was found, when all is merged. Gives the number of rows by path. */
  async remove(): Promise<ReadonlyMap<string, number>> {
    const childrenFirst = [...this.catalog.importOrder].reverse().flatMap(({ path }) => this.doomed.get(path) ?? []);
    for (const doomed of childrenFirst) await this.spareParents(doomed);
    const removed = new Map<string, number>();
    for (const doomed of childrenFirst) {
      const count = await this.removeRows(doomed);
      if (count > 0) removed.set(doomed.table.kind.path, count);
    }
    return removed;
  }

  /** The counters of parents that stay. After they were raised. */
  async lowerCounters(counters: Counters): Promise<void> {
    for (const { table, rows } of this.doomed.values()) await counters.lower(table.kind, `${rows}_of`);
  }

  private inScope(kind: RecordKind, condition: string): [sql: string, values: unknown[]] {
    const { tenants } = this.scope;
    if (tenants === undefined) return [condition, []];
    const tenant = tenantFieldOf(kind);
    // What has no tenant is not one tenant's to lose.
    if (tenant === undefined) return ["false", []];
    return [`t.${columnNamed(kind, tenant.name)} = ANY ($1) AND ${condition}`, [tenants]];
  }

  private async find(table: TargetTable, rows: string, condition: string): Promise<void> {
    const { kind } = table;
    if (this.context.spared?.isUnclear(kind.path)) {
      this.notes.push(unclearNote(kind));
      return;
    }
    // A temporary table's definition takes no parameters.
    await this.connection.query(`CREATE TEMPORARY TABLE ${bare(rows)} (n int8, tab oid, tid tid) ON COMMIT DROP`);
    const [sql, values] = this.inScope(kind, condition);
    await this.connection.query(
      `INSERT INTO ${rows} SELECT row_number() OVER (), t.tableoid, t.ctid FROM ${table.name} t WHERE ${sql}`,
      values,
    );
    const doomed = { table, rows };
    await this.spareRejected(doomed);
    await this.connection.query(`CREATE INDEX ON ${rows} (tab, tid)`);
    await this.connection.query(`ANALYZE ${rows}`);
    this.doomed.set(kind.path, doomed);
  }

  /** Rows with the keys of records that were rejected on their way. */
  private async spareRejected({ table: { kind, name }, rows }: Doomed): Promise<void> {
    const { spared } = this.context;
    if (spared?.hasAny(kind.path) !== true) return;
    const { rows: counted } = await this.connection.query<{ count: bigint }>(`SELECT count(*) AS count FROM ${rows}`);
    for (let from = 1n; from <= (counted[0]?.count ?? 0n); from += BigInt(PAGE)) {
      const keys = await readKeys(
        this.connection,
        kind,
        "t",
        `FROM ${rows} d JOIN ${name} t ON t.tableoid = d.tab AND t.ctid = d.tid
         WHERE d.n BETWEEN $1 AND $2 ORDER BY d.n`,
        [from, from + BigInt(PAGE) - 1n],
      );
      const kept = keys.flatMap((key, at) => (spared.has(kind.path, key) ? [from + BigInt(at)] : []));
      if (kept.length > 0) await this.connection.query(`DELETE FROM ${rows} WHERE n = ANY ($1)`, [kept]);
    }
  }

  /** Rows that others refer to which stay: of a section that is not selected, or of a table that is none of ours. */
  private async spareParents({ table, rows }: Doomed): Promise<void> {
    let kept = 0;
    for (const { child, childOid, own, referenced } of await this.references(table)) {
      const same = own.map((column, at) => `c.${column} = t.${referenced[at]}`).join(" AND ");
      const going = [...this.doomed.values()].find((one) => one.table.oid === childOid)?.rows;
      const stays =
        going === undefined
          ? ""
          : `AND NOT EXISTS (SELECT FROM ${going} g WHERE g.tab = c.tableoid AND g.tid = c.ctid)`;
      const { rowCount } = await this.connection.query(
        `DELETE FROM ${rows} d USING ${table.name} t
         WHERE t.tableoid = d.tab AND t.ctid = d.tid AND EXISTS (SELECT FROM ${child} c WHERE ${same} ${stays})`,
      );
      kept += rowCount ?? 0;
    }
    if (kept > 0) this.notes.push(referredNote(table.kind, kept));
  }

  private async references(table: TargetTable): Promise<Reference[]> {
    const ours = this.catalog.kinds.flatMap((kind) =>
      kind.foreignKeys
        .filter(({ references }) => references === table.kind.path)
        .map((key) => {
          const { name, oid } = this.tables.get(kind.path) as TargetTable;
          const own = key.fields.map((field) => columnNamed(kind, field));
          const referenced = key.referencedFields.map((field) => columnNamed(table.kind, field));
          return { child: name, childOid: oid, own, referenced };
        }),
    );
    const { rows } = await this.connection.query<{ child: string; oid: number; own: string[]; referenced: string[] }>(
      `SELECT format('%I.%I', n.nspname, c.relname) AS child, c.oid,
         ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (num, at)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.at) AS own,
         ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (num, at)
               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.at) AS referenced
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE k.confrelid = $1 AND k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> ALL ($2)`,
      [table.oid, ours.map(({ childOid }) => childOid)],
    );
    const theirs = rows.map(({ child, oid, own, referenced }) => {
      return { child, childOid: oid, own: own.map(quote), referenced: referenced.map(quote) };
    });
    return [...ours, ...theirs];
  }

  private async removeRows({ table, rows }: Doomed): Promise<number> {
    const { kind, name } = table;
    const joined = `${rows} d JOIN ${name} t ON t.tableoid = d.tab AND t.ctid = d.tid`;
    // Of whom the rows were, for the counters.
    const parents = [...new Set(kind.foreignKeys.flatMap(({ fields }) => fields))];
    const columns = parents.map((field) => `t.${columnNamed(kind, field)}`).join(", ");
    if (parents.length > 0)
      await this.connection.query(
        `CREATE TEMPORARY TABLE ${bare(rows)}_of ON COMMIT DROP AS SELECT ${columns} FROM ${joined}`,
      );
    await this.unlink(kind, joined);
    const { rowCount } = await this.connection.query(
      `DELETE FROM ${name} t USING ${rows} d WHERE t.tableoid = d.tab AND t.ctid = d.tid`,
    );
    return rowCount ?? 0;
  }

  /** Their large objects go with the rows. One that is gone already is no reason to stop. */
  private async unlink(kind: RecordKind, joined: string): Promise<void> {
    const { largeObject } = kind.postgres;
    if (largeObject === undefined) return;
    const oid = `t.${quote(largeObject.oidColumn)}`;
    const unlinking = this.connection.query(
      `SELECT count(pg_catalog.lo_unlink(${oid})) FROM ${joined}
       WHERE EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata l WHERE l.oid = ${oid})`,
    );
    await unlinking.catch((error: StorageError) => {
      if (error.code !== "E_PERMISSION") throw error;
      const hint = "Only the owner of a large object may remove it; `llmspell database health` names the grant.";
      throw new StorageError(error.code, error.message, { ...error.context, section: kind.path, hint }, error.cause);
    });
  }
}

/** A name without its schema, as CREATE TEMPORARY TABLE takes it. */
function bare(qualified: string): string {
  return qualified.replace("pg_temp.", "");
}
