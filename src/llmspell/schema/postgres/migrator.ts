/** Migrations of PostgreSQL: one transaction, one at a time. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { refuseUnfinishedRun } from "../../../backends/postgres/runs/ledger/unfinished.js";
import type { PostgresConnection } from "../../../backends/postgres/session/connection.js";
import { encodingCaveat, readServerEncoding } from "../../../backends/postgres/session/encodings.js";
import { inTransaction } from "../../../backends/postgres/session/transaction.js";
import { StorageError, toStorageError } from "../../../errors.js";
import { hasMisplacedPartitions, repairPartitions } from "../../partitions/repair.js";
import { llmspellPostgres } from "../../postgres/application.js";
import { inApplicationTimeZone } from "../../postgres/application-role.js";
import type { SchemaComparison } from "../comparison.js";
import {
  loadMigrations,
  type Migration,
  type MigrationReport,
  type MigrationState,
  migrationError,
  migrationId,
  migrationStates,
  refuseNewer,
} from "../migration.js";
import { FIRST_STORAGE_MIGRATION } from "../recorded.js";
import { comparePostgres } from "./comparison.js";
import { readExtensionSchemas, withExtensionSchemas } from "./extensions.js";
import { readPostgresMigrations } from "./migrations-table.js";
import { hasUtcFunctions } from "./schema-objects.js";

export interface MigratePostgresOptions {
  /** The password of llmspell_app where the role is created here. Default: LLMSPELL_APP_PASSWORD; else it gets none. */
  readonly appPassword?: string;
  /** How long a lock of another session is waited for. Seconds, default 300. */
  readonly lockTimeoutSeconds?: number;
}

/** Any number, but always this one: two migrations of a database exclude each other. */
const ADVISORY_LOCK = "7311930224851402";

/** Whether llmspell_app still needs what V12 gives: it is missing and may be made, or may not use the schema. */
const ROLE_PENDING = `
SELECT CASE WHEN to_regrole('llmspell_app') IS NULL
  THEN (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
  ELSE NOT coalesce(has_schema_privilege(to_regrole('llmspell_app')::oid, to_regnamespace('llmspell')::oid, 'USAGE'), true)
END AS pending`;

interface Plan {
  readonly pending: readonly Migration[];
  readonly states: MigrationState[];
  readonly comparison: SchemaComparison;
}

/** What a migration that is no SQL does. */
const REPAIRS_PARTITIONS = /^-- repair: partitions$/m;

/** To be called in a transaction. */
async function plan(connection: PostgresConnection, migrations: readonly Migration[]): Promise<Plan> {
  const { llmspell, ours, present } = await readPostgresMigrations(connection);
  refuseNewer(migrations, ours);
  const rolePending = (await connection.query<{ pending: boolean }>(ROLE_PENDING)).rows[0]?.pending === true;
  const utcFunctions = await hasUtcFunctions(connection);
  const misplaced = await hasMisplacedPartitions(connection);
  const comparison = await comparePostgres(connection, new Set(llmspell.map(({ version }) => version)));
  const incomplete = new Set([...comparison.missing, ...comparison.pending].map(({ migration }) => migration));
  const isApplied = ({ version, sql }: Migration): boolean => {
    // The objects count, not the record: one that is gone is made again.
    if (incomplete.has(migrationId(version))) return false;
    if (REPAIRS_PARTITIONS.test(sql) && misplaced) return false;
    if (version >= FIRST_STORAGE_MIGRATION) return ours.some((row) => row.version === version);
    return present.has(version) && !(version === 12 && rolePending) && !(version === 11 && utcFunctions);
  };
  const pending = migrations.filter((migration) => !isApplied(migration));
  const states = migrationStates(migrations, new Set(pending.map(({ version }) => version)), llmspell, ours);
  return { pending, states, comparison: { ...comparison, notes: misplaced ? [MISPLACED] : [] } };
}

const MISPLACED =
  "The event log's partitions are not cut by the months of llmspell's time zone: its inserts may fail at a month's end.";

/** The plan of a database that is only looked at. */
function planReading(connection: PostgresConnection, migrations: readonly Migration[]): Promise<Plan> {
  return inTransaction(connection, "read", () => plan(connection, migrations));
}

/** Every migration of the database and of this release, and how the objects compare. Reads only. */
export interface PostgresSchemaState {
  readonly migrations: readonly MigrationState[];
  readonly comparison: SchemaComparison;
}

