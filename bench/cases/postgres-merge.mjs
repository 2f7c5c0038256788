// Document -> PostgreSQL where every record is there already, beside staged INSERT … ON CONFLICT DO UPDATE in psql.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { llmspell, must } from "../lib/measure.mjs";
import { copied, copyOutScript, mergeScript, psqlFile } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> PostgreSQL, merge";

const HNSW = [384, 768, 1536].map((dimension) => `vector_embeddings_${dimension}`);
const CONTENT = "artifact_content";
const SECTIONS = {
  [CONTENT]: "artifacts.content",
  ...Object.fromEntries(HNSW.map((table) => [table, table.replace("embeddings_", "embeddings.")])),
};

/** The HNSW indexes, kept up row by row, would take a quarter of an hour a trial on the whole standard set. */
const HNSW_FACTOR = 0.25;
const HNSW_TRIALS = 3;
/** Trials of the case that takes longest. */
const MOST_CHANGED = 3;

export async function run(bench, report) {
  const path = "document -> PostgreSQL, merge";
  const peer = "staged INSERT … ON CONFLICT";
  const rest = await merge(bench, bench.dataSet("standard"), [...HNSW, CONTENT]);
  report.contenders(
    "Every table without an HNSW index; without artifact contents on both sides, whose large objects a staged merge cannot do",
    rest,
  );
  report.ratio(`${path}, no HNSW`, peer, rest, "llmspell", "psql ON CONFLICT", 0.8);
  report.rss(`${path}, no HNSW`, rest, "llmspell");

  const changed = await merge(bench, bench.dataSet("standard"), [...HNSW, CONTENT], MOST_CHANGED, true);
  report.contenders("The same, every row of the target changed in one column before", changed);
  report.ratio(`${path}, no HNSW, all changed`, peer, changed, "llmspell", "psql ON CONFLICT", 0.8);
  report.rss(`${path}, no HNSW, all changed`, changed, "llmspell");

  const all = await merge(bench, bench.dataSet("standard", HNSW_FACTOR), [CONTENT], HNSW_TRIALS);
  report.contenders("The same with the HNSW tables, on a quarter of the standard set", all);
  report.ratio(`${path}, with HNSW`, peer, all, "llmspell", "psql ON CONFLICT", 0.8);
  report.rss(`${path}, with HNSW`, all, "llmspell");
}

async function merge(bench, set, without, most, isChanged = false) {
  const server = await bench.server();
  const document = await set.document();
  const full = await set.postgres();
  const start = isChanged ? await changeAll(server, full, copied(without)) : full;
  const target = "merge_target";
  const url = server.url(target);

  // What psql merges from: the same rows, as COPY's binary files.
  const [copies, copyScript, mergeFile] = ["copies", "copy.sql", "merge.sql"].map((name) => bench.path(name));
  mkdirSync(copies, { recursive: true });
  writeFileSync(copyScript, copyOutScript(copies, without));
  must(psqlFile(server.url(full), copyScript));
  writeFileSync(mergeFile, mergeScript(copies, await columnsOf(server, full, copied(without)), without));

  const excluded = without.flatMap((table) => ["--exclude", SECTIONS[table]]);
  const shared = {
    prepare: () => server.create(target, start),
    check: () => set.expectIn(target),
    clean: () => server.drop(target),
    most,
  };
  const results = await interleave(bench, [
    {
      ...shared,
      name: "llmspell",
      command: llmspell(
        "storage",
        "import",
        "--database",
        url,
        "--input",
        document,
        "--on-conflict",
        "update",
        ...excluded,
      ),
    },
    { ...shared, name: "psql ON CONFLICT", command: psqlFile(url, mergeFile) },
  ]);
  rmSync(copies, { recursive: true });
  if (isChanged) await server.drop(start);
  return results;
}

/** The name of a copy of the database in which no row of the tables is as it was, and none is dead. */
async function changeAll(server, full, tables) {
  const name = "merge_changed";
  await server.create(name, full);
  for (const table of tables) {
    const column =
      table === "event_log" ? "sequence = sequence + 1" : "created_at = created_at + interval '1 microsecond'";
    await server.sql(`SET session_replication_role = replica; UPDATE llmspell.${table} SET ${column}`, name);
  }
  await server.sql("VACUUM (FULL, ANALYZE)", name);
  return name;
}

async function columnsOf(server, database, tables) {
  const columns = new Map();
  for (const table of tables) {
    const { rows } = await server.sql(
      `SELECT attname FROM pg_attribute WHERE attrelid = 'llmspell.${table}'::regclass AND attnum > 0 AND NOT attisdropped`,
      database,
    );
    columns.set(
      table,
      rows.map(({ attname }) => attname),
    );
  }
  return columns;
}
