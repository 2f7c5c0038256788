/** `llmspell database migrate | health | migrations list` */
import type { PostgresState } from "../backends/postgres/inspect.js";
import { type Config, loadConfig } from "../config.js";
import { EXIT } from "../errors.js";
import type { MigrationReport, MigrationState } from "../schema/migrator.js";
import { chooseStore, postgresConnector, type StoreLocation, storeName } from "../stores.js";
import type { Output } from "./output.js";
import { formatBytes } from "./progress.js";
import { type CommonFlags, outputFor, type StoreFlags } from "./transfer.js";

export type DatabaseFlags = CommonFlags & StoreFlags;

type Database = Exclude<StoreLocation, { readonly type: "document" | "stream" }>;

interface Chosen {
  readonly location: Database;
  readonly config: Config;
  readonly output: Output;
  /** The begin of the command's `--json` result. */
  readonly head: object;
}

/** Names the database first, and what chose it when no flag did. */
function choose(flags: DatabaseFlags): Chosen {
  const output = outputFor(flags);
  const config = loadConfig();
  const { location, chosenBecause } = chooseStore(flags, config);
  const name = storeName(location);
  output.line(`Database: ${name}`);
  if (chosenBecause !== undefined) {
    output.line(`Hint: chosen because ${chosenBecause}; --backend or --database names another.`);
  }
  const head = { database: name, ...(chosenBecause === undefined ? {} : { chosenBecause }) };
  return { location: location as Database, config, output, head };
}

/** Gives the exit status. */
export async function runDatabaseMigrate(flags: DatabaseFlags, signal: AbortSignal): Promise<number> {
  const { location, config, output, head } = choose(flags);
  const report = await migrate(location, config, signal);
  for (const warning of report.warnings) output.warn(warning);
  for (const { id, name } of report.applied) output.line(`  applied ${id} ${name}`);
  const count = report.applied.length;
  output.line(
    count === 0 ? "✅ The schema is up to date" : `✅ Applied ${count} ${count === 1 ? "migration" : "migrations"}`,
  );
  output.result({ ...head, applied: report.applied, warnings: report.warnings });
  return EXIT.done;
}

async function migrate(location: Database, config: Config, signal: AbortSignal): Promise<MigrationReport> {
  const { migratePostgres, migrateSqlite } = await import("../schema/migrator.js");
  if (location.type === "sqlite") return migrateSqlite(location.path, { signal });
  const { connectionTimeoutSeconds } = config.postgresql;
  const connection = await (await postgresConnector(location, { connectionTimeoutSeconds, signal, create: true }))();
  try {
    return await migratePostgres(connection);
  } finally {
    await connection.close();
  }
}

/** Gives the exit status. */
export async function runMigrationsList(flags: DatabaseFlags, signal: AbortSignal): Promise<number> {
  const { location, config, output, head } = choose(flags);
  const { migrations } = await examine(location, config, signal);
  const idWidth = Math.max(...migrations.map(({ id }) => id.length));
  for (const { id, name, applied, recordedBy } of migrations) {
    const by = recordedBy === undefined ? "" : ` (recorded by ${recordedBy})`;
    output.line(`  ${id.padEnd(idWidth)}  ${applied ? "applied" : "pending"}  ${name}${by}`);
  }
  output.line(pendingLine(migrations));
  output.result({ ...head, migrations });
  return EXIT.done;
}

/** Gives the exit status: 0 also for a database without a schema, which is no fault of its health. */
export async function runDatabaseHealth(flags: DatabaseFlags, signal: AbortSignal): Promise<number> {
  const { location, config, output, head } = choose(flags);
  const { facts, migrations, json } = await examine(location, config, signal);
  output.line("✅ Connected");
  for (const fact of facts) output.line(fact);
  const applied = migrations.filter((migration) => migration.applied).map(({ id }) => id);
  output.line(`Migrations: ${applied.length === 0 ? "none" : applied.join(", ")}`);
  output.line(pendingLine(migrations));
  output.result({ ...head, connected: true, ...json, migrations });
  return EXIT.done;
}

function pendingLine(migrations: readonly MigrationState[]): string {
  const pending = migrations.filter(({ applied }) => !applied).map(({ id }) => id);
  if (pending.length === 0) return "✅ The schema is up to date";
  return `Pending: ${pending.join(", ")}. Run \`llmspell database migrate\`.`;
}

interface Examination {
  readonly facts: readonly string[];
  readonly migrations: readonly MigrationState[];
  readonly json: object;
}

