/** Cascades and limits over every source: what goes with dropped records, and which are the first N. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import {
  createDocumentSource,
  type PipelineOptions,
  type PipelineResult,
  type Progress,
  runPipeline,
} from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createTransforms } from "../../src/llmspell/defaults.js";
import type { RecordBatch } from "../../src/records/record-batch.js";
import type { Source } from "../../src/sources/source.js";
import type { TransformDefinition } from "../../src/transforms/plugin/definition.js";
import { planCascade } from "../../src/transforms/referential/cascade.js";
import type { Transform } from "../../src/transforms/transform.js";
import { documentStore } from "../conformance/document-store.js";
import { expectSameRecords, failureOf, load } from "../conformance/expectations.js";
import {
  createMemorySink,
  createMemorySource,
  everything,
  type MemoryRecord,
  memoryBatches,
  recordsOf,
} from "../conformance/memory-store.js";
import { postgresCursorStore, postgresStore } from "../conformance/postgres-store.js";
import { sampleMemoryRecords } from "../conformance/sample-memory.js";
import { sqliteStore } from "../conformance/sqlite-store.js";
import { temporaryFolder } from "../conformance/store.js";
import { describePostgres } from "../helpers/postgres-server.js";
import {
  ARTIFACTS,
  afterDropping,
  CONTENT,
  dropper,
  firstOf,
  memoryKey,
  renamer,
  SESSIONS,
  withSpareContent,
  writeDocumentOf,
} from "./referential.js";

// Large contents, contents that two artifacts share, and one that none has.
const records = withSpareContent(sampleMemoryRecords({ records: 40, contentSizes: [0, 1, 1048576, 3_000_000] }));
const some = (key: string): boolean => /[0-7]$/.test(key);
const isOf =
  (path: string) =>
  (record: MemoryRecord): boolean =>
    record.kind.path === path && some(memoryKey(record));

async function run(
  source: Source,
  options: Partial<PipelineOptions>,
): Promise<PipelineResult & { readonly records: MemoryRecord[] }> {
  const sink = createMemorySink();
  const result = await runPipeline({ source, sink, selection: everything(), ...options });
  return { ...result, records: sink.records };
}

function registerTests(name: string, open: () => Promise<{ source: () => Source; close: () => Promise<void> }>): void {
  describe(name, { timeout: 180_000 }, () => {
    let store: Awaited<ReturnType<typeof open>>;
    beforeAll(async () => {
      store = await open();
    }, 180_000);
    afterAll(() => store.close());
    const sorted = (given: readonly MemoryRecord[]): MemoryRecord[] =>
      catalog.kinds.flatMap((kind: RecordKind) => given.filter((record) => record.kind === kind));

    it("lets artifacts go with their session, and content with the last of its artifacts", async () => {
      const { left, cascaded } = afterDropping(records, isOf(SESSIONS));
      expect([...cascaded.keys()]).toEqual([CONTENT, ARTIFACTS]);
      const result = await run(store.source(), { transforms: [dropper(SESSIONS, some)] });
      expectSameRecords(sorted(result.records), left);
      expect(result.cascaded).toEqual(cascaded);
    });

    it("lets content go with the last of the artifacts that are dropped, wherever keys were renamed", async () => {
      const { left, cascaded } = afterDropping(records, isOf(ARTIFACTS));
      expect([...cascaded.keys()]).toEqual([CONTENT]);
      const result = await run(store.source(), {
        transforms: [renamer("x"), dropper(ARTIFACTS, some), renamer("y")],
      });
      expect(result.cascaded).toEqual(cascaded);
      const keys = left.map((record) => memoryKey(record).replace("tenant_id=", "tenant_id=yx"));
      expect(sorted(result.records).map((record) => memoryKey(record))).toEqual(keys);
    });

    it("leaves everything without cascades, and looks at nothing twice when nothing is dropped", async () => {
      const left = records.filter((record) => !isOf(SESSIONS)(record));
      const result = await run({ ...once(store.source()) }, { transforms: [dropper(SESSIONS, some)], cascade: false });
      expectSameRecords(sorted(result.records), left);
      expect(result.cascaded.size).toBe(0);
      const others = await run(once(store.source()), { transforms: [dropper("kv_store", some)] });
      expect(others.records.length).toBe(records.length - records.filter(isOf("kv_store")).length);
    });

    it.each([1, 5, 13, 1000])("gives the first %i of each kind, with the parents of the artifacts", async (limit) => {
      const result = await run(store.source(), { limit });
      expectSameRecords(sorted(result.records), firstOf(records, limit));
    });

    it("limits one tenant's records, and a selection without parents", async () => {
      const tenants = ["租户 😀"];
      const own = records.filter((record) => memoryKey(record, "tenant_id").includes("租户"));
      const result = await run(store.source(), { limit: 3, selection: { ...everything(), tenants } });
      expectSameRecords(sorted(result.records), firstOf(own, 3));
      const paths = new Set(["knowledge_graph.entities", ARTIFACTS]);
      const orphans = await run(once(store.source()), { limit: 3, selection: { paths } });
      expectSameRecords(
        sorted(orphans.records),
        [...paths].flatMap((path) => records.filter(({ kind }) => kind.path === path).slice(0, 3)),
      );
    });

    it("limits before the stages, and cascades behind the limit", async () => {
      const { left, cascaded } = afterDropping(firstOf(records, 9), isOf(SESSIONS));
      const result = await run(store.source(), { limit: 9, transforms: [dropper(SESSIONS, some)] });
      expectSameRecords(sorted(result.records), left);
      expect(result.cascaded).toEqual(cascaded);
    });
  });
}

/** A source that says that it can be read once only. */
function once(source: Source): Source {
  return {
    name: source.name,
    rereadable: false,
    open: (context) => source.open(context),
    estimate: (selection) => source.estimate(selection),
    read: (selection, context) => source.read(selection, context),
    close: () => source.close(),
  };
}

