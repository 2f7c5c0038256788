// Document, directory of documents -> PostgreSQL over two connections (a run), into empty tables with all indexes, beside one job
// and pg_restore -j2.
import { llmspell, must } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Directory of documents -> PostgreSQL, empty tables, --jobs 2";

const VECTORS = [384, 768, 1536, 3072].map((dimension) => `vector_embeddings_${dimension}`);
/** Trials of the peer that keeps HNSW up row by row: several minutes. */
const MOST_ROW_BY_ROW = 1;
/** 150 for one job, and 60 for each further. */
const MOST_MEGABYTES = 210;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const document = await set.document();
  const directory = `${bench.path("directory")}/`;
  must(llmspell("storage", "rewrite", "--input", document, "--output", directory));
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
  const ours = (name, without, input, ...options) =>
    into(without, {
      name,
      command: llmspell("storage", "import", "--database", url, "--input", input, ...options),
    });
  const restore = (without, dump, most) =>
    into(without, {
      name: "pg_restore -a -j2",
      command: ["pg_restore", "-a", "-j2", "--disable-triggers", "--exit-on-error", "-d", url, dump],
      most,
    });
  const path = "directory -> PostgreSQL, empty, --jobs 2";
  const peer = "pg_restore --data-only -j2 of a -Fd dump";
  const [oneJob, twoJobs, restored] = ["one document, one job", "directory, --jobs 2", "pg_restore -a -j2"];
  const told = (which, results, least) => {
    report.ratio(`${path}, ${which}`, peer, results, twoJobs, restored, least);
    report.ratio(`${path}, ${which}`, oneJob, results, twoJobs, oneJob);
    report.rss(`${path}, ${which}`, results, twoJobs, MOST_MEGABYTES);
  };

  const rest = await interleave(bench, [
    ours(oneJob, VECTORS, document, "--exclude", "vector_embeddings"),
    ours(twoJobs, VECTORS, directory, "--exclude", "vector_embeddings", "--jobs", "2"),
    ours("one document, --jobs 2", VECTORS, document, "--exclude", "vector_embeddings", "--jobs", "2"),
    restore(VECTORS, withoutVectors),
  ]);
  report.contenders("Without the vectors", rest);
  told("no HNSW", rest, 1);

  const everything = await interleave(bench, [
    ours(oneJob, [], document),
    ours(twoJobs, [], directory, "--jobs", "2"),
    restore([], all, MOST_ROW_BY_ROW),
  ]);
  report.contenders("Everything, three HNSW indexes among the indexes", everything);
  told("with HNSW", everything, 6);
}
