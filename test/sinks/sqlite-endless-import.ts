/** A process of its own that imports into the SQLite file of its argument until it is killed. Prints when it is under way. */
import type { RecordKind } from "../../src/catalog/index.js";
import { createSqliteSink, runPipeline } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import {
  createMemorySource,
  everything,
  type MemoryRecord,
  memoryBatches,
  memoryRecord,
} from "../conformance/memory-store.js";

const path = process.argv[2] as string;
const data = JSON.stringify(Buffer.alloc(1 << 20, 1).toString("base64"));
const uuid = (n: number): string => `"00000000-0000-4000-8000-${String(n).padStart(12, "0")}"`;

/** Endless records: rows that are there are replaced, new ones added, pages spilled to the disk. */
function* records(): Generator<MemoryRecord> {
  const kind = (name: string): RecordKind => catalog.byPath.get(name) as RecordKind;
  const tenant_id = '"t"';
  for (let n = 1; ; n++) {
    const times = { created_at: "7", updated_at: "7" };
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
  }
}

await runPipeline({
  source: { ...createMemorySource([]), read: () => memoryBatches(records()) },
  sink: createSqliteSink({ path }),
  selection: everything(),
  onProgress: ({ records: count }) => {
    if (count === 20) process.stdout.write("under way\n");
  },
});