for (const factory of [sqliteStore, documentStore]) registerTests(factory.name, () => opened(factory));
describePostgres("PostgreSQL", () => {
  for (const factory of [postgresStore, postgresCursorStore]) registerTests(factory.name, () => opened(factory));
});

async function opened(factory: typeof sqliteStore): Promise<{ source: () => Source; close: () => Promise<void> }> {
  const store = await factory.open();
  await load(store, records);
  return { source: () => store.source({ batchSize: 7 }), close: () => store.close() };
}

const FORMS: readonly {
  name: string;
  form?: (document: Buffer) => Buffer;
  backwards?: true;
  input: "file" | "stream";
}[] = [
  { name: "a document in a pipe", input: "stream" },
  { name: "a .gz file", form: (document) => gzipSync(document), input: "file" },
  { name: "a .zst in a pipe", form: (document) => zstdCompressSync(document), input: "stream" },
  { name: "a document whose children come first", backwards: true, input: "file" },
  { name: "a document in a pipe whose children come first", backwards: true, input: "stream" },
  { name: "a document whose header follows the data", form: headerLast, input: "stream" },
];
for (const { name, form = (document: Buffer) => document, backwards = false, input } of FORMS) {
  registerTests(name, async () => {
    const folder = temporaryFolder();
    const path = join(folder, "document");
    const bytes = form(await writeDocumentOf(records, backwards));
    writeFileSync(path, bytes);
    return {
      source: () => createDocumentSource({ input: input === "file" ? { path } : { stream: Readable.from([bytes]) } }),
      close: async () => rmSync(folder, { recursive: true, force: true }),
    };
  });
}

/** The header's keys behind the data, where a reader finds them last; no manifest. */
function headerLast(document: Buffer): Buffer {
  const text = document.toString("latin1");
  const [data, manifest] = [text.indexOf('"data":'), text.lastIndexOf('"manifest":')];
  const head = text.slice(1, data).trimEnd().replace(/,$/, "");
  return Buffer.from(`{${text.slice(data, manifest)}${head}}`, "latin1");
}

