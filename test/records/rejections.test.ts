import { expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { StorageError } from "../../src/errors.js";
import { runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Sink } from "../../src/sinks/sink.js";
import { createMemorySource, everything, memoryRecord } from "../conformance/memory-store.js";

const kv = catalog.byPath.get("kv_store") as RecordKind;

it("are told one after the other, also when source and sink reject at the same time", async () => {
  const events: string[] = [];
  const sink: Sink = {
    name: "sink",
    open: async () => {},
    write: async () => {},
    async finish() {
      return { counts: new Map(), notes: [] };
    },
    abort: async () => {},
  };
  const source = createMemorySource([memoryRecord(kv, { tenant_id: '"t"' })]);
  const rejecting = ["a", "b", "c"].map((key) => ({ kind: kv, error: new StorageError("E_CHECK", "no", { key }) }));
  const { rejected } = await runPipeline({
    source,
    sink: {
      ...sink,
      open: async (_header, context) => {
        await Promise.all(rejecting.map((rejection) => context.reject(rejection)));
      },
    },
    selection: everything(),
    async onReject({ error }) {
      events.push(`begin ${error.context.key}`);
      await new Promise((resolve) => setImmediate(resolve));
      events.push(`end ${error.context.key}`);
    },
  });
  expect(events).toEqual(["begin a", "end a", "begin b", "end b", "begin c", "end c"]);
  expect(rejected.get("kv_store")).toBe(3);
});

it("end the run when one cannot be told", async () => {
  const full = new StorageError("E_DISK_FULL", "no space left");
  const sink: Sink = {
    name: "sink",
    async open(_header, context) {
      const rejection = { kind: kv, error: new StorageError("E_CHECK", "no", { key: "a" }) };
      await Promise.all([context.reject(rejection), context.reject(rejection)]);
    },
    write: async () => {},
    finish: async () => ({ counts: new Map(), notes: [] }),
    abort: async () => {},
  };
  const run = runPipeline({
    source: createMemorySource([]),
    sink,
    selection: everything(),
    onReject: () => Promise.reject(full),
  });
  await expect(run).rejects.toBe(full);
});
