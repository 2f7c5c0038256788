// Document -> PostgreSQL where every record is there already, beside staged INSERT … ON CONFLICT DO UPDATE in psql.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { llmspell, must } from "../lib/measure.mjs";
import { CONTENT, changeAll, excluding, HNSW } from "../lib/merges.mjs";
import { copied, copyOutScript, mergeScript, psqlFile } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> PostgreSQL, merge";

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
        ...excluding(without),
      ),
    },
    { ...shared, name: "psql ON CONFLICT", command: psqlFile(url, mergeFile) },
  ]);
  rmSync(copies, { recursive: true });
  if (isChanged) await server.drop(start);
  return results;
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