describe("a cascade", () => {
  const source = (): Source => createMemorySource(records, { batchSize: 3 });

  it("gives the same with its keys in temporary files", async () => {
    const { left, cascaded } = afterDropping(records, isOf(SESSIONS));
    for (const keysInMemory of [1, 2, 1000]) {
      const cascade = planCascade({
        catalog,
        transforms: [renamer("x"), dropper(SESSIONS, (key) => some(key))],
        paths: everything().paths,
        keysInMemory,
      });
      const context = {
        signal: new AbortController().signal,
        reject: async () => {},
        isRejected: () => false,
        leftOut: () => {},
        warn: () => {},
      };
      const read = (paths: ReadonlySet<string>) =>
        memoryBatches(
          records.filter(({ kind }) => paths.has(kind.path)),
          { batchSize: 3 },
        );
      await cascade?.learn(read, context);
      const given: MemoryRecord[] = [];
      for await (const batch of cascade?.apply(read(everything().paths), context) ?? [])
        given.push(...(await recordsOf(batch)));
      expect(given.map((record) => memoryKey(record))).toEqual(
        left.map((record) => memoryKey(record).replace("tenant_id=", "tenant_id=x")),
      );
      expect(cascade?.removed).toEqual(cascaded);
      await cascade?.close();
    }
  });

  it("leaves the orphans and the unused content that were there before", async () => {
    const withoutOne = records.filter((record, i) => record.kind.path !== SESSIONS || i % 2 === 0);
    const { left } = afterDropping(withoutOne, isOf(SESSIONS));
    const result = await run(createMemorySource(withoutOne), { transforms: [dropper(SESSIONS, some)] });
    expectSameRecords(result.records, left);
  });

  it("is refused by a source that can be read once only, and so is a limit", async () => {
    const transforms = [dropper(SESSIONS, some)];
    for (const options of [{ transforms }, { limit: 2 }]) {
      const error = await failureOf(run(once(source()), options));
      expect([error.code, error.context.hint]).toMatchObject(["E_USAGE", expect.stringContaining("--no-cascade")]);
    }
  });

  it("is an error when the source gives other records the second time, or the stage drops others", async () => {
    let reads = 0;
    const changing: Source = {
      ...source(),
      read: (selection, context) => {
        const given = source().read(selection, context);
        return reads++ === 0 ? given : createMemorySource([]).read(selection, context);
      },
    };
    expect((await failureOf(run(changing, { transforms: [dropper(SESSIONS, some)] }))).code).toBe("E_IO");
    let seen = 0;
    const moody = dropper(SESSIONS, () => seen++ > 40);
    const error = await failureOf(run(source(), { transforms: [moody] }));
    expect([error.code, error.context.section]).toEqual(["E_UNEXPECTED", SESSIONS]);
  });

  it("is an error when a stage drops fewer when it has seen other sections: their artifacts would be lost", async () => {
    for (const path of [SESSIONS, ARTIFACTS]) {
      const learning: Transform = {
        ...dropper(path, some),
        apply(batches, context) {
          let knows = false;
          const watched = async function* (): AsyncGenerator<RecordBatch> {
            for await (const batch of batches) {
              knows ||= batch.kind.path === "kv_store";
              yield batch;
            }
          };
          return dropper(path, (key) => !knows && some(key)).apply(watched(), context);
        },
      };
      const error = await failureOf(run(source(), { transforms: [learning] }));
      expect([error.code, error.context.section]).toEqual(["E_UNEXPECTED", path]);
    }
  });

  it.each([
    ["kv_store", "before them"],
    ["event_log", "after their artifacts"],
  ])("knows the sessions that a stage makes of %s, which come %s", async (section) => {
    const made = new Set<string>();
    const move: TransformDefinition = {
      name: "move",
      sections: [section],
      emits: [SESSIONS],
      drops: false,
      transform(record, { into }) {
        const session_id = record["kv_id"] ?? record["event_id"];
        made.add(session_id);
        const [status, session_data, artifact_count] = ["active", {}, 0];
        const [created_at, last_accessed_at, updated_at, expires_at] = [1n, 1n, 1n, null];
        const times = { created_at, last_accessed_at, updated_at, expires_at };
        const { tenant_id } = record;
        return [record, into(SESSIONS, { tenant_id, session_id, session_data, status, artifact_count, ...times })];
      },
    };
    const transforms = await createTransforms([
      { type: "plugin", module: move },
      dropper(SESSIONS, (key) => some(key) || [...made].some((id) => key.includes(id))),
    ]);
    const { left, cascaded } = afterDropping(records, isOf(SESSIONS));
    const result = await run(source(), { transforms });
    expect(made.size).toBeGreaterThan(10);
    expectSameRecords(result.records, left);
    expect(result.cascaded).toEqual(cascaded);
    const others = new Set([...everything().paths].filter((path) => path !== section));
    const without = await run(source(), { transforms, selection: { paths: others } });
    expect(without.records.length).toBe(left.filter(({ kind }) => kind.path !== section).length);
  });

  it("tells rejections and warnings once, and stops at the first where the run does", async () => {
    const bad = dropper(SESSIONS, some, "bad");
    const rejecting: typeof bad = {
      ...bad,
      async *apply(batches, context) {
        for await (const batch of bad.apply(batches, context)) {
          context.warn("strange");
          if (batch.kind.path === SESSIONS)
            await context.reject({ kind: batch.kind, error: await failureOf(run(once(source()), { limit: 1 })) });
          yield batch;
        }
      },
    };
    const warnings: string[] = [];
    let rejections = 0;
    const result = await run(source(), {
      transforms: [rejecting],
      onWarning: (message) => void warnings.push(message),
      onReject: () => void rejections++,
    });
    expect(warnings).toEqual(["strange"]);
    expect([rejections]).toEqual([result.rejected.get(SESSIONS)]);
    expect((await failureOf(run(source(), { transforms: [rejecting] }))).code).toBe("E_USAGE");
  });

  it("ends with the run when that is aborted", async () => {
    const controller = new AbortController();
    const aborting = dropper(SESSIONS, () => {
      controller.abort();
      return true;
    });
    let batches = 0;
    const onProgress = ({ phase }: Progress): void => {
      if (phase === "rows") batches++;
    };
    const error = await failureOf(run(source(), { transforms: [aborting], signal: controller.signal, onProgress }));
    expect([error.code, batches]).toEqual(["E_INTERRUPTED", 0]);
  });
});
