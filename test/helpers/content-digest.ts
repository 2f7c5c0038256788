/** Digests of everything that a database holds, taken through its driver: equal before and after means untouched. */
import { createHash } from "node:crypto";
import Database from "better-sqlite3";
import pg from "pg";
import * as sqliteVec from "sqlite-vec";

/** SHA-256 of every table, row, trigger and index of an SQLite file. */
export function sqliteDigest(path: string): string {
  const database = new Database(path, { fileMustExist: true });
  try {
    sqliteVec.load(database);
    database.pragma("query_only = 1");
    database.defaultSafeIntegers();
    const hash = createHash("sha256");
    const schema = database.prepare("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").all() as {
      type: string;
      name: string;
      sql: string | null;
    }[];
    for (const { type, name, sql } of schema) {
      hash.update(`${type} ${name} ${sql}\n`);
      if (type !== "table" || name.startsWith("sqlite_")) continue;
      for (const row of database.prepare(`SELECT rowid, * FROM "${name}" ORDER BY rowid`).raw().iterate() as Iterable<
        unknown[]
      >) {
        for (const value of row) hash.update(Buffer.isBuffer(value) ? value : `${typeof value}:${value}\n`);
      }
    }
    return hash.digest("hex");
  } finally {
    database.close();
  }
}

/** SHA-256 of every row of schema llmspell, its tables' names and all large objects of a PostgreSQL database. */
export async function postgresDigest(url: string): Promise<string> {
  return withClient(url, async (client) => {
    const hash = createHash("sha256");
    const tables = await client.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = 'llmspell'::regnamespace AND relkind = 'r' ORDER BY relname`,
    );
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ digest: string; rows: string }>(
        `SELECT count(*)::text AS rows, md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) AS digest
         FROM llmspell."${name}" t`,
      );
      hash.update(`${name} ${rows[0]?.rows} ${rows[0]?.digest}\n`);
    }
    const objects = await client.query<{ digest: string }>(
      `SELECT md5(string_agg(oid::text || md5(lo_get(oid)), ',' ORDER BY oid)) AS digest FROM pg_largeobject_metadata`,
    );
    hash.update(String(objects.rows[0]?.digest));
    return hash.digest("hex");
  });
}

export interface Leftovers {
  /** Locks that other clients hold on the database; the server's own vacuuming is nobody's. */
  readonly locks: number;
  readonly largeObjects: number;
}

export async function postgresLeftovers(url: string): Promise<Leftovers> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<{ locks: number; objects: number }>(
      `SELECT (SELECT count(*)::int FROM pg_locks WHERE pid <> pg_backend_pid()
                 AND pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend')
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locks,
              (SELECT count(*)::int FROM pg_largeobject_metadata) AS objects`,
    );
    return { locks: rows[0]?.locks ?? -1, largeObjects: rows[0]?.objects ?? -1 };
  });
}

/** Runs `work` on a connection of its own. */
export async function withClient<Result>(url: string, work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
