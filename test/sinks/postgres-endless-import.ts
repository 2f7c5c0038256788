/** A process of its own that imports into the PostgreSQL of its argument until it is killed. Prints when it is under way. */
import { connectPostgres } from "../../src/backends/postgres/session/connection.js";
import { createPostgresSink, runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import {
  createMemorySource,
  everything,
  type MemoryRecord,
  memoryBatches,
  memoryRecord,
} from "../conformance/memory-store.js";

const url = process.argv[2] as string;
const data = JSON.stringify(Buffer.alloc(1 << 20, 1).toString("base64"));
const uuid = (n: number): string => `"00000000-0000-4000-8000-${String(n).padStart(12, "0")}"`;

/** Endless records of three kinds: staged rows, large objects, rows in new partitions. */
function* records(): Generator<MemoryRecord> {
  const kind = (path: string) => catalog.byPath.get(path) as NonNullable<ReturnType<typeof catalog.byPath.get>>;
  const tenant_id = '"t"';
  for (let n = 10; ; n++) {
    const times = { created_at: "0", updated_at: "0" };
    yield memoryRecord(kind("kv_store"), { kv_id: uuid(n), tenant_id, key: `"k${n}"`, value: '""', ...times });
    yield memoryRecord(kind("artifacts.content"), {
      tenant_id,
      content_hash: `"h${n}"`,
      storage_type: '"large_object"',
      data,
      size_bytes: "1",
      is_compressed: "false",
      reference_count: "1",
      created_at: "0",
      last_accessed_at: "0",
    });
    yield memoryRecord(kind("event_log"), {
      tenant_id,
      event_id: uuid(n),
      event_type: '"e"',
      correlation_id: uuid(n),
      timestamp: String(n * 1e12),
      sequence: "1",
      language: '"lua"',
      payload: "{}",
    });
  }
}

const source = { ...createMemorySource([]), read: () => memoryBatches(records()) };

await runPipeline({
  source,
  sink: createPostgresSink({ connect: () => connectPostgres({ url }), name: "postgres" }),
  selection: everything(),
  onProgress: ({ records: count }) => {
    if (count === 30) process.stdout.write("under way\n");
  },
});
