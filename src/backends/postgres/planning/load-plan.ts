/** What a load into this database would do: the load's own decisions, asked in a transaction that only reads. */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { LoadPlanner, LoadPlanOptions, LoadWay, RowsThere } from "../../../records/loads/load-plan.js";
import type { PostgresApplication } from "../application.js";
import { quote, shownName, tableOf } from "../database/table-names.js";
import { readTargetTables, type TargetTable } from "../database/target-table.js";
import {
  classesForEmptyTable,
  classesForMerge,
  classesForRows,
  findDroppable,
  hasTooManyPartitions,
} from "../loading/index-choice.js";
import { isForced, LoadSession } from "../loading/load-session.js";
import { LoadTransaction } from "../loading/load-transaction.js";
import { mayGoDirectly } from "../loading/table-loader.js";
import { refuseUnfinishedRun } from "../runs/ledger/unfinished.js";
import type { PostgresConnection } from "../session/connection.js";
import { beginTransaction } from "../session/transaction.js";
import { RecordMeetings } from "./record-meetings.js";

export interface PostgresPlanOptions extends LoadPlanOptions {
  readonly application: PostgresApplication | undefined;
  /** What else is known of the database. */
  readonly grants: readonly string[];
  readonly notes: readonly string[];
  readonly measure?: LoadPlanner["measure"];
}

/** Takes the connection over: `close` of the planner closes it. */
export async function planPostgresLoad(
  connection: PostgresConnection,
  options: PostgresPlanOptions,
): Promise<LoadPlanner> {
  const { catalog, tenant, application } = options;
  const refusals: StorageError[] = [];
  let tables: ReadonlyMap<string, TargetTable> = new Map();
  let session: LoadSession | undefined;
  try {
    // Whether it could write. Nothing has been written.
    await beginTransaction(connection, "write");
    await connection.query("ROLLBACK");
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== "E_READ_ONLY") throw error;
    refusals.push(error);
  }
  await beginTransaction(connection, "read");
  await connection.query("SAVEPOINT attempt");
  try {
    await refuseUnfinishedRun(connection, application);
    tables = await readTargetTables(connection, catalog);
    session = await LoadSession.begin(connection, tables, { tenant, tenantSetting: application?.tenantSetting });
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    refusals.push(error);
    await connection.query("ROLLBACK TO SAVEPOINT attempt");
  }
  return new PostgresPlanner(connection, tables, session, refusals, options);
}

class PostgresPlanner implements LoadPlanner {
  readonly grants: readonly string[];
  readonly notes: readonly string[];
  readonly migrations: readonly string[] = [];
  /** SQL cannot tell. */
  readonly freeBytes = undefined;
  private readonly transaction: LoadTransaction;
  private readonly meetings = new Map<string, RecordMeetings>();

  constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: ReadonlyMap<string, TargetTable>,
    private readonly session: LoadSession | undefined,
    readonly refusals: readonly StorageError[],
    private readonly options: PostgresPlanOptions,
  ) {
    this.grants = options.grants;
    const forced = [...tables.values()].filter(isForced);
    this.notes =
      forced.length === 0
        ? options.notes
        : [
            ...options.notes,
            `row-level security is forced on the owner of ${forced.length} tables: the load switches it off for its own time, a plan only sees tenants whose records come`,
          ];
    this.transaction = new LoadTransaction(connection);
  }

  async rowsOf(kind: RecordKind): Promise<RowsThere> {
    const table = this.tables.get(kind.path);
    if (table === undefined) return { empty: undefined, count: undefined, estimated: false };
    const { name, oid } = table;
    const { rows: sizes } = await this.connection.query<{ bytes: bigint; estimate: number }>(
      `SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::int8 AS bytes,
         coalesce(sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r'), 0)::float8 AS estimate
       FROM pg_class c WHERE c.oid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid))`,
      [oid],
    );
    const { bytes, estimate } = sizes[0] ?? { bytes: 0n, estimate: 0 };
    if (bytes === 0n) return { empty: true, count: 0, estimated: false };
    if (isForced(table)) return { empty: undefined, count: undefined, estimated: false };
    const found = await this.transaction.attempt(
      () => this.connection.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${name}) AS filled`),
      (error) => error.code === "E_PERMISSION",
    );
    if ("error" in found) return { empty: undefined, count: undefined, estimated: false };
    if (found.value.rows[0]?.filled === false) return { empty: true, count: 0, estimated: false };
    return { empty: false, count: estimate === 0 ? undefined : Math.round(estimate), estimated: true };
  }

  async countOf(kind: RecordKind): Promise<number | undefined> {
    const table = this.tables.get(kind.path);
    if (table === undefined || isForced(table)) return undefined;
    const counted = await this.transaction.attempt(
      () => this.connection.query<{ count: bigint }>(`SELECT count(*) AS count FROM ${table.name}`),
      (error) => error.code === "E_PERMISSION",
    );
    return "error" in counted ? undefined : Number(counted.value.rows[0]?.count ?? 0n);
  }

  async wayOf(kind: RecordKind, { records, writes }: { records: number; writes: number }): Promise<LoadWay> {
    const { session, connection, options } = this;
    const table = this.tables.get(kind.path);
    if (table === undefined || session === undefined) return { into: "unknown", rebuilds: [], silences: [], locks: [] };
    const { empty } = await this.rowsOf(kind);
    const mayBeDirect = session.copiesIntoTables && mayGoDirectly(table);
    const into = !mayBeDirect ? "merge" : empty === undefined ? "unknown" : empty ? "direct" : "merge";
    const policy = options.deferIndexes;
    const classes =
      into === "direct"
        ? [...classesForEmptyTable(policy, kind), ...classesForRows(records)]
        : into === "merge"
          ? await classesForMerge(policy, writes, (rows) => this.hasAtMost(table, rows))
          : [];
    const droppable =
      classes.length === 0 || (await hasTooManyPartitions(connection, table))
        ? []
        : await findDroppable(connection, table, policy);
    const rebuilds = droppable.filter((index) => classes.includes(index.class)).map(({ name }) => name);
    const refusal = await this.lackingRight(table, into);
    return {
      into,
      rebuilds,
      silences: await session.triggersOf(table),
      locks: this.locksOf(table, into, rebuilds),
      ...(refusal === undefined ? {} : { refusal }),
    };
  }

  /** The right that the load lacks once a record of the kind comes. */
  private async lackingRight({ oid, kind }: TargetTable, into: LoadWay["into"]): Promise<StorageError | undefined> {
    const { rows } = await this.connection.query<{ rights: string[]; temporary: boolean; role: string }>(
      `SELECT ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p WHERE NOT has_table_privilege($1::oid, p)) AS rights,
         has_database_privilege(current_database(), 'TEMPORARY') AS temporary, current_user::text AS role`,
      [oid],
    );
    const { rights = [], temporary = true, role = "" } = rows[0] ?? {};
    const name = shownName(tableOf(kind));
    if (rights.length > 0)
      return new StorageError("E_PERMISSION", `the role ${role} lacks ${rights.join(", ")} on ${name}`, {
        section: kind.path,
        hint: `GRANT ${rights.join(", ")} ON ${name} TO ${quote(role)}`,
      });
    if (temporary || into === "direct") return undefined;
    return new StorageError("E_PERMISSION", `the role ${role} may make no temporary tables`, {
      section: kind.path,
      hint: `GRANT TEMPORARY ON DATABASE … TO ${quote(role)}`,
    });
  }

  private locksOf(table: TargetTable, into: LoadWay["into"], rebuilds: readonly string[]): string[] {
    const { session, options } = this;
    const name = shownName(tableOf(table.kind));
    const altered = session?.replica
      ? session.tablesTo(table.kind, options.catalog).filter(isForced)
      : (session?.tablesTo(table.kind, options.catalog) ?? []);
    const locks = altered.map(
      (each) => `ACCESS EXCLUSIVE on ${shownName(tableOf(each.kind))} from its first record to the end`,
    );
    if (rebuilds.length > 0)
      locks.push(
        into === "direct"
          ? `ACCESS EXCLUSIVE on ${name} from its first record to the end`
          : `ACCESS EXCLUSIVE on ${name} from its merge to the end`,
      );
    locks.push(
      into === "direct"
        ? `SHARE ROW EXCLUSIVE on ${name} from its first record to the end`
        : `SHARE ROW EXCLUSIVE on ${name} from its merge to the end`,
    );
    return [...new Set(locks)];
  }

  private async hasAtMost(table: TargetTable, most: number): Promise<boolean> {
    if (isForced(table)) return false;
    const { rows } = await this.connection.query<{ count: bigint }>(
      `SELECT count(*) AS count FROM (SELECT FROM ${table.name} LIMIT ${Math.ceil(most) + 1}) few`,
    );
    return Number(rows[0]?.count ?? 0n) <= most;
  }

  get measure(): LoadPlanner["measure"] {
    return this.session === undefined ? undefined : this.options.measure;
  }

  get meet(): LoadPlanner["meet"] {
    if (this.session === undefined) return undefined;
    return async (batch) => {
      let meetings = this.meetings.get(batch.kind.path);
      if (meetings === undefined) {
        const { empty } = await this.rowsOf(batch.kind);
        const table = this.tables.get(batch.kind.path) as TargetTable;
        meetings = new RecordMeetings(table, {
          transaction: this.transaction,
          tables: this.tables,
          onConflict: this.options.onConflict,
          tenantSetting: this.options.application?.tenantSetting,
          empty,
        });
        this.meetings.set(batch.kind.path, meetings);
      }
      return meetings.meet(batch);
    };
  }

  async close(): Promise<void> {
    await this.connection.query("ROLLBACK").catch(() => {});
    await this.connection.close();
  }
}
