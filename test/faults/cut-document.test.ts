/** A document that stops anywhere: refused with its code, the target untouched. */
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDocumentSink, createDocumentSource, runPipeline } from "../../src/index.js";
import { contentOf, expectSameRecords, failureOf, load } from "../conformance/expectations.js";
import { createMemorySource, everything } from "../conformance/memory-store.js";
import { postgresStore } from "../conformance/postgres-store.js";
import { sampleMemoryRecords } from "../conformance/sample-memory.js";
import { sqliteStore } from "../conformance/sqlite-store.js";
import type { StoreFactory, TestStore } from "../conformance/store.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";

const records = sampleMemoryRecords({ records: 3, contentSizes: [3, 1048576] });
const own = sampleMemoryRecords({ records: 3, seed: "own", contentSizes: [] });

async function createDocument(): Promise<Buffer> {
  const stream = new PassThrough();
  const document = buffer(stream);
  const sink = createDocumentSink({ output: { stream }, producer: "llmspell-storage/test" });
  await runPipeline({ source: createMemorySource(records), sink, selection: everything() });
  return document;
}

function importOf(store: TestStore, document: Buffer): Promise<unknown> {
  const source = createDocumentSource({ input: { stream: Readable.from([document]) } });
  return runPipeline({ source, sink: store.sink(), selection: everything() });
}

/** `count` positions all over the document, and every one of its first and last bytes. */
function cuts(length: number, count: number, ends: number): number[] {
  const positions = new Set<number>();
  for (let i = 0; i < ends; i++) positions.add(i).add(length - 2 - i);
  for (let i = 0; i < count; i++) positions.add(Math.floor((i * length) / count));
  return [...positions].sort((a, b) => a - b);
}

function registerCutTests(factory: StoreFactory, count: number, ends: number): void {
  describe(`a cut document, into ${factory.name}`, { timeout: 300_000 }, () => {
    let store: TestStore;
    let document: Buffer;

    beforeAll(async () => {
      store = await factory.open();
      await load(store, own);
      document = await createDocument();
    });

    afterAll(() => store.close());

    it("is refused wherever it stops", async () => {
      for (const at of cuts(document.length, count, ends)) {
        const error = await failureOf(importOf(store, document.subarray(0, at)));
        expect([at, error.code]).toEqual([at, "E_DOCUMENT_TRUNCATED"]);
      }
      expectSameRecords(await contentOf(store), own);
    });

    it("is refused wherever it stops when it is compressed", async () => {
      const compressed = gzipSync(document);
      for (const at of cuts(compressed.length, 10, 12)) {
        const error = await failureOf(importOf(store, compressed.subarray(0, at)));
        // Not even the two bytes by which gzip is known: then it is no document at all.
        expect([at, error.code]).toEqual([at, at === 1 ? "E_DOCUMENT_PARSE" : "E_DOCUMENT_TRUNCATED"]);
      }
      expectSameRecords(await contentOf(store), own);
    });

    it("is refused when another follows it, and when a byte of its data is another", async () => {
      expect((await failureOf(importOf(store, Buffer.concat([document, document])))).code).toBe("E_DOCUMENT_TRAILING");
      const damaged = Buffer.from(document);
      const at = damaged.indexOf('"agent_type":"') + '"agent_type":"'.length;
      damaged[at] = 0x23;
      const error = await failureOf(importOf(store, damaged));
      expect(error.code).toBe("E_DOCUMENT_MANIFEST");
      expect(error.message + error.context.section).toContain("agent_state");
      expectSameRecords(await contentOf(store), own);
    });
  });
}

registerCutTests(sqliteStore, scaled(30, 60), scaled(40, 70));
describePostgres("with a server", () => registerCutTests(postgresStore, scaled(10, 20), scaled(8, 15)));
