/**
 * The state that a load needs the session and the tables to be in: no trigger fires, no foreign key is checked row by
 * row, no row is hidden. All of it belongs to the load's transaction, and goes with it.
 */
import type { Catalog, RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { quote, schemasOf } from "../database/table-names.js";
import type { TargetTable } from "../database/target-table.js";
import type { PostgresConnection } from "../session/connection.js";
import { postgresCause } from "../session/errors.js";

interface SessionRole {
  role: string;
  version: number;
}

export class LoadSession {
  private readonly prepared = new Set<TargetTable>();
  /** Run before the commit, in this order. */
  private readonly addForeignKeys: string[] = [];
  private readonly enableTriggers: string[] = [];
  private readonly forceRowSecurity: string[] = [];

  private constructor(
    private readonly connection: PostgresConnection,
    private readonly tables: ReadonlyMap<string, TargetTable>,
    /** Replica mode silences triggers and foreign keys; otherwise the owner alters its tables. */
    readonly replica: boolean,
    /** COPY FROM is refused where row-level security binds the role: load through temporary tables. */
    readonly copiesIntoTables: boolean,
  ) {}

  /**
   * To be called at the transaction's beginning.
   * Where row-level security binds the role, the run goes on as `tenant`, by the setting that the policies ask.
   * @throws {StorageError} E_PERMISSION, E_ROW_SECURITY, with what to grant
   */
  static async begin(
    connection: PostgresConnection,
    tables: ReadonlyMap<string, TargetTable>,
    { tenant, tenantSetting }: { readonly tenant: string | undefined; readonly tenantSetting: string | undefined },
  ): Promise<LoadSession> {
    const all = [...tables.values()];
    const session = await connection.query<SessionRole>(
      "SELECT current_user::text AS role, current_setting('server_version_num')::int AS version",
    );
    const { role, version } = session.rows[0] as SessionRole;
    const replica = await enterReplicaMode(connection);
    if (!replica && !all.every((table) => table.owned)) throw mayNotSilenceTriggers(role, version, all);
    const hidden = all.filter((table) => table.rowSecurity.binding && !table.owned);
    if (hidden.length > 0) {
      if (tenant === undefined || tenantSetting === undefined) throw rowsHidden(role);
      await connection.query("SELECT set_config($1, $2, true)", [tenantSetting, tenant]);
    } else await connection.query("SET LOCAL row_security = off");
    return new LoadSession(connection, tables, replica, hidden.length === 0);
  }

  /** Readies the kind's table, and those that foreign keys tie to it, when its first record comes. */
  async prepare(kind: RecordKind, catalog: Catalog): Promise<void> {
    const tables = this.tablesTo(kind, catalog).filter((table) => !this.prepared.has(table));
    for (const table of tables) {
      this.prepared.add(table);
      if (isForced(table)) {
        await this.connection.query(`ALTER TABLE ${table.name} NO FORCE ROW LEVEL SECURITY`);
        this.forceRowSecurity.push(`ALTER TABLE ${table.name} FORCE ROW LEVEL SECURITY`);
      }
    }
    if (this.replica) return;
    for (const table of tables) {
      await this.disableTriggers(table);
      await this.dropForeignKeys(table);
    }
  }

  /** The tables that `prepare` readies for the kind. */
  tablesTo(kind: RecordKind, catalog: Catalog): TargetTable[] {
    return tiedByForeignKeys(kind, catalog).map(({ path }) => this.tables.get(path) as TargetTable);
  }

  /** Undoes what prepare did. The keys come before FORCE: under it their validation would not see all rows. */
  async restore(): Promise<void> {
    const statements = [...this.addForeignKeys, ...this.enableTriggers, ...this.forceRowSecurity];
    if (statements.length === 0) return;
    // Otherwise a deferred constraint's pending checks would make ALTER TABLE fail.
    await this.connection.query("SET CONSTRAINTS ALL IMMEDIATE");
    for (const statement of statements) await this.connection.query(statement);
  }

  /** The table's triggers that do not fire: not the ones made ENABLE ALWAYS or ENABLE REPLICA. */
  async triggersOf(table: TargetTable): Promise<string[]> {
    const { rows } = await this.connection.query<{ tgname: string }>(
      "SELECT tgname FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled = 'O' ORDER BY 1",
      [table.oid],
    );
    return rows.map(({ tgname }) => tgname);
  }

  private async disableTriggers(table: TargetTable): Promise<void> {
    for (const tgname of await this.triggersOf(table)) {
      await this.connection.query(`ALTER TABLE ${table.name} DISABLE TRIGGER ${quote(tgname)}`);
      this.enableTriggers.push(`ALTER TABLE ${table.name} ENABLE TRIGGER ${quote(tgname)}`);
    }
  }

  private async dropForeignKeys(table: TargetTable): Promise<void> {
    const { rows } = await this.connection.query<{ conname: string; definition: string }>(
      `SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint
       WHERE conrelid = $1 AND contype = 'f' AND conparentid = 0 ORDER BY 1`,
      [table.oid],
    );
    for (const { conname, definition } of rows) {
      await this.connection.query(`ALTER TABLE ${table.name} DROP CONSTRAINT ${quote(conname)}`);
      this.addForeignKeys.push(`ALTER TABLE ${table.name} ADD CONSTRAINT ${quote(conname)} ${definition}`);
    }
  }
}

/** Whether row-level security binds the role although it is the owner: the load switches that off for its own time. */
export function isForced({ rowSecurity, owned }: TargetTable): boolean {
  return rowSecurity.binding && owned;
}

/** Whether the role may: superusers, and who was granted SET on the parameter (PostgreSQL 15 and newer). */
async function enterReplicaMode(connection: PostgresConnection): Promise<boolean> {
  await connection.query("SAVEPOINT replica_mode");
  try {
    await connection.query("SET LOCAL session_replication_role = 'replica'");
  } catch (error) {
    if (postgresCause(error)?.sqlState !== "42501") throw error;
    await connection.query("ROLLBACK TO SAVEPOINT replica_mode");
    return false;
  }
  await connection.query("RELEASE SAVEPOINT replica_mode");
  return true;
}

/** The kinds that foreign keys tie together, the kind itself among them. */
function tiedByForeignKeys(kind: RecordKind, catalog: Catalog): RecordKind[] {
  const tied = new Set([kind.path]);
  for (let before = 0; before !== tied.size; ) {
    before = tied.size;
    for (const { path, foreignKeys } of catalog.kinds) {
      const ends = [path, ...foreignKeys.map(({ references }) => references)];
      if (ends.some((end) => tied.has(end))) for (const end of ends) tied.add(end);
    }
  }
  return catalog.importOrder.filter(({ path }) => tied.has(path));
}

function mayNotSilenceTriggers(role: string, version: number, tables: readonly TargetTable[]): StorageError {
  const schemas = schemasOf(tables.map(({ kind }) => kind));
  const grant =
    version >= 150000 ? `As a superuser: GRANT SET ON PARAMETER session_replication_role TO ${quote(role)}. ` : "";
  return new StorageError("E_PERMISSION", `the role ${role} may not load without firing triggers`, {
    hint: `${grant}Or import as the owner of the tables in schema ${schemas.join(", ")}, or as a superuser.`,
  });
}

function rowsHidden(role: string): StorageError {
  return new StorageError("E_ROW_SECURITY", `row-level security hides other tenants' rows from the role ${role}`, {
    hint: `As a superuser: ALTER ROLE ${quote(role)} BYPASSRLS. Or import one tenant with --tenant.`,
  });
}
