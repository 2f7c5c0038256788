/** How records become parts: each in exactly one, wherever batches end, and the same again around what has changed. */
import { expect, it } from "vitest";
import { parseIndexDefinition } from "../../src/backends/postgres/runs/index-definition.js";
import { drain, PartCutter } from "../../src/backends/postgres/runs/parts/part-cutter.js";
import { fieldIndex } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchBuilder, type RecordBatch } from "../../src/records/record-batch.js";
import type { RunContext } from "../../src/records/run-context.js";

const kind = catalog.byPath.get("kv_store") as NonNullable<ReturnType<typeof catalog.byPath.get>>;
const context = {
  reject: async ({ error }: { error: Error }) => {
    throw error;
  },
} as unknown as RunContext;

interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
}

function* batchesOf(records: readonly KeyValue[], batchSize: number): Generator<RecordBatch> {
  const builder = new BatchBuilder(kind, { batchSize });
  const set = (name: string, bytes: Buffer): void => {
    const start = builder.arena.length;
    builder.arena.copy(bytes, 0, bytes.length);
    builder.set(fieldIndex(kind, name), start);
  };
  for (const { key, value } of records) {
    builder.begin();
    for (const { name, type } of kind.fields) {
      if (name === "key") set(name, Buffer.from(key));
      else if (name === "value") set(name, value);
      else if (type === "uuid") set(name, Buffer.from(key.padEnd(16, "0").slice(-16)));
      else if (type === "timestamp") set(name, Buffer.alloc(8));
      else if (type === "json") set(name, Buffer.from("{}"));
      else set(name, Buffer.from("tenant"));
    }
    builder.commit();
    if (builder.full) yield builder.take();
  }
  if (builder.length > 0) yield builder.take();
}

async function partsOf(records: readonly KeyValue[], partBytes: number, batchSize = 64) {
  const cutter = new PartCutter(partBytes, context);
  const parts: { digest: string; records: number; bytes: number; place: number }[] = [];
  const end = (): void => {
    const part = cutter.take();
    if (part === undefined) return;
    const { digest, records, bytes, place } = part;
    parts.push({ digest, records, bytes, place });
    cutter.recycle(part);
  };
  for (const batch of batchesOf(records, batchSize))
    for (let row = 0; row < batch.rows; row++) if (await cutter.add(batch, row, drain)) end();
  end();
  return parts;
}

/** A generator of numbers, for a seed that is printed where a test fails. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const seed = Number(process.env["PARTS_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

it(`puts each record into one part, whatever the batches (PARTS_SEED=${seed})`, async () => {
  const next = random(seed);
  for (let round = 0; round < 20; round++) {
    const count = Math.floor(next() * 3000);
    const skewed = next() < 0.3;
    const records = Array.from({ length: count }, (_, at) => ({
      key: `key ${at}`,
      value: Buffer.alloc(Math.floor((skewed && at % 97 === 0 ? 20000 : 200) * next()), at),
    }));
    const partBytes = 500 + Math.floor(next() * 20000);
    const parts = await partsOf(records, partBytes, 1 + Math.floor(next() * 200));
    expect(parts.reduce((sum, part) => sum + part.records, 0)).toBe(count);
    expect(parts.map(({ place }) => place)).toEqual(parts.map((_, at) => at));
    expect(new Set(parts.map(({ digest }) => digest)).size).toBe(parts.length);
    for (const { bytes } of parts.slice(0, -1)) expect(bytes).toBeGreaterThanOrEqual(partBytes);
    for (const { bytes } of parts) expect(bytes).toBeLessThan(partBytes * 4 + 21000);
    expect(await partsOf(records, partBytes, 1 + Math.floor(next() * 200))).toEqual(parts);
  }
});

it(`changes the parts around an insertion, a change and a deletion, and no others (PARTS_SEED=${seed})`, async () => {
  const next = random(seed);
  const records = Array.from({ length: 20000 }, (_, at) => ({ key: `key ${at}`, value: Buffer.alloc(100, at) }));
  const before = new Set((await partsOf(records, 10000)).map(({ digest }) => digest));
  expect(before.size).toBeGreaterThan(100);
  for (let round = 0; round < 5; round++) {
    const changed = [...records];
    changed.splice(Math.floor(next() * 20000), 1);
    changed.splice(Math.floor(next() * 19000), 0, { key: "new", value: Buffer.alloc(100) });
    changed[Math.floor(next() * 19000)] = { key: "changed", value: Buffer.alloc(10) };
    const after = (await partsOf(changed, 10000)).map(({ digest }) => digest);
    const other = after.filter((digest) => !before.has(digest));
    expect(other.length).toBeGreaterThan(0);
    expect(other.length).toBeLessThan(40);
  }
});

it.each([
  ["CREATE INDEX idx_a ON llmspell.sessions USING btree (tenant_id, expires_at) WHERE (expires_at IS NOT NULL)", true],
  [`CREATE INDEX "i;x" ON llmspell."T" USING gist (tstzrange(valid_from, valid_to, '[)'::text))`, true],
  [
    "CREATE INDEX h ON llmspell.v USING hnsw (embedding public.vector_cosine_ops) WITH (m='16', ef_construction='64')",
    true,
  ],
  ['CREATE INDEX p ON llmspell.kv USING btree (key COLLATE pg_catalog."C" varchar_pattern_ops)', true],
  ["CREATE INDEX i ON llmspell.a USING btree (b); DROP TABLE llmspell.a", false],
  ["CREATE INDEX i ON llmspell.a USING btree (b) -- (", false],
  ["CREATE INDEX i ON llmspell.a USING btree (b /* */)", false],
  ["CREATE INDEX i ON llmspell.a USING btree (public.evil(b))", false],
  ["CREATE INDEX i ON llmspell.a USING btree ((b OPERATOR(public.+) 1))", false],
  ["CREATE INDEX i ON llmspell.a USING btree ((b::public.evil))", false],
  ["CREATE INDEX i ON llmspell.a USING btree (CAST(b AS public.evil))", false],
  ["CREATE INDEX i ON llmspell.a USING btree ((b || E'\\\\'))", false],
  ["CREATE INDEX i ON llmspell.a USING btree ((b || $$x$$))", false],
  ["CREATE INDEX i ON llmspell.a USING btree (b))", false],
  ["CREATE UNIQUE INDEX i ON llmspell.a USING btree (b)", false],
  ["CREATE INDEX CONCURRENTLY i ON llmspell.a USING btree (b)", false],
  ["DROP TABLE llmspell.a", false],
  ["", false],
])("takes a stored definition of an index for what it is: %s", (definition, isOne) => {
  expect(parseIndexDefinition(definition) !== undefined).toBe(isOne);
});
