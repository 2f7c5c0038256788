// Where the time goes on the paths that miss a target, or just meet it: one run of each under a profiler, which slows it.
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { llmspell, must } from "../lib/measure.mjs";
import { CONTENT, changeAll, excluding, HNSW } from "../lib/merges.mjs";
import { copied } from "../lib/postgres-peers.mjs";
import { profileFunctions, profileStatements } from "../lib/profile.mjs";
import { table } from "../lib/report.mjs";

export const title = "Where the time goes";

const reader = fileURLToPath(new URL("../workers/read-llmspell.mjs", import.meta.url));
const WITHOUT = [...HNSW, CONTENT];

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const [database, document] = [await set.sqlite(), await set.document()];
  const full = await set.postgres();
  const output = bench.path("profiled.json");

  report.say(
    "One run each; V8's sampling profiler: the time of a function without those that it calls, `(idle)` is the main thread waiting.",
  );
  const functions = async (heading, command) =>
    report.say(`### ${heading}\n\n${table(["function", "ms", "share"], await profileFunctions(bench, command))}`);
  const both = async (heading, url, command) => {
    let rows;
    const statements = await profileStatements(server, async () => {
      rows = await profileFunctions(bench, command(url));
    });
    report.say(`### ${heading}\n\n${table(["function", "ms", "share"], rows)}`);
    report.say(table(["statement of the server", "ms", "share"], statements));
  };
  const exported = (from, ...options) =>
    llmspell("storage", "export", "--database", from, "--output", output, ...options);
  const imported = (...options) => llmspell("storage", "import", "--input", document, ...options);

  await functions("SQLite -> document", exported(database));
  for (const [name, sections, depth] of [
    ["text and json", ["kv_store", "sessions", "event_log"], 3],
    ["vectors", ["vector_embeddings.768"], 4],
  ]) {
    must(exported(database, ...sections.flatMap((section) => ["--include", section])));
    await functions(`Reading a document, ${name}`, [process.execPath, reader, output, String(depth)]);
  }
  await both("PostgreSQL -> document, vectors", server.url(full), (url) =>
    exported(url, "--include", "vector_embeddings.768"),
  );
  rmSync(output);

  const target = "profile_target";
  await server.create(target, await bench.emptyPostgres());
  await both("Document -> PostgreSQL, empty tables, without the vectors", server.url(target), (url) =>
    imported("--database", url, "--exclude", "vector_embeddings"),
  );
  const changed = await changeAll(server, full, copied(WITHOUT));
  await both("Document -> PostgreSQL, merge, every row changed, without HNSW", server.url(changed), (url) =>
    imported("--database", url, ...excluding(WITHOUT)),
  );
  await server.drop(target);
  await server.drop(changed);
}