/** Looks at a database without changing it. */
async function examine(location: Database, config: Config, signal: AbortSignal): Promise<Examination> {
  const { listPostgresMigrations, listSqliteMigrations } = await import("../schema/migrator.js");
  if (location.type === "sqlite") {
    const [{ openSqliteForReading }, { inspectSqlite }, { catalog }] = await Promise.all([
      import("../backends/sqlite/open.js"),
      import("../backends/sqlite/inspect.js"),
      import("../catalog/index.js"),
    ]);
    const database = openSqliteForReading(location.path);
    try {
      const state = inspectSqlite(database, location.path, catalog.kinds);
      const shapes = [...state.embeddings].map(([table, shape]) => `${table} (${shape})`);
      const facts = [
        `SQLite: ${state.sqliteVersion}; sqlite-vec: ${state.sqliteVecVersion ?? "not available"}`,
        `File: ${formatBytes(state.bytes)}, journal mode ${state.journalMode}`,
        state.tables.length === 0 ? "Schema: none yet" : `Schema: ${state.tables.length} tables`,
        ...(shapes.length === 0 ? [] : [`Embedding tables: ${shapes.join(", ")}`]),
      ];
      const json = { ...state, embeddings: Object.fromEntries(state.embeddings) };
      return { facts, migrations: listSqliteMigrations(database), json };
    } finally {
      database.close();
    }
  }
  const { inspectPostgres } = await import("../backends/postgres/inspect.js");
  const { connectionTimeoutSeconds } = config.postgresql;
  const connection = await (await postgresConnector(location, { connectionTimeoutSeconds, signal }))();
  try {
    const state = await inspectPostgres(connection);
    const json = { ...state, extensions: Object.fromEntries(state.extensions) };
    return { facts: postgresFacts(state), migrations: await listPostgresMigrations(connection), json };
  } finally {
    await connection.close();
  }
}

function postgresFacts(state: PostgresState): string[] {
  const { serverVersion, encoding, encodingCaveat, extensions, databaseBytes, schema, tables } = state;
  const version = (name: string): string => {
    const { installed, available } = extensions.get(name) ?? {};
    if (installed !== undefined) return installed;
    return available === undefined ? "not available on this server" : `not installed (${available} is available)`;
  };
  const facts = [
    `Server: PostgreSQL ${serverVersion}; pgvector: ${version("vector")}`,
    `Encoding: ${encoding}${encodingCaveat === undefined ? "" : `; ${encodingCaveat}`}`,
    `Database size: ${formatBytes(databaseBytes)}`,
    schema ? `Schema: llmspell, ${tables.length} tables` : "Schema: none yet",
  ];
  const secured = tables.filter(({ rowSecurity }) => rowSecurity).length;
  const forced = tables.filter((table) => table.forced).length;
  if (schema) {
    facts.push(`Row-level security: on for ${secured} of ${tables.length} tables, forced on the owner for ${forced}`);
  }
  return [...facts, ...roleFacts(state)];
}

/** What the role may do, with the grant that is missing. */
function roleFacts({ schema, tables, role }: PostgresState): string[] {
  const seesAll = role.superuser || role.bypassRowSecurity;
  const attributes = [
    role.superuser ? "superuser" : "no superuser",
    ...(role.superuser ? [] : [role.bypassRowSecurity ? "BYPASSRLS" : "no BYPASSRLS"]),
  ];
  const facts = [`Role: ${role.name} (${attributes.join(", ")})`];
  if (!schema) return facts;
  const bound = tables.filter((table) => table.rowSecurity && (table.forced || !table.owned)).length;
  const unreadable = tables.filter(({ readable }) => !readable).map(({ name }) => name);
  const unwritable = tables.filter(({ writable }) => !writable).map(({ name }) => name);
  const owner = tables.length > 0 && tables.every(({ owned }) => owned);
  if (unreadable.length > 0) facts.push(`  export: no; SELECT is missing on ${unreadable.join(", ")}`);
  else if (seesAll || bound === 0) facts.push("  export: yes, all tenants");
  else facts.push(`  export: one tenant at a time, with --tenant; for all: ALTER ROLE ${role.name} BYPASSRLS`);
  if (unwritable.length > 0) facts.push(`  import: no; INSERT or UPDATE is missing on ${unwritable.join(", ")}`);
  else if (role.maySetReplicationRole || owner) {
    facts.push(seesAll || bound === 0 || owner ? "  import: yes" : "  import: one tenant at a time, with --tenant");
  } else {
    facts.push(`  import: no; triggers would fire: GRANT SET ON PARAMETER session_replication_role TO ${role.name}`);
  }
  return facts;
}
