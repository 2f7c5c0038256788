// Document -> PostgreSQL, into empty tables with all indexes, beside pg_restore and psql.
import { llmspell, must } from "../lib/measure.mjs";
import { pgDump, psqlFile } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Document -> PostgreSQL, empty tables";

const VECTORS = [384, 768, 1536, 3072].map((dimension) => `vector_embeddings_${dimension}`);
/** Trials of the peer that takes most of a minute, and of the one that keeps HNSW up row by row: several minutes. */
const MOST = 3;
const MOST_ROW_BY_ROW = 1;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const document = await set.document();
  const full = server.url(await set.postgres());
  const migrated = await bench.emptyPostgres();

  // The plain dump brings the schema with it, but not the extensions.
  await server.create("with_extensions");
  for (const name of ["vector", "uuid-ossp", "pgcrypto"])
    await server.sql(`CREATE EXTENSION IF NOT EXISTS "${name}"`, "with_extensions");

  const [custom, withoutVectors, plain] = [bench.path("all.dump"), bench.path("rest.dump"), bench.path("all.sql")];
  must(pgDump(full, { format: "c", file: custom }));
  must(pgDump(full, { format: "c", file: withoutVectors, without: VECTORS }));
  must(pgDump(full, { format: "p", file: plain, dataOnly: false }));

  const target = "import_target";
  const url = server.url(target);
  const into = (template, without, contender) => ({
    ...contender,
    prepare: () => server.create(target, template),
    check: () => (without.length === 0 ? set.expectIn(target) : set.expectRows(target, without)),
    clean: () => server.drop(target),
  });
  const ours = (without, ...options) =>
    into(migrated, without, {
      name: "llmspell",
      command: llmspell("storage", "import", "--database", url, "--input", document, ...options),
    });
  const restore = (without, dump, most) =>
    into(migrated, without, {
      name: "pg_restore -a -j2",
      command: ["pg_restore", "-a", "-j2", "--disable-triggers", "--exit-on-error", "-d", url, dump],
      most,
    });

  const rest = await interleave(bench, [
    ours(VECTORS, "--exclude", "vector_embeddings"),
    restore(VECTORS, withoutVectors),
  ]);
  report.contenders("Without the vectors", rest);
  const path = "document -> PostgreSQL, empty";
  report.ratio(`${path}, no HNSW`, "pg_restore --data-only -j2", rest, "llmspell", "pg_restore -a -j2", 1.5);
  report.rss(`${path}, no HNSW`, rest, "llmspell");

  const all = await interleave(bench, [
    ours([]),
    restore([], custom, MOST_ROW_BY_ROW),
    into("with_extensions", [], { name: "psql -1 -f", command: psqlFile(url, plain, "-1"), most: MOST }),
  ]);
  report.contenders(
    "Everything, three HNSW indexes among the indexes (psql: a plain dump with its schema, which makes its indexes last)",
    all,
  );
  report.ratio(`${path}, with HNSW`, "pg_restore --data-only -j2", all, "llmspell", "pg_restore -a -j2", 3);
  report.ratio(`${path}, with HNSW`, "psql -f, indexes last", all, "llmspell", "psql -1 -f", 1);
  report.rss(`${path}, with HNSW`, all, "llmspell");
  await server.drop("with_extensions");
}
