/** docs/adding-a-record-kind.md, carried out: one catalog entry and its SQL, and records move through every backend. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { createCatalog } from "../../src/catalog/index.js";
import {
  createDocumentSink,
  createDocumentSource,
  createPostgresSink,
  createPostgresSource,
  createSqliteSink,
  createSqliteSource,
  runPipeline,
} from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { migrateSqlite } from "../../src/llmspell/schema/migrator.js";
import type { Sink } from "../../src/sinks/sink.js";
import type { Source } from "../../src/sources/source.js";
import { withClient } from "../helpers/content-digest.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { reminders } from "./added-kind/reminders.js";
import { expectSameRecords, failureOf } from "./expectations.js";
import { createMemorySink, createMemorySource, everything, type MemoryRecord, memoryRecord } from "./memory-store.js";
import { sampleMemoryRecords } from "./sample-memory.js";
import { temporaryFolder } from "./store.js";

const extended = createCatalog([...catalog.kinds, reminders]);
const parts = (name: string): string => readFileSync(new URL(`added-kind/${name}`, import.meta.url), "utf8");

const sessions = sampleMemoryRecords({ records: 3 }).filter(({ kind }) => kind.path === "sessions");
const uuid = (n: number): string => `"00000000-0000-4000-8000-${String(n).padStart(12, "0")}"`;

/** Reminders of the sample sessions. */
function reminderRecords(): MemoryRecord[] {
  return Array.from({ length: 12 }, (_, i) => {
    const [tenant, session] = (sessions[i % sessions.length] as MemoryRecord).values as [Buffer, Buffer];
    const hex = session.toString("hex");
    const tokens: Record<string, string> = {
      reminder_id: uuid(i),
      tenant_id: JSON.stringify(tenant.toString("utf8")),
      session_id: `"${hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")}"`,
      title: JSON.stringify(`erinnere 😀 ${i}`),
      priority: "3",
      sequence: "-9223372036854775808",
      status: i % 2 === 0 ? '"open"' : '"done"',
      repeats: String(i % 2 === 0),
      due_at: i === 0 ? '"infinity"' : "1743372000123456",
      attachment: '"AAEC/w=="',
      details: '{"n": 12345678901234567890}',
    };
    if (i % 3 === 0) tokens["snoozed_until"] = "-1";
    if (i % 3 === 1) tokens["notes"] = "null";
    if (i % 4 === 0) tokens["tags"] = '["NULL",null,"a,b"]';
    return memoryRecord(reminders, tokens);
  });
}

interface Backend {
  readonly name: string;
  source(): Source;
  sink(): Sink;
}

function registerTests(name: string, prepare: () => Promise<readonly Backend[]>): void {
  describe(name, () => {
    let backends: readonly Backend[];
    const records = [...sessions, ...reminderRecords()];

    beforeAll(async () => {
      backends = await prepare();
    });

    it("moves the new kind's records through every backend, to the byte", async () => {
      let source = createMemorySource(records);
      for (const backend of backends) {
        const { report } = await runPipeline({ source, sink: backend.sink(), selection: everything(extended) });
        expect(report.counts.get("reminders")?.inserted, backend.name).toBe(12);
        source = backend.source();
      }
      const memory = createMemorySink();
      await runPipeline({ source, sink: memory, selection: everything(extended) });
      expectSameRecords(memory.records, records);
    });

    it("holds its foreign key and its unique key", async () => {
      const [record] = reminderRecords() as [MemoryRecord];
      const orphan = {
        ...record,
        values: record.values.with(2, Buffer.alloc(16, 7)).with(0, Buffer.alloc(16, 1)).with(3, Buffer.from("another")),
      };
      const twin = { ...record, values: record.values.with(0, Buffer.alloc(16, 2)) };
      for (const [records, code] of [
        [[orphan], "E_ORPHAN"],
        [[twin, { ...twin, values: twin.values.with(0, Buffer.alloc(16, 3)) }], "E_KEY_CONFLICT"],
      ] as const) {
        for (const backend of backends.filter((each) => each.name !== "document")) {
          const run = runPipeline({
            source: createMemorySource(records),
            sink: backend.sink(),
            selection: everything(extended),
          });
          const error = await failureOf(run);
          expect(error.code, backend.name).toBe(code);
          expect(error.context.section).toBe("reminders");
        }
      }
    });
  });
}

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function prepareSqlite(name: string): Promise<Backend> {
  const path = join(folder, name);
  await migrateSqlite(path);
  const database = new Database(path);
  database.exec(parts("sqlite.sql"));
  database.close();
  return {
    name: "sqlite",
    source: () => createSqliteSource({ path, catalog: extended }),
    sink: () => createSqliteSink({ path, catalog: extended }),
  };
}

function prepareDocument(name: string): Backend {
  const path = join(folder, name);
  return {
    name: "document",
    source: () => createDocumentSource({ input: { path }, catalog: extended }),
    sink: () => createDocumentSink({ output: { path }, catalog: extended, producer: "llmspell-storage/test" }),
  };
}

async function preparePostgres(database: TestDatabase): Promise<Backend> {
  const connect = () => connectPostgres({ url: database.url });
  await withClient(database.url, (client) => client.query(parts("postgres.sql")));
  return {
    name: "postgres",
    source: () => createPostgresSource({ connect, name: "postgres", catalog: extended }),
    sink: () => createPostgresSink({ connect, name: "postgres", catalog: extended }),
  };
}

it("is what docs/adding-a-record-kind.md shows", () => {
  const page = readFileSync(new URL("../../docs/adding-a-record-kind.md", import.meta.url), "utf8");
  const blocks = [...page.matchAll(/^```(?:ts|sql)\n(.*?)^```/gms)].map(([, block]) => block);
  const entry = parts("reminders.ts").replace('"../../../src/catalog/index.js"', '"../../catalog/index.js"');
  expect(blocks).toEqual([entry, parts("postgres.sql"), parts("sqlite.sql")]);
});

it("names files and folders that are there", () => {
  const page = readFileSync(new URL("../../docs/adding-a-record-kind.md", import.meta.url), "utf8");
  const named = [...page.matchAll(/`((?:src|test)\/[\w./-]+)`/g)].map(([, path]) => path as string);
  expect(named.length).toBeGreaterThan(10);
  const isThere = (path: string): boolean => existsSync(new URL(`../../${path}`, import.meta.url));
  expect(named.filter((path) => !isThere(path))).toEqual(["src/llmspell/catalog/reminders.ts"]);
});

registerTests("a new record kind through SQLite and the document", async () => [
  await prepareSqlite("a.db"),
  prepareDocument("a.json"),
  await prepareSqlite("b.db"),
]);

describePostgres("with a server", () => {
  let database: TestDatabase;
  afterAll(() => database.drop());

  registerTests("a new record kind through PostgreSQL", async () => {
    database = await createDatabase("migrated");
    return [
      await prepareSqlite("c.db"),
      await preparePostgres(database),
      prepareDocument("c.json.gz"),
      await prepareSqlite("d.db"),
    ];
  });
});
