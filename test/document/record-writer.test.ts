import { describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { ByteWriter } from "../../src/codecs/byte-writer.js";
import { codecs } from "../../src/codecs/index.js";
import { recordChunks, writeRecord } from "../../src/document/writing/record-writer.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchBuilder, type LargeValue } from "../../src/records/record-batch.js";

const kv = catalog.byPath.get("kv_store") as RecordKind;
const content = catalog.byPath.get("artifacts.content") as RecordKind;

function setToken(builder: BatchBuilder, name: string, token: string): void {
  const index = fieldIndex(builder.kind, name);
  const field = builder.kind.fields[index];
  if (field === undefined) throw new Error(name);
  const source = Buffer.from(token, "utf8");
  const start = builder.arena.length;
  codecs[field.type].fromToken(field, source, 0, source.length, builder.arena, { legacy: false });
  builder.set(index, start);
}

async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts).toString("utf8");
}

describe("the record writer", () => {
  it("writes fields in the catalog's order, leaves an absent json out, and writes JSON null", async () => {
    const builder = new BatchBuilder(kv);
    for (const metadata of [undefined, "null", '{"a": 1.10}']) {
      builder.begin();
      setToken(builder, "updated_at", '"infinity"');
      setToken(builder, "kv_id", '"00112233445566778899AABBCCDDEEFF"');
      setToken(builder, "key", '"k\\"\\u0001é"');
      setToken(builder, "tenant_id", '"t"');
      setToken(builder, "value", '"AAEC"');
      setToken(builder, "created_at", "-1");
      if (metadata !== undefined) setToken(builder, "metadata", metadata);
      builder.commit();
    }
    const batch = builder.take();
    const expected = (metadata: string) =>
      '{"kv_id":"00112233-4455-6677-8899-aabbccddeeff","tenant_id":"t","key":"k\\"\\u0001é","value":"AAEC",' +
      `${metadata}"created_at":-1,"updated_at":"infinity"}`;
    const lines = [expected(""), expected('"metadata":null,'), expected('"metadata":{"a": 1.10},')];
    for (const [row, line] of lines.entries()) {
      const out = new ByteWriter(8);
      out.latin1("[");
      writeRecord(batch, row, out);
      expect(out.view().toString("utf8")).toBe(`[${line}`);
      expect(await textOf(recordChunks(batch, row))).toBe(line);
    }
  });

  it.each([0, 1, 2, 3, 4, 1000])("writes a large value of %i bytes in base64, whatever its chunks", async (length) => {
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 7) & 255));
    for (const step of [1, 2, 3, 5, 1024]) {
      const builder = new BatchBuilder(content);
      builder.begin();
      setToken(builder, "tenant_id", '"t"');
      setToken(builder, "storage_type", '"large_object"');
      setToken(builder, "size_bytes", String(length));
      const large: LargeValue = {
        field: fieldIndex(content, "data"),
        async *chunks() {
          for (let at = 0; at < length; at += step) yield bytes.subarray(at, at + step);
        },
        async discard() {},
      };
      builder.setLarge(large);
      builder.commit();
      const batch = builder.take();
      expect(() => writeRecord(batch, 0, new ByteWriter())).toThrow();
      const record = JSON.parse(await textOf(recordChunks(batch, 0))) as Record<string, unknown>;
      expect(Object.keys(record)).toEqual(content.fields.map((field) => field.name));
      expect(Buffer.from(record["data"] as string, "base64").equals(bytes)).toBe(true);
      expect(record["size_bytes"]).toBe(length);
    }
  });
});
