// PostgreSQL -> document, beside pg_dump and the physical limit, plain and compressed.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { expectData } from "../lib/digest.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { copyOutScript, pgDump, psqlFile } from "../lib/postgres-peers.mjs";
import { interleave } from "../lib/trials.mjs";

export const title = "PostgreSQL -> document";

export async function run(bench, report) {
  const set = bench.dataSet("standard");
  const server = await bench.server();
  const url = server.url(await set.postgres());
  const digest = await set.digest();

  const ours = (name, output, options, check, from = url) => ({
    name,
    command: llmspell("storage", "export", "--database", from, "--output", output, ...options),
    output,
    check,
    clean: () => rmSync(output),
  });
  const dump = (name, options, most, from = url) => ({
    name,
    command: pgDump(from, options),
    output: options.file,
    clean: () => rmSync(options.file),
    most,
  });

  const [json, sql] = [bench.path("out.json"), bench.path("out.sql")];
  const whole = await interleave(bench, [
    ours("llmspell", json, [], () => expectData(json, digest)),
    dump("pg_dump -Fp", { format: "p", file: sql }),
  ]);
  report.contenders("Everything (data only; large objects on both sides)", whole);
  report.ratio("PostgreSQL -> document", "pg_dump -Fp", whole, "llmspell", "pg_dump -Fp", 1.1);
  report.rss("PostgreSQL -> document", whole, "llmspell");

  await mixed(bench, report, { ours, dump });

  const vectors = await interleave(bench, [
    ours("llmspell", json, ["--include", "vector_embeddings.768"]),
    dump("pg_dump -Fp", { format: "p", file: sql, table: "vector_embeddings_768" }),
  ]);
  report.contenders("The 768-dimensional vectors alone", vectors);
  report.ratio("PostgreSQL -> document, vectors", "pg_dump -Fp", vectors, "llmspell", "pg_dump -Fp", 2.5);

  const copies = bench.path("copies");
  const script = bench.path("copy.sql");
  writeFileSync(script, copyOutScript(copies));
  const limit = await interleave(bench, [
    ours("llmspell", json, ["--exclude", "artifacts.content"]),
    {
      name: "\\copy binary",
      command: psqlFile(url, script),
      prepare: () => mkdirSync(copies, { recursive: true }),
      clean: () => rmSync(copies, { recursive: true }),
    },
  ]);
  report.contenders(
    "The limit: `\\copy (SELECT … ORDER BY key) TO file (FORMAT binary)` of every table; without artifact contents on both sides, whose large objects COPY does not reach",
    limit,
  );
  report.ratio("PostgreSQL -> document", "\\copy binary (the limit)", limit, "llmspell", "\\copy binary", 0.7);

  const [gz, zst, custom] = [bench.path("out.json.gz"), bench.path("out.json.zst"), bench.path("out.dump")];
  const compressed = await interleave(bench, [
    ours("llmspell .gz", gz, [], () => expectData(gz, digest)),
    ours("llmspell .zst", zst, [], () => expectData(zst, digest)),
    dump("pg_dump -Fc", { format: "c", file: custom }, 3),
  ]);
  report.contenders("Everything, compressed", compressed);
  for (const name of [".gz", ".zst"]) {
    const path = `PostgreSQL -> ${name}`;
    report.ratio(path, "pg_dump -Fc", compressed, `llmspell ${name}`, "pg_dump -Fc", 4);
    const size = compressed.get(`llmspell ${name}`).bytes / compressed.get("pg_dump -Fc")?.bytes;
    report.atMost(path, "size of pg_dump -Fc", size, 1.3, "times", 2);
    report.rss(path, compressed, `llmspell ${name}`);
  }
}

/** What users have: the server prints its JSON anew, so that the check goes by what the records mean. */
async function mixed(bench, report, { ours, dump }) {
  const set = bench.dataSet("mixed");
  const server = await bench.server();
  const url = server.url(await set.postgres());
  const document = await set.document();
  const [json, sql] = [bench.path("out-mixed.json"), bench.path("out-mixed.sql")];
  const results = await interleave(bench, [
    ours("llmspell", json, [], () => must(llmspell("storage", "verify", document, json)), url),
    dump("pg_dump -Fp", { format: "p", file: sql }, undefined, url),
  ]);
  report.contenders("`mixed`: Unicode in every text, JSON of several shapes, every section", results);
  report.ratio("PostgreSQL -> document, mixed", "pg_dump -Fp", results, "llmspell", "pg_dump -Fp");
}