export async function readPostgresSchema(connection: PostgresConnection): Promise<PostgresSchemaState> {
  const { states, comparison } = await planReading(connection, loadMigrations("postgres"));
  return { migrations: states, comparison };
}

/** Every migration of the database and of this release. Reads only. */
export async function listPostgresMigrations(connection: PostgresConnection): Promise<MigrationState[]> {
  return (await planReading(connection, loadMigrations("postgres"))).states;
}

/**
 * A column that is gone took its values with it, and without its key no table can be imported to.
 * @throws {StorageError} E_SCHEMA, with the statements that make them anew
 */
function requireColumnsAndKeys({ broken }: SchemaComparison): void {
  const lost = broken.filter(
    ({ object, repair }) => object.startsWith("column ") || / (PRIMARY KEY|UNIQUE) \(/.test(repair ?? ""),
  );
  const [first] = lost;
  if (first === undefined) return;
  const others = lost.length === 1 ? "" : `, and ${lost.length - 1} more`;
  const values = first.object.startsWith("column ") ? "; its values are gone with it" : "";
  throw new StorageError("E_SCHEMA", `${first.object} is missing${others}${values}`, {
    hint: `Restore a backup, or make it anew: ${lost.map(({ repair }) => `${repair};`).join(" ")}`,
  });
}

/** What no migration puts right, for people. */
function brokenLines({ broken }: SchemaComparison): string[] {
  return broken.map(({ object, repair }) => `${object} is missing or does not work; as the owner: ${repair}`);
}

/**
 * Applies what is missing: llmspell's V1 to V15, in which it continues a database that llmspell migrated itself, and ours.
 * All or nothing; writes nothing when nothing is missing; never writes llmspell's own record.
 * @throws {StorageError} E_RUN_UNFINISHED, E_PERMISSION, E_SCHEMA (no pgvector, a newer database, a column or key that is gone), E_LOCKED
 */
export async function migratePostgres(
  connection: PostgresConnection,
  options: MigratePostgresOptions = {},
): Promise<MigrationReport> {
  const migrations = loadMigrations("postgres");
  const { pending, comparison } = await planReading(connection, migrations);
  requireColumnsAndKeys(comparison);
  const warnings = brokenLines(comparison);
  const objects = comparison.broken.map(({ object }) => object);
  const broken = objects.length === 0 ? {} : { broken: objects };
  if (pending.length === 0) return { applied: [], warnings, ...broken };

  const caveat = encodingCaveat(await inTransaction(connection, "read", () => readServerEncoding(connection)));
  if (caveat !== undefined) warnings.push(caveat);
  const onNotice = (notice: { severity?: string | undefined; message?: string | undefined }): void => {
    if (notice.severity === "WARNING") warnings.push(notice.message ?? "");
  };
  connection.client.on("notice", onNotice);
  try {
    const applied = await inTransaction(connection, "write", () => applyPending(connection, migrations, options));
    return { applied, warnings, ...broken };
  } finally {
    connection.client.removeListener("notice", onNotice);
  }
}

async function applyPending(
  connection: PostgresConnection,
  migrations: readonly Migration[],
  options: MigratePostgresOptions,
): Promise<MigrationState[]> {
  await prepare(connection, options);
  // It would make again what the run has dropped.
  await refuseUnfinishedRun(connection, llmspellPostgres);
  // Read again: another migration may have been first.
  const { pending } = await plan(connection, migrations);
  const before = await ownObjects(connection);
  for (const migration of pending) await apply(connection, migration);
  if (pending.length > 0) await finish(connection, before);
  return migrationStates(pending, new Set(), [], []);
}

async function prepare(connection: PostgresConnection, options: MigratePostgresOptions): Promise<void> {
  const settings: Record<string, string> = {
    lock_timeout: `${options.lockTimeoutSeconds ?? 300}s`,
    client_min_messages: "warning",
    check_function_bodies: "on",
  };
  const password = options.appPassword ?? process.env["LLMSPELL_APP_PASSWORD"];
  if (password) settings["llmspell_storage.app_password"] = scramVerifier(password);
  for (const [name, value] of Object.entries(settings)) {
    await connection.query("SELECT set_config($1, $2, true)", [name, value]);
  }
  await connection.query(`SELECT pg_advisory_xact_lock(${ADVISORY_LOCK})`);
  await requireExtensions(connection);
}

async function requireExtensions(connection: PostgresConnection): Promise<void> {
  const { rows } = await connection.query<{ name: string }>(`
    SELECT name FROM unnest(ARRAY['vector', 'uuid-ossp']) AS name
    WHERE name NOT IN (SELECT name FROM pg_available_extensions) AND name NOT IN (SELECT extname FROM pg_extension)`);
  if (rows.length === 0) return;
  const names = rows.map(({ name }) => name).join(" and ");
  throw new StorageError("E_SCHEMA", `the server does not offer the extension ${names}`, {
    hint: "Install pgvector (package postgresql-<version>-pgvector) and postgresql-contrib on the server's machine.",
  });
}

async function apply(connection: PostgresConnection, migration: Migration): Promise<void> {
  try {
    const sql = withExtensionSchemas(migration.sql, await readExtensionSchemas(connection));
    // In it llmspell's sessions cut the event log's months.
    await inApplicationTimeZone(connection, () => connection.query(sql));
    if (REPAIRS_PARTITIONS.test(migration.sql)) await repairPartitions(connection);
    await record(connection, migration);
  } catch (error) {
    const mapped = toStorageError(error);
    const hint =
      mapped.code !== "E_PERMISSION"
        ? undefined
        : migration.version === 1
          ? 'Have an administrator run CREATE EXTENSION vector; CREATE EXTENSION "uuid-ossp"; and grant CREATE on the database.'
          : "Migrate as the owner of the tables in schema llmspell, or as a superuser.";
    throw migrationError(migration, mapped, hint);
  }
}

async function record(connection: PostgresConnection, { version, name }: Migration): Promise<void> {
  await connection.query(`
    CREATE TABLE IF NOT EXISTS llmspell.storage_migrations (
      version INTEGER PRIMARY KEY,
      name TEXT NOT NULL,
      applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )`);
  await connection.query(
    "INSERT INTO llmspell.storage_migrations (version, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    [version, name],
  );
}

/** Objects of schema llmspell that belong to this role though the schema belongs to another one, which this role may act for. */
async function ownObjects(connection: PostgresConnection): Promise<Map<string, string>> {
  const { rows } = await connection.query<{ object: string; owner: string }>(`
    SELECT object, quote_ident(owner.rolname) AS owner
    FROM pg_namespace n JOIN pg_roles owner ON owner.oid = n.nspowner,
      LATERAL (
        SELECT CASE relkind WHEN 'v' THEN 'VIEW ' ELSE 'TABLE ' END || oid::regclass AS object FROM pg_class
        WHERE relnamespace = n.oid AND relkind IN ('r', 'p', 'v') AND relowner = to_regrole(quote_ident(current_user))
        UNION ALL
        SELECT 'FUNCTION ' || oid::regprocedure FROM pg_proc
        WHERE pronamespace = n.oid AND proowner = to_regrole(quote_ident(current_user))
      ) AS objects
    WHERE n.nspname = 'llmspell' AND owner.rolname <> current_user AND pg_has_role(current_user, owner.oid, 'MEMBER')`);
  return new Map(rows.map(({ object, owner }) => [object, owner]));
}

/**
 * What was made in a schema of another role (an administrator continues llmspell's database) goes to that role, or llmspell
 * could not work on it. And default privileges gave the application's role rights on our record that it must not have.
 */
async function finish(connection: PostgresConnection, before: ReadonlyMap<string, string>): Promise<void> {
  for (const [object, owner] of await ownObjects(connection)) {
    if (!before.has(object)) await connection.query(`ALTER ${object} OWNER TO ${owner}`);
  }
  await connection.query(`
    DO $$
    BEGIN
      IF to_regrole('llmspell_app') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE ON llmspell.storage_migrations FROM llmspell_app;
        REVOKE ALL ON llmspell.storage_runs, llmspell.storage_parts, llmspell.storage_steps,
          llmspell.storage_plans, llmspell.storage_plan_parts, llmspell.storage_plan_sums FROM llmspell_app;
      END IF;
    END $$`);
}

/** What PostgreSQL stores of a password (RFC 5803), so that the password itself is in no statement and no server log. */
function scramVerifier(password: string): string {
  const iterations = 4096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password.normalize("NFKC"), salt, iterations, 32, "sha256");
  const mac = (text: string): Buffer => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(mac("Client Key")).digest("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${storedKey}:${mac("Server Key").toString("base64")}`;
}
