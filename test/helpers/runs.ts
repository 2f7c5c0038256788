/** Runs (loads over several connections) for tests: targets, what is in them, and processes that die in the middle. */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Workspace } from "./llmspell.js";
import { findPgDump } from "./postgres-cluster.js";
import { SAMPLE_TABLES } from "./sample-records.js";

/** Small parts: a run of little data has many. */
export const SMALL_PARTS = { LLMSPELL_STORAGE_PART_BYTES: "20000" };

export async function query<Row extends object>(url: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 30_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql, values)).rows as Row[];
  } finally {
    await client.end();
  }
}

/** Copies of one database that was migrated once. */
export async function createTargets(adminUrl: string, workspace: Workspace) {
  const admin = new URL(adminUrl);
  const prefix = `test_${randomBytes(6).toString("hex")}`;
  const at = (name: string): string => Object.assign(new URL(admin), { pathname: `/${name}` }).href;
  const template = `${prefix}_t`;
  await query(adminUrl, `CREATE DATABASE ${template} TEMPLATE template0`);
  await workspace.must(["database", "migrate", "--database", at(template)]);
  const names = [template];
  return {
    template: at(template),
    /** `of`: another database of these, to which nobody is connected. Default: the migrated one. */
    async next(of = at(template)): Promise<string> {
      const name = `${prefix}_${names.length}`;
      names.push(name);
      await query(adminUrl, `CREATE DATABASE ${name} TEMPLATE ${new URL(of).pathname.slice(1)}`);
      return at(name);
    },
    /** The URL of one that is made later: another program must know it beforehand. */
    named: (name: string): string => at(`${prefix}_${name}`),
    async make(url: string, of = at(template)): Promise<void> {
      const name = new URL(url).pathname.slice(1);
      names.push(name);
      await query(adminUrl, `CREATE DATABASE ${name} TEMPLATE ${new URL(of).pathname.slice(1)}`);
    },
    async remove(url: string): Promise<void> {
      await query(adminUrl, `DROP DATABASE ${new URL(url).pathname.slice(1)} WITH (FORCE)`);
    },
    async drop(): Promise<void> {
      for (const name of names.toReversed()) await query(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

/** What pg_dump sees, the ledger aside; with `schemaOnly` without rows and large objects. */
export function dumpOf(url: string, schemaOnly = false): string {
  const options = ["--exclude-table=llmspell.storage_*", ...(schemaOnly ? ["--schema-only"] : [])];
  const dump = spawnSync(findPgDump(), [...options, url], { encoding: "utf8", maxBuffer: 1 << 28 });
  if (dump.status !== 0) throw new Error(`pg_dump: ${dump.stderr}`);
  return dump.stdout
    .split("\n")
    .filter((line) => !/^\\(un)?restrict |^-- Dumped/.test(line))
    .join("\n");
}

/** A dump by which rows may stand elsewhere: those that a merge replaced, and that were given back. */
export const sorted = (dump: string): string => dump.split("\n").sort().join("\n");

/** Large objects by owner and rights. */
export async function largeObjectsOf(url: string): Promise<string> {
  const rows = await query<{ line: string }>(
    url,
    `SELECT count(*) || ' ' || lomowner::regrole || ' ' || coalesce(lomacl::text, '') AS line
     FROM pg_largeobject_metadata GROUP BY lomowner, lomacl ORDER BY 1`,
  );
  return rows.map(({ line }) => line).join("\n");
}

/** Tables of runs, and large objects that no record has: what a run that is through, or undone, leaves none of. */
export function leftOfRuns(url: string): Promise<object[]> {
  return query(
    url,
    `SELECT relname::text FROM pg_class WHERE relname ~ '^storage_(staged|replaced)' UNION ALL
     SELECT oid::text FROM pg_largeobject_metadata m WHERE NOT EXISTS (SELECT FROM llmspell.artifact_content c WHERE c.large_object_oid = m.oid)`,
  );
}

/** The state of the run that is not finished; undefined where there is none. */
export async function unfinishedState(url: string): Promise<string | undefined> {
  const rows = await query<{ state: string }>(
    url,
    "SELECT state FROM llmspell.storage_runs WHERE state IN ('loading', 'undoing')",
  );
  return rows[0]?.state;
}

/** Starts a command and kills it so many milliseconds later. True where it was killed, false where it ended before. */
export async function killed(workspace: Workspace, args: readonly string[], milliseconds: number): Promise<boolean> {
  const child = workspace.start(args, { env: SMALL_PARTS });
  child.stdout?.resume();
  child.stderr?.resume();
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  await Promise.race([closed, sleep(milliseconds)]);
  child.kill("SIGKILL");
  const [, signal] = await closed;
  return signal === "SIGKILL";
}

/** Starts a command and kills it a little after it has merged so many sections. Gives how many were merged then. */
export async function killedWhenMerged(
  workspace: Workspace,
  args: readonly string[],
  { url, merged, milliseconds }: { url: string; merged: number; milliseconds: number },
): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  const count = async (): Promise<number> =>
    (await client.query("SELECT FROM llmspell.storage_parts WHERE digest = 'merged'")).rowCount ?? 0;
  try {
    const child = workspace.start(args, { env: SMALL_PARTS });
    child.stdout?.resume();
    child.stderr?.resume();
    const closed = once(child, "close");
    while ((await count()) < merged && child.exitCode === null) await sleep(5);
    await Promise.race([closed, sleep(milliseconds)]);
    child.kill("SIGKILL");
    await closed;
    return await count();
  } finally {
    await client.end();
  }
}

/** A network between, all of whose connections can be cut. */
export async function startNetwork(url: string) {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    url: (of: string): string => Object.assign(new URL(of), { port: String(port), hostname: "127.0.0.1" }).href,
    cut(): void {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Makes a database that has a source's records another that has been used since: some changed, removed, added, one section emptied. */
export async function useFurther(url: string): Promise<void> {
  const some = (table: string, of: number): string =>
    `ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER (ORDER BY ctid) AS n FROM llmspell.${table}) r WHERE n % ${of} = 0)`;
  await query(
    url,
    `SET session_replication_role = replica;
     DELETE FROM llmspell.kv_store WHERE ${some("kv_store", 3)};
     UPDATE llmspell.kv_store SET kv_id = gen_random_uuid(), value = 'another' WHERE ${some("kv_store", 4)};
     UPDATE llmspell.agent_states SET state_data = '{"changed": true}' WHERE ${some("agent_states", 3)};
     DELETE FROM llmspell.vector_embeddings_384 WHERE ${some("vector_embeddings_384", 2)};
     DELETE FROM llmspell.event_log WHERE ${some("event_log", 2)};
     DELETE FROM llmspell.hook_history;
     UPDATE llmspell.artifact_content SET is_compressed = NOT is_compressed WHERE ${some("artifact_content", 2)};
     DELETE FROM llmspell.artifacts WHERE ${some("artifacts", 2)};
     UPDATE llmspell.sessions SET status = 'archived' WHERE ${some("sessions", 3)};
     INSERT INTO llmspell.artifacts (tenant_id, artifact_id, session_id, sequence, content_hash, metadata, name, artifact_type, mime_type, size_bytes)
       SELECT tenant_id, artifact_id || '-own', session_id, 900000 + row_number() OVER (), content_hash, '{}', 'own', 't', 'm', 1
       FROM llmspell.artifacts ORDER BY artifact_id LIMIT 3;
     INSERT INTO llmspell.kv_store (tenant_id, key, value) SELECT 'own', 'own ' || n, 'x' FROM generate_series(1, 5) n;
     UPDATE llmspell.artifact_content c SET reference_count = greatest(1, (SELECT count(*) FROM llmspell.artifacts a WHERE a.tenant_id = c.tenant_id AND a.content_hash = c.content_hash));
     UPDATE llmspell.sessions c SET artifact_count = (SELECT count(*) FROM llmspell.artifacts a WHERE a.tenant_id = c.tenant_id AND a.session_id = c.session_id)`,
  );
}

/** Adds, changes and removes some records of a source; `mark` makes what is new unlike all before. */
export async function changeSource(url: string, mark: string): Promise<void> {
  const some = (table: string, key: string, count: number): string =>
    `${key} IN (SELECT ${key} FROM llmspell.${table} ORDER BY md5(${key}::text || '${mark}') LIMIT ${count})`;
  await query(
    url,
    `SET session_replication_role = replica;
     DELETE FROM llmspell.vector_embeddings_384 WHERE ${some("vector_embeddings_384", "id", 1)};
     INSERT INTO llmspell.vector_embeddings_384 (id, tenant_id, scope, embedding, metadata)
       SELECT gen_random_uuid(), tenant_id, scope, embedding, metadata FROM llmspell.vector_embeddings_384 LIMIT 1;
     UPDATE llmspell.agent_states SET state_data = jsonb_build_object('changed', '${mark}') WHERE ${some("agent_states", "state_id", 2)};
     UPDATE llmspell.artifact_content SET is_compressed = NOT is_compressed WHERE large_object_oid IS NOT NULL AND ${some("artifact_content", "content_hash", 8)};
     DELETE FROM llmspell.kv_store WHERE ${some("kv_store", "kv_id", 1)};
     UPDATE llmspell.kv_store SET key = md5(key || '${mark}') WHERE ${some("kv_store", "kv_id", 2)};
     INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('tenant ${mark}', 'k', 'new');
     UPDATE llmspell.sessions SET status = 'archived' WHERE ${some("sessions", "session_id", 2)}`,
  );
}

/** Records of a store, over all of its sections. */
export async function recordsOf(url: string): Promise<number> {
  const tables = SAMPLE_TABLES.map((table) => `(SELECT count(*) FROM llmspell.${table})`);
  const [row] = await query<{ records: string }>(url, `SELECT ${tables.join(" + ")} AS records`);
  return Number(row?.records);
}

export interface OfOthers {
  readonly records: number;
  /** What an undo has to name: a record's key, or the section of one that was added among those of the run. */
  readonly named: readonly string[];
}

/** Adds a record and, where there is one, changes one that the run has loaded; not where rows may be older than the run. */
export async function doAsOthers(url: string, isOlder = false): Promise<OfOthers> {
  await query(url, "INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('others', 'of others', 'x')");
  if (isOlder) return { records: 1, named: [] };
  const changed = await query<{ key: string }>(
    url,
    `UPDATE llmspell.agent_states SET agent_type = 'of others' WHERE ctid = (SELECT min(ctid) FROM llmspell.agent_states)
     RETURNING state_id::text AS key`,
  );
  const among = await query(url, "SELECT FROM llmspell.storage_parts WHERE section = 'kv_store'");
  return {
    records: 1 + changed.length,
    named: [...changed.map(({ key }) => key), ...(among.length > 0 ? ["kv_store"] : [])],
  };
}

/** They are there still; removes them. */
export async function undoAsOthers(url: string, { records }: OfOthers): Promise<void> {
  const gone = await query(
    url,
    `WITH changed AS (DELETE FROM llmspell.agent_states WHERE agent_type = 'of others' RETURNING 1),
       added AS (DELETE FROM llmspell.kv_store WHERE key = 'of others' RETURNING 1)
     SELECT FROM changed UNION ALL SELECT FROM added`,
  );
  if (gone.length !== records) throw new Error(`${records - gone.length} records of others have gone`);
}
