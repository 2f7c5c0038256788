/** Moves the library's records: document -> SQLite -> PostgreSQL -> document. Arguments: a folder with both, and the server's URL. */
import { join } from "node:path";
import { connectPostgres } from "../../../src/backends/postgres/session/connection.js";
import { runPipeline } from "../../../src/pipeline.js";
import { createDocumentSink } from "../../../src/sinks/json-document.js";
import { createPostgresSink } from "../../../src/sinks/postgres.js";
import type { Sink } from "../../../src/sinks/sink.js";
import { createSqliteSink } from "../../../src/sinks/sqlite.js";
import { createDocumentSource } from "../../../src/sources/json-document.js";
import { createPostgresSource } from "../../../src/sources/postgres.js";
import type { Source } from "../../../src/sources/source.js";
import { createSqliteSource } from "../../../src/sources/sqlite.js";
import { catalog } from "./catalog.js";

const [folder, url] = process.argv.slice(2) as [string, string];
const path = join(folder, "library.db");
const connect = () => connectPostgres({ url });
const steps: readonly (readonly [Source, Sink])[] = [
  [createDocumentSource({ input: { path: join(folder, "in.json") }, catalog }), createSqliteSink({ path })],
  [createSqliteSource({ path, catalog }), createPostgresSink({ connect, name: "postgres" })],
  [
    createPostgresSource({ connect, name: "postgres", catalog }),
    createDocumentSink({ output: { path: join(folder, "out.json") }, producer: "library/1" }),
  ],
];

for (const [source, sink] of steps) {
  const { report } = await runPipeline({ source, sink, selection: { paths: new Set(catalog.byPath.keys()) } });
  const inserted = [...report.counts].map(([section, counts]) => `${section} ${counts.inserted}`);
  process.stdout.write(`${inserted.sort().join(", ")}\n`);
}
