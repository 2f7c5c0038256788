import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { createDocumentSink, createDocumentSource } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { BatchBuilder, type LargeValue } from "../../src/records/record-batch.js";
import { type CanonicalRecord, recordArbitrary } from "../helpers/arbitraries.js";
import { collectingContext, readDocument } from "../helpers/documents.js";

const content = catalog.byPath.get("artifacts.content") as RecordKind;

describe("a large value", () => {
  const fields = fc.sample(recordArbitrary(content), { seed: 4, numRuns: 3 });
  const dataField = fieldIndex(content, "data");
  const typeField = fieldIndex(content, "storage_type");
  const bytesOf = (length: number) => Buffer.alloc(length, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));

  async function documentWith(...lengths: number[]): Promise<Buffer> {
    const stream = new PassThrough();
    const written = buffer(stream);
    const sink = createDocumentSink({ output: { stream }, producer: "test/1" });
    await sink.open({ backend: "sqlite", migrations: ["V1"] }, collectingContext(false));
    for (const [i, length] of lengths.entries()) {
      const builder = new BatchBuilder(content);
      builder.begin();
      for (const [index, value] of (fields[i % 3] as CanonicalRecord).entries()) {
        if (value === null || index === dataField) continue;
        const start = builder.arena.length;
        builder.arena.copy(value, 0, value.length);
        builder.set(index, start);
      }
      const large: LargeValue = {
        field: dataField,
        async *chunks() {
          for (let at = 0; at < length; at += 100_001) yield bytesOf(length).subarray(at, at + 100_001);
        },
        async discard() {},
      };
      builder.setLarge(large);
      builder.commit();
      await sink.write(builder.take());
    }
    await sink.finish();
    await sink.abort();
    return written;
  }

  it.each([1048574, 1048575, 1048576, 1048577, 1048578, 5_000_003])(
    "of %i bytes is large from 1 MiB on",
    async (length) => {
      const document = await documentWith(length, 10, length);
      for (const pieceBytes of [65537, 2 ** 24]) {
        const { data: read, large, warnings } = await readDocument(document, { pieceBytes });
        expect(warnings).toEqual([]);
        const isLarge = length >= 1048576;
        const rows = read.get("artifacts.content") ?? [];
        expect(rows.map((row) => row[typeField]?.toString())).toEqual(
          isLarge ? ["large_object", "bytea", "large_object"] : ["bytea", "bytea", "bytea"],
        );
        const values = isLarge ? large : [rows[0]?.[dataField], rows[2]?.[dataField]];
        expect(values).toHaveLength(2);
        for (const value of values) expect(value?.equals(bytesOf(length))).toBe(true);
        expect(rows[1]?.[dataField]?.equals(bytesOf(10))).toBe(true);
        // The other fields are as they were written.
        for (const [i, row] of rows.entries())
          for (const [index, value] of row.entries())
            if (index !== dataField && index !== typeField) expect(value).toEqual(fields[i % 3]?.[index]);
      }
    },
  );

  const base64 = bytesOf(2_000_000).toString("base64");
  const recordWith = (body: string, first: boolean) => {
    const rest =
      '"tenant_id":"t","content_hash":"h","storage_type":"bytea","size_bytes":2000000,"is_compressed":false,' +
      '"reference_count":1,"created_at":0,"last_accessed_at":0';
    return first ? `{"data":"${body}",${rest}}` : `{${rest} , "data" : "${body}"}`;
  };
  const documentOf = (...texts: string[]) =>
    Buffer.from(
      `{"version":"1.0","source_backend":"sqlite","migrations":["V1"],"data":{"artifacts":{"content":[${texts.join(",")}]}}}`,
    );

  it("is read whatever the order of the keys and the escapes", async () => {
    const escaped = base64.replaceAll("/", "\\/").replaceAll("A", "\\u0041");
    const bytes = documentOf(recordWith(base64, true), recordWith(base64, false), recordWith(escaped, true));
    for (const pieceBytes of [9973, 2 ** 24]) {
      const { large } = await readDocument(bytes, { pieceBytes });
      expect(large.map((value) => value.equals(bytesOf(2_000_000)))).toEqual([true, true, true]);
    }
  });

  it("that only its escapes make long is no large value", async () => {
    const short = bytesOf(600_000)
      .toString("base64")
      .replaceAll(/[A-Z]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
    expect(short.length).toBeGreaterThan(1_400_000);
    const { data: read, large } = await readDocument(documentOf(recordWith(short, true)));
    expect(large).toEqual([]);
    expect(read.get("artifacts.content")?.[0]?.[dataField]?.equals(bytesOf(600_000))).toBe(true);
  });

  it("that is not read by the sink does no harm to the next", async () => {
    const source = createDocumentSource({
      input: { stream: Readable.from([documentOf(recordWith(base64, true), recordWith(base64, false))]) },
    });
    const context = collectingContext(false);
    await source.open(context);
    const seen: number[] = [];
    for await (const batch of source.read({ paths: new Set(["artifacts.content"]) }, context)) {
      seen.push(batch.rows);
      await batch.large?.discard();
    }
    await source.close();
    expect(seen).toEqual([1, 1]);
  });

  it("is validated whole, and rejected with its text", async () => {
    const damaged = (at: number, by: string) => base64.slice(0, at) + by + base64.slice(at + 1);
    const texts = [damaged(5, "*"), base64.slice(0, -1), damaged(1_500_000, "="), `${base64}A`, `${base64}AAAA`];
    for (const body of [...texts.map((text) => recordWith(text, true)), recordWith(texts[0] as string, false)]) {
      const bytes = documentOf(body, recordWith(base64, true));
      const { rejected, large } = await readDocument(bytes, { skip: true, pieceBytes: 100_000 });
      if (rejected.length === 0) throw new Error(`taken: ${body.slice(0, 30)}`);
      expect(rejected[0]?.error).toMatchObject({
        code: "E_INVALID_BASE64",
        context: { section: "artifacts.content", key: "tenant_id=t, content_hash=h", field: "data" },
      });
      expect(rejected[0]?.record === body).toBe(true);
      expect(large).toHaveLength(1);
    }
  });

  it("is truncated, or no JSON, like any other text", async () => {
    const bytes = documentOf(recordWith(base64, true));
    for (const at of [1_000_000, 1_600_000, bytes.length - 60])
      await expect(readDocument(bytes.subarray(0, at), { pieceBytes: 300_000 })).rejects.toMatchObject({
        code: "E_DOCUMENT_TRUNCATED",
      });
    const broken = Buffer.from(bytes);
    broken[1_700_000] = 0x0a;
    const error = await readDocument(broken, { pieceBytes: 300_000 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "E_DOCUMENT_PARSE",
      context: { detail: "expected no control character inside a string at line 1 column 1700001" },
    });
  });

  it("of another tenant is skipped", async () => {
    const bytes = documentOf(recordWith(base64, true), recordWith(base64, true).replace('"t"', '"u"'));
    const selection = { paths: new Set(["artifacts.content"]), tenants: ["u"] };
    const { large, data: read } = await readDocument(bytes, { selection });
    expect(large).toHaveLength(1);
    expect(read.get("artifacts.content")).toHaveLength(1);
  });
});
