// The command lines of PostgreSQL's own programs for the tables that we export: all of llmspell's but its bookkeeping.
import { TABLES } from "../data/rows.mjs";

/** Not exported by us: bookkeeping, keys that are never exported, and a table of llmspell's tests. */
const NOT_DATA = ["storage_migrations", "storage_runs", "storage_parts", "storage_steps", "api_keys", "test_data"];

/** `without`: tables to leave out besides. Large objects go with the content. */
export function pgDump(url, { format, file, dataOnly = true, table, without = [] }) {
  const selection =
    table === undefined
      ? ["-n", "llmspell", ...[...NOT_DATA, ...without].map((name) => `--exclude-table-data=llmspell.${name}`)]
      : ["-t", `llmspell.${table}`];
  const objects = table === undefined && !without.includes("artifact_content") ? ["-b"] : [];
  return ["pg_dump", `-F${format}`, ...(dataOnly ? ["-a"] : []), ...objects, ...selection, "-f", file, "-d", url];
}

/** A script for psql, with whatever makes an error an error. */
export function psqlFile(url, file, ...options) {
  return ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", ...options, "-f", file, "-d", url];
}

/** The order of the documents, which is that of the primary keys. */
const KEYS = {
  entities: "entity_id, transaction_time_start",
  relationships: "relationship_id, transaction_time_start",
  procedural_patterns: "pattern_id",
  agent_states: "state_id",
  kv_store: "kv_id",
  workflow_states: "tenant_id, workflow_id",
  sessions: "tenant_id, session_id",
  artifact_content: "tenant_id, content_hash",
  artifacts: "tenant_id, artifact_id",
  event_log: "tenant_id, timestamp, event_id",
  hook_history: "execution_id",
};

export const keyOf = (table) => KEYS[table] ?? "id";

/** `\copy` of every table but the contents (whose large objects COPY does not reach), binary, in index order. */
export function copyOutScript(folder, without = ["artifact_content"]) {
  const lines = copied(without).map(
    (table) =>
      `\\copy (SELECT * FROM llmspell.${table} ORDER BY ${keyOf(table)}) TO '${folder}/${table}.bin' (FORMAT binary)`,
  );
  return ["SET enable_sort = off;", ...lines, ""].join("\n");
}

export const copied = (without) => TABLES.filter((table) => !without.includes(table));

/** `INSERT … ON CONFLICT (key) DO UPDATE` of every table from the files of copyOutScript, in one transaction. */
export function mergeScript(folder, columns, without) {
  const lines = copied(without).flatMap((table) => {
    const key = keyOf(table);
    const others = columns.get(table).filter((name) => !key.split(", ").includes(name));
    return [
      `CREATE TEMP TABLE staged_${table} (LIKE llmspell.${table}) ON COMMIT DROP;`,
      `\\copy staged_${table} FROM '${folder}/${table}.bin' (FORMAT binary)`,
      `INSERT INTO llmspell.${table} SELECT * FROM staged_${table} ON CONFLICT (${key}) DO UPDATE SET ${others
        .map((name) => `${name} = EXCLUDED.${name}`)
        .join(", ")};`,
    ];
  });
  return ["BEGIN;", "SET LOCAL session_replication_role = replica;", ...lines, "COMMIT;", ""].join("\n");
}
