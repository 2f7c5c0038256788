import { describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { codecs } from "../../src/codecs/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createConstraintCheck } from "../../src/records/constraints.js";
import { BatchBuilder } from "../../src/records/record-batch.js";

function kindOf(path: string): RecordKind {
  const kind = catalog.byPath.get(path);
  if (kind === undefined) throw new Error(path);
  return kind;
}

const uuid = "00000000-0000-4000-8000-000000000001";
const entity = {
  entity_id: uuid,
  tenant_id: "t",
  entity_type: "x",
  name: "n",
  properties: {},
  valid_time_start: 0,
  valid_time_end: "infinity",
  transaction_time_start: 0,
  transaction_time_end: 1,
  created_at: 0,
};
const session = {
  tenant_id: "t",
  session_id: uuid,
  session_data: null,
  status: "active",
  created_at: 0,
  last_accessed_at: 0,
  artifact_count: 0,
  updated_at: 0,
};
const content = {
  tenant_id: "t",
  content_hash: "h",
  storage_type: "bytea",
  data: "",
  size_bytes: 104857600,
  is_compressed: false,
  reference_count: 1,
  created_at: 0,
  last_accessed_at: 0,
};

/** Checks the record made of `record`'s values, with `raw` canonical bytes put in place of some. */
function check(path: string, record: Record<string, unknown>, raw: Record<string, Buffer> = {}): void {
  const kind = kindOf(path);
  const builder = new BatchBuilder(kind);
  builder.begin();
  for (const field of kind.fields) {
    const start = builder.arena.length;
    const bytes = raw[field.name];
    if (bytes !== undefined) builder.arena.copy(bytes, 0, bytes.length);
    else {
      const value = record[field.name];
      if (value === undefined) continue;
      const token = Buffer.from(JSON.stringify(value));
      codecs[field.type].fromToken(field, token, 0, token.length, builder.arena, { legacy: false });
    }
    builder.set(fieldIndex(kind, field.name), start);
  }
  builder.commit();
  createConstraintCheck(kind)(builder.take(), 0);
}

function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

describe("constraints", () => {
  it("pass a record that holds", () => {
    check("knowledge_graph.entities", entity);
    check("sessions", session);
    check("artifacts.content", content);
  });

  it.each([
    ["sessions", session, "tenant_id", undefined, "E_MISSING_FIELD"],
    ["sessions", session, "status", "gone", "E_CHECK"],
    ["sessions", session, "status", "activ", "E_CHECK"],
    ["sessions", session, "artifact_count", -1, "E_CHECK"],
    ["artifacts.content", content, "size_bytes", 104857601, "E_CHECK"],
    ["artifacts.content", content, "reference_count", 0, "E_CHECK"],
    ["knowledge_graph.entities", entity, "transaction_time_end", 0, "E_CHECK"],
    ["knowledge_graph.entities", entity, "transaction_time_end", -1, "E_CHECK"],
    ["knowledge_graph.entities", entity, "valid_time_end", "-infinity", "E_CHECK"],
  ])("%s: %s", (path, record, field, value, code) => {
    expect(() => check(path, { ...record, [field]: value })).toThrow(
      expect.objectContaining({ code, context: { field } }),
    );
  });

  it("tells PostgreSQL's times from other int64", () => {
    const first = -211813488000000000n;
    const end = 9223371331200000000n;
    const max = 2n ** 63n - 1n;
    for (const time of [first, end - 1n, max, -max - 1n, 0n, -1n, 2n ** 53n + 1n])
      check("sessions", session, { created_at: int64(time) });
    for (const time of [first - 1n, end, max - 1n, -max])
      expect(() => check("sessions", session, { created_at: int64(time) })).toThrow(
        expect.objectContaining({ code: "E_OUT_OF_RANGE", context: { field: "created_at" } }),
      );
  });

  it("hold a vector's dimension to its section", () => {
    const dimension = Buffer.alloc(4);
    dimension.writeInt32BE(768);
    const record = {
      id: uuid,
      tenant_id: "t",
      scope: "s",
      embedding: Array(384).fill(0),
      metadata: {},
      created_at: 0,
      updated_at: 0,
    };
    check("vector_embeddings.384", { ...record, dimension: 384 });
    expect(() => check("vector_embeddings.384", record, { dimension })).toThrow(
      "Dimension mismatch: expected 384, got 768",
    );
  });
});
