// Document -> PostgreSQL over two connections (a run), into empty tables with all indexes, beside one job and pg_restore -j2.
import { llmspell, must } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> PostgreSQL, empty tables, --jobs 2";

const VECTORS = [384, 768, 1536, 3072].map((dimension) => `vector_embeddings_${dimension}`);
/** Trials of the peer that keeps HNSW up row by row: several minutes. */
const MOST_ROW_BY_ROW = 1;
/** 150 for one job, and 60 for each further. */
const MOST_MEGABYTES = 210;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const document = await set.document();
  const full = server.url(await set.postgres());
  const migrated = await bench.emptyPostgres();
  const [all, withoutVectors] = [bench.path("all.dir"), bench.path("rest.dir")];
  must(pgDump(full, { format: "d", file: all }));
  must(pgDump(full, { format: "d", file: withoutVectors, without: VECTORS }));

  const target = "import_jobs_target";
  const url = server.url(target);
  const into = (without, contender) => ({
    ...contender,
    prepare: () => server.create(target, migrated),
    check: () => (without.length === 0 ? set.expectIn(target) : set.expectRows(target, without)),
    clean: () => server.drop(target),
  });
  const ours = (name, without, ...options) =>
    into(without, {
      name,
      command: llmspell("storage", "import", "--database", url, "--input", document, ...options),
    });
  const restore = (without, dump, most) =>
    into(without, {
      name: "pg_restore -a -j2",
      command: ["pg_restore", "-a", "-j2", "--disable-triggers", "--exit-on-error", "-d", url, dump],
      most,
    });
  const path = "document -> PostgreSQL, empty, --jobs 2";
  const peer = "pg_restore --data-only -j2 of a -Fd dump";

  const rest = await interleave(bench, [
    ours("llmspell, one job", VECTORS, "--exclude", "vector_embeddings"),
    ours("llmspell --jobs 2", VECTORS, "--exclude", "vector_embeddings", "--jobs", "2"),
    restore(VECTORS, withoutVectors),
  ]);
  report.contenders("Without the vectors", rest);
  report.ratio(`${path}, no HNSW`, peer, rest, "llmspell --jobs 2", "pg_restore -a -j2", 1);
  report.ratio(`${path}, no HNSW`, "one job", rest, "llmspell --jobs 2", "llmspell, one job");
  report.rss(`${path}, no HNSW`, rest, "llmspell --jobs 2", MOST_MEGABYTES);

  const everything = await interleave(bench, [
    ours("llmspell, one job", []),
    ours("llmspell --jobs 2", [], "--jobs", "2"),
    restore([], all, MOST_ROW_BY_ROW),
  ]);
  report.contenders("Everything, three HNSW indexes among the indexes", everything);
  report.ratio(`${path}, with HNSW`, peer, everything, "llmspell --jobs 2", "pg_restore -a -j2", 6);
  report.ratio(`${path}, with HNSW`, "one job", everything, "llmspell --jobs 2", "llmspell, one job");
  report.rss(`${path}, with HNSW`, everything, "llmspell --jobs 2", MOST_MEGABYTES);
}
