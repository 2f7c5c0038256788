// A table of five times the memory that is left for its pages, whose keys are UUIDs: along an index each row is a page from
// anywhere on the disk.
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { expectData } from "../lib/digest.mjs";
import { forget, LimitedMemory } from "../lib/limited-memory.mjs";
import { available } from "../lib/machine.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { pgDump } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "Tables larger than memory";

/** What our process takes by itself. Bytes. */
const OUR_MEMORY = 130e6;
const TIMES = 5;
/** The slowest way is measured once. */
const ONCE = 1;

export async function run(bench, report) {
  await sqlite(bench, report);
  await postgres(bench, report);
}

async function sqlite(bench, report) {
  const set = bench.dataSet("cold");
  const database = await set.sqlite();
  const digest = await set.digest();
  const memory = LimitedMemory.create(OUR_MEMORY + statSync(database).size / TIMES);
  const paths = ["SQLite -> document, larger than memory", "PostgreSQL -> document, larger than memory"];
  if (memory === undefined) {
    report.say("Control groups that limit memory are not available here.");
    report.unavailable(paths[0], "sqlite3 .dump", 0.5);
    return;
  }
  const output = bench.path("cold.out.json");
  const prepare = () => {
    // What is still to be written could not be forgotten.
    must(["sync", database]);
    forget(database);
  };
  const ours = (name, options, more = {}) => ({
    name,
    command: memory.command(llmspell("storage", "export", "--database", database, "--output", output, ...options)),
    output,
    prepare,
    clean: () => rmSync(output),
    ...more,
  });
  const contenders = [
    ours("llmspell", [], { check: () => expectData(output, digest) }),
    ours("llmspell --order table", ["--order", "table"]),
    ours("llmspell --order-by index", ["--order-by", "index"], { most: ONCE }),
  ];
  if (available("sqlite3"))
    contenders.push({
      name: "sqlite3 .dump",
      command: memory.command(["sqlite3", database, ".dump"]),
      stdout: bench.path("cold.sql"),
      prepare,
      clean: () => rmSync(bench.path("cold.sql")),
    });
  try {
    const results = await interleave(bench, contenders);
    report.contenders("SQLite", results);
    report.ratio(paths[0], "sqlite3 .dump", results, "llmspell", "sqlite3 .dump", 0.5);
    report.ratio(`${paths[0]}, --order table`, "sqlite3 .dump", results, "llmspell --order table", "sqlite3 .dump");
    report.rss(paths[0], results, "llmspell");
  } finally {
    memory.remove();
  }
}

async function postgres(bench, report) {
  const set = bench.dataSet("cold");
  const server = await bench.server();
  const name = "cold_as_written";
  await server.create(name, await bench.emptyPostgres());
  const url = server.url(name);
  // A document is in the order of the keys, and so would a table be that was made of it.
  must(llmspell("storage", "migrate", "--from", await set.sqlite(), "--to", url, "--order", "table"));
  await server.sql("VACUUM (FREEZE, ANALYZE)", name);
  const digest = await set.digest();
  const path = "PostgreSQL -> document, larger than memory";
  const { rows } = await server.sql(
    "SELECT pg_database_size(current_database())::float8 AS size, current_setting('data_directory') AS data",
    name,
  );
  const [{ size, data }] = rows;
  const caches = size / TIMES;
  const megabytes = (bytes) => `${Math.max(8, Math.round(bytes / 1e6))}MB`;
  // Half of them are the server's own; the sort's memory besides. It is told what there is, as on any machine that is set up.
  const settings = { shared_buffers: megabytes(caches / 2), effective_cache_size: megabytes(caches) };
  if (!bench.smoke) await server.set(settings);
  const memory = LimitedMemory.create(caches + 150e6);
  if (memory === undefined) {
    report.unavailable(path, "pg_dump -Fp", 0.7);
    return;
  }
  const prepare = async () => {
    if (bench.smoke) return;
    // Its checkpoint has written everything.
    await server.restart();
    forget(join(data, "base"));
    memory.take(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0]);
  };
  const [json, sql] = [bench.path("cold.out.json"), bench.path("cold.sql")];
  const ours = (label, options, more = {}) => ({
    name: label,
    command: llmspell("storage", "export", "--database", url, "--output", json, ...options),
    output: json,
    prepare,
    clean: () => rmSync(json),
    ...more,
  });
  try {
    const results = await interleave(bench, [
      ours("llmspell", [], { check: () => expectData(json, digest) }),
      ours("llmspell --order table", ["--order", "table"]),
      ours("llmspell --order-by index", ["--order-by", "index"], { most: ONCE }),
      {
        name: "pg_dump -Fp",
        command: pgDump(url, { format: "p", file: sql }),
        output: sql,
        prepare,
        clean: () => rmSync(sql),
      },
    ]);
    report.contenders("PostgreSQL", results);
    report.ratio(path, "pg_dump -Fp", results, "llmspell", "pg_dump -Fp", 0.7);
    report.ratio(`${path}, --order table`, "pg_dump -Fp", results, "llmspell --order table", "pg_dump -Fp");
  } finally {
    if (!bench.smoke) {
      // The server leaves the group before it is removed.
      await server.set({ shared_buffers: "1GB", effective_cache_size: "4GB" });
      await server.restart();
    }
    memory.remove();
  }
}
