// SQLite -> PostgreSQL, beside the loaders that can do it at all: the plain tables, into tables that they make themselves
// (without our schema, its types and its indexes). Told for comparison; there is no target.
import { rmSync, writeFileSync } from "node:fs";
import { available } from "../lib/machine.mjs";
import { llmspell } from "../lib/measure.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "SQLite -> PostgreSQL, beside ogr2ogr and pgloader";

const TABLES = ["kv_store", "sessions", "event_log"];

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const database = await set.sqlite();
  const migrated = await bench.emptyPostgres();
  const target = "loader_target";
  const url = server.url(target);
  const into = (template, schema, contender) => ({
    ...contender,
    prepare: async () => {
      await server.create(target, template);
      if (template === "template0") await server.sql("CREATE SCHEMA loaded", target);
    },
    check: async () => {
      for (const table of TABLES) {
        const { rows } = await server.sql(`SELECT count(*)::int AS count FROM ${schema}.${table}`, target);
        if (rows[0].count !== set.rows(table)) throw new Error(`${contender.name}: ${rows[0].count} rows in ${table}`);
      }
    },
    clean: () => server.drop(target),
  });

  const contenders = [
    into(migrated, "llmspell", {
      name: "llmspell",
      command: llmspell(
        "storage",
        "migrate",
        "--from",
        database,
        "--to",
        url,
        ...TABLES.flatMap((name) => ["--include", name]),
      ),
    }),
  ];
  if (available("ogr2ogr"))
    contenders.push(
      into("template0", "loaded", {
        name: "ogr2ogr",
        command: ["ogr2ogr", "-f", "PostgreSQL", `PG:${url}`, database, ...TABLES, "-lco", "SCHEMA=loaded"],
        env: { PG_USE_COPY: "YES", OGR_SQLITE_LIST_ALL_TABLES: "YES" },
      }),
    );
  if (available("pgloader")) {
    const script = bench.path("load.pgloader");
    const names = TABLES.map((name) => `'${name}'`).join(", ");
    // pgloader takes a host name, not an address, and makes its tables in the schema that comes first in the search path.
    writeFileSync(
      script,
      `LOAD DATABASE FROM sqlite://${database} INTO ${url}
       WITH include drop, create tables, create no indexes, no foreign keys
       SET search_path TO 'loaded'
       INCLUDING ONLY TABLE NAMES LIKE ${names};\n`,
    );
    contenders.push(
      into("template0", "loaded", {
        name: "pgloader",
        command: ["pgloader", "--quiet", script],
        most: 3,
        mayFail: true,
      }),
    );
  }
  const results = await interleave(bench, contenders);
  report.contenders(
    `${TABLES.join(", ")} (llmspell: into its schema with all indexes; the others: into bare tables)`,
    results,
  );
  for (const name of ["ogr2ogr", "pgloader"])
    report.ratio("SQLite -> PostgreSQL, three tables", name, results, "llmspell", name);
  rmSync(bench.path("load.pgloader"), { force: true });
}
