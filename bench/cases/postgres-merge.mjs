// Document -> PostgreSQL where every record is there already, beside staged INSERT … ON CONFLICT DO UPDATE in psql.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { llmspell, must } from "../lib/measure.mjs";
import { copied, copyOutScript, mergeScript, psqlFile } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> PostgreSQL, merge";

const HNSW = [384, 768, 1536].map((dimension) => `vector_embeddings_${dimension}`);
const CONTENT = "artifact_content";

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const document = await set.document();
  const full = await set.postgres();
  const target = "merge_target";
  const url = server.url(target);

  // What psql merges from: the same rows, as COPY's binary files.
  const copies = bench.path("copies");
  const script = bench.path("copy.sql");
  mkdirSync(copies);
  writeFileSync(script, copyOutScript(copies));
  must(psqlFile(server.url(full), script));

  const contenders = async (without, options, most) => {
    const merge = bench.path("merge.sql");
    writeFileSync(merge, mergeScript(copies, await columnsOf(server, full, copied(without)), without));
    const shared = {
      prepare: () => server.create(target, full),
      check: () => set.expectRows(target),
      clean: () => server.drop(target),
      most,
    };
    return [
      {
        ...shared,
        name: "llmspell",
        command: llmspell("storage", "import", "--database", url, "--input", document, "--on-conflict", "update", ...options),
      },
      { ...shared, name: "psql ON CONFLICT", command: psqlFile(url, merge) },
    ];
  };

  const content = ["--exclude", "artifacts.content"];
  const rest = await interleave(
    bench,
    await contenders(
      [...HNSW, CONTENT],
      [...content, ...HNSW.flatMap((table) => ["--exclude", table.replace("embeddings_", "embeddings.")])],
      undefined,
    ),
  );
  report.contenders(
    "Every table without an HNSW index; without artifact contents on both sides, whose large objects a staged merge cannot do",
    rest,
  );
  const path = "document -> PostgreSQL, merge";
  report.ratio(`${path}, no HNSW`, "staged INSERT … ON CONFLICT", rest, "llmspell", "psql ON CONFLICT", 0.8);
  report.rss(`${path}, no HNSW`, rest, "llmspell");

  const all = await interleave(bench, await contenders([CONTENT], content, 2));
  report.contenders("The same with the HNSW tables, whose indexes are kept up row by row or built anew", all);
  report.ratio(`${path}, with HNSW`, "staged INSERT … ON CONFLICT", all, "llmspell", "psql ON CONFLICT", 0.8);
  rmSync(copies, { recursive: true });
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
