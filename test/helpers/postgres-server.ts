import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { describe, inject } from "vitest";
import "./global-setup.js";

const service = inject("postgres");

/** Whether this run has a PostgreSQL server with pgvector. */
export const postgresAvailable = service.available;

/** Superuser URL of the server's maintenance database. */
export function postgresAdminUrl(): string {
  if (!service.available) throw new Error(`no PostgreSQL server for the tests: ${service.reason}`);
  return service.url;
}

/** Work on the maintenance database, or another, as the superuser. */
export async function asAdmin<Result>(
  work: (client: pg.Client) => Promise<Result>,
  database?: string,
): Promise<Result> {
  const url = new URL(postgresAdminUrl());
  if (database !== undefined) url.pathname = `/${database}`;
  const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: 30_000 });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Waits until the database has no clients but this one, or none of the role: a client may be gone before its session is. */
export async function sessionsEnd(url: string, role?: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  await client.connect();
  const sql = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND coalesce(usename = $1, true)`;
  try {
    while ((await client.query(sql, [role])).rowCount !== 0) await sleep(20);
  } finally {
    await client.end();
  }
}

/** One database of a test's own. `await using` drops it at the end of the scope. */
export interface TestDatabase extends AsyncDisposable {
  /** Superuser URL of the database. */
  readonly url: string;
  readonly name: string;
  /** Drops the database, ending every connection to it. Repeatable. */
  drop(): Promise<void>;
}

/**
 * Creates a database with a random name: an empty one (UTF8 if not told, from template0: no extension, no schema of ours), or a
 * copy of the template (createDatabase in database-templates.ts).
 */
export async function createTestDatabase({ encoding = "UTF8", template = "template0" } = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString("hex")}`;
  // Other encodings do not go with the server's collation.
  await asAdmin(async (client) => {
    const locale = encoding === "UTF8" ? "" : await libcLocale(client);
    await client.query(`CREATE DATABASE ${name} TEMPLATE ${template} ENCODING '${encoding}' ${locale}`);
  });
  const url = new URL(postgresAdminUrl());
  url.pathname = `/${name}`;
  const drop = async (): Promise<void> => {
    await asAdmin((client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  };
  return { url: url.href, name, drop, [Symbol.asyncDispose]: drop };
}

/** The words of CREATE DATABASE for the locale C; servers before 15 have one provider. */
export async function libcLocale(client: pg.Client): Promise<string> {
  const { rows } = await client.query("SELECT current_setting('server_version_num')::int AS version");
  return `${rows[0].version < 150000 ? "" : "LOCALE_PROVIDER libc"} LC_COLLATE 'C' LC_CTYPE 'C'`;
}

/** One login role of a test's own. `await using` drops it at the end of the scope. */
export interface TestRole extends AsyncDisposable {
  readonly name: string;
  /** The URL of `database` for this role, with its password where it has one. */
  readonly url: string;
  /** Drops the role with what it owns and was granted in `database`. Do so before the database is dropped. */
  drop(): Promise<void>;
}

/**
 * Creates a login role for a test database.
 * @param attributes PostgreSQL's role attributes, such as `NOSUPERUSER BYPASSRLS`
 * @param password makes the run's own server ask this role for it (other roles are trusted)
 */
export async function createTestRole(
  database: TestDatabase,
  { attributes = "", password }: { attributes?: string; password?: string } = {},
): Promise<TestRole> {
  const name = `role_${randomBytes(8).toString("hex")}`;
  await asAdmin(async (client) => {
    await client.query(`CREATE ROLE ${name} LOGIN ${attributes}`);
    if (password !== undefined) {
      await client.query(`ALTER ROLE ${name} PASSWORD ${client.escapeLiteral(password)}`);
      await client.query(`GRANT password_required TO ${name}`);
    }
  });
  const url = new URL(database.url);
  url.username = name;
  url.password = password === undefined ? "" : encodeURIComponent(password);
  const drop = async (): Promise<void> => {
    await asAdmin(async (client) => {
      await client.query(`DROP OWNED BY ${name} CASCADE`);
      await client.query(`DROP ROLE ${name}`);
    }, database.name);
  };
  return { name, url: url.href, drop, [Symbol.asyncDispose]: drop };
}

/**
 * `describe` for tests that need the server. Without one they are skipped, loudly and by name; under CI=true that fails,
 * so that a green run there always means that they ran.
 */
export function describePostgres(name: string, define: () => void): void {
  if (service.available) {
    describe(name, define);
    return;
  }
  if (process.env["CI"] === "true") throw new Error(`"${name}" needs PostgreSQL with pgvector: ${service.reason}`);
  process.stderr.write(`\u001b[31mSKIPPED "${name}": no PostgreSQL with pgvector: ${service.reason}\u001b[0m\n`);
  describe.skip(name, define);
}
