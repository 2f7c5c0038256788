import { describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchBuilder, type LargeValue, type RecordBatch } from "../../src/records/record-batch.js";
import type { RunContext } from "../../src/records/run-context.js";
import { createTenantFilter } from "../../src/transforms/tenant-filter.js";

const kv = catalog.byPath.get("kv_store") as RecordKind;
const content = catalog.byPath.get("artifacts.content") as RecordKind;

/** A batch of records that have a tenant and, in the text field `field`, a value. */
function batchOf(
  kind: RecordKind,
  field: string,
  records: readonly (readonly [string, string])[],
  large?: LargeValue,
): RecordBatch {
  const builder = new BatchBuilder(kind);
  for (const [tenant, value] of records) {
    builder.begin();
    if (large !== undefined) builder.setLarge(large);
    for (const [name, text] of [
      ["tenant_id", tenant],
      [field, value],
    ] as const) {
      const start = builder.arena.length;
      builder.arena.utf8(text);
      builder.set(fieldIndex(kind, name), start);
    }
    builder.commit();
  }
  return builder.take();
}

async function filter(tenants: readonly string[], batches: readonly RecordBatch[]): Promise<string[][]> {
  const results: string[][] = [];
  async function* input(): AsyncGenerator<RecordBatch> {
    yield* batches;
  }
  for await (const batch of createTenantFilter(tenants).apply(input(), {} as RunContext)) {
    const key = fieldIndex(batch.kind, batch.kind === kv ? "key" : "content_hash");
    results.push(Array.from({ length: batch.rows }, (_, row) => batch.value(row, key).toString()));
  }
  return results;
}

describe("the tenant filter", () => {
  it("keeps the tenants asked for, in their order, and passes on no empty batch", async () => {
    const first = batchOf(kv, "key", [
      ["a", "1"],
      ["b", "2"],
      ["a", "3"],
      ["ab", "4"],
      ["c", "5"],
    ]);
    const second = batchOf(kv, "key", [["b", "6"]]);
    expect(await filter(["a", "c"], [first, second])).toEqual([["1", "3", "5"]]);
  });

  it("releases the large value of a record that it drops", async () => {
    const discarded: string[] = [];
    const largeOf = (name: string): LargeValue => ({
      field: fieldIndex(content, "data"),
      async *chunks() {},
      async discard() {
        discarded.push(name);
      },
    });
    const batches = [
      batchOf(content, "content_hash", [["a", "x"]], largeOf("x")),
      batchOf(content, "content_hash", [["b", "y"]], largeOf("y")),
    ];
    expect(await filter(["b"], batches)).toEqual([["y"]]);
    expect(discarded).toEqual(["x"]);
  });
});
