// PostgreSQL -> PostgreSQL over two connections, beside pg_dump and pg_restore, and pgcopydb, with as many. Without the vectors: what is
// compared is how rows move, not how HNSW indexes are built.
import { rmSync, writeFileSync } from "node:fs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "PostgreSQL -> PostgreSQL, --jobs 2";

const VECTORS = [384, 768, 1536, 3072].map((dimension) => `vector_embeddings_${dimension}`);
/** 150 for one job, and 60 for each further. */
const MOST_MEGABYTES = 210;
const LEAST = 1.3;

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const from = server.url(await set.postgres());
  const migrated = await bench.emptyPostgres();
  const target = "migrate_jobs_target";
  const url = server.url(target);
  const [dump, copies] = [bench.path("migrate.dir"), bench.path("pgcopydb")];
  const remove = (path) => rmSync(path, { recursive: true, force: true });
  const into = (contender) => ({
    prepare: () => server.create(target, migrated),
    check: () => set.expectRows(target, VECTORS),
    ...contender,
    async clean() {
      remove(dump);
      remove(copies);
      await server.drop(target);
    },
  });
  const ours = (name, ...options) =>
    into({
      name,
      command: llmspell(
        "storage",
        "migrate",
        "--from",
        from,
        "--to",
        url,
        "--exclude",
        "vector_embeddings",
        ...options,
      ),
    });
  const dumped = [...pgDump(from, { format: "d", file: dump, without: VECTORS }), "-j2"].map((word) => `'${word}'`);
  const contenders = [
    ours("llmspell, one job"),
    ours("llmspell --jobs 2", "--jobs", "2"),
    into({
      name: "pg_dump -Fd -j2, pg_restore -j2",
      sh: `${dumped.join(" ")} && pg_restore -a -j2 --disable-triggers --exit-on-error -d '${url}' '${dump}'`,
    }),
  ];
  if (available("pgcopydb")) {
    const filters = bench.path("pgcopydb.ini");
    writeFileSync(filters, `[exclude-table-data]\n${VECTORS.map((table) => `llmspell.${table}\n`).join("")}`);
    contenders.push({
      ...into({
        name: "pgcopydb clone",
        command: [
          "pgcopydb",
          "clone",
          "--table-jobs",
          "2",
          "--index-jobs",
          "2",
          "--filters",
          filters,
          "--dir",
          copies,
          "--source",
          from,
          "--target",
          url,
        ],
      }),
      // It makes the schema itself.
      prepare: () => server.create(target),
    });
  }
  const results = await interleave(bench, contenders);
  report.contenders("Without the vectors", results);
  const path = "PostgreSQL -> PostgreSQL, --jobs 2, no HNSW";
  for (const { name } of contenders.slice(2)) report.ratio(path, name, results, "llmspell --jobs 2", name, LEAST);
  report.ratio(path, "one job", results, "llmspell --jobs 2", "llmspell, one job", 1.5);
  report.rss(path, results, "llmspell --jobs 2", MOST_MEGABYTES);
}
