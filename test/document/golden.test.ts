import { execFileSync, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { fieldIndex, type RecordKind } from "../../src/catalog/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { DataSet } from "../helpers/arbitraries.js";
import { canonicalTime, INT64_MAX, INT64_MIN, int32Bytes, int64Bytes, recordTokens } from "../helpers/arbitraries.js";
import { readDocument, writeDocument } from "../helpers/documents.js";

// The files were printed by a program of another language that shares no code with this one.
const ours = new URL("../golden/document-1.0.json", import.meta.url).pathname;
const legacy = new URL("../golden/legacy-0.14.json", import.meta.url).pathname;
/** As llmspell's PostgreSQL exporter writes it (read in its source; its own statements ask for columns that are not there). */
const legacyPostgres = new URL("../golden/legacy-0.14-postgresql.json", import.meta.url).pathname;

function value(data: DataSet, path: string, row: number, field: string): Buffer | null | undefined {
  return data.get(path)?.[row]?.[fieldIndex(catalog.byPath.get(path) as RecordKind, field)];
}

const text = (string: string) => Buffer.from(string, "utf8");

describe("the golden document of version 1.0", () => {
  it("is read and written byte for byte", async () => {
    const { data, header, warnings } = await readDocument(ours);
    expect(warnings).toEqual([]);
    expect(header).toEqual({ backend: "sqlite", migrations: ["V1", "V3"] });
    expect([...data.keys()].sort()).toEqual(
      catalog.kinds
        .map(({ path }) => path)
        .filter((path) => path !== "knowledge_graph.relationships")
        .sort(),
    );
    expect((await writeDocument(data)).toString("utf8")).toBe(await readFile(ours, "utf8"));
  });

  it("holds these canonical values", async () => {
    const { data } = await readDocument(ours);
    const expected: [path: string, row: number, field: string, value: Buffer | null][] = [
      ["knowledge_graph.entities", 0, "valid_time_start", int64Bytes(canonicalTime(1732271400123456n))],
      ["knowledge_graph.entities", 0, "valid_time_end", int64Bytes(INT64_MAX)],
      ["knowledge_graph.entities", 1, "valid_time_start", int64Bytes(INT64_MIN)],
      ["knowledge_graph.entities", 1, "created_at", int64Bytes(-63082281600000000n)],
      ["knowledge_graph.entities", 0, "name", text('Zoë 𝄞 "q" \\ \n\u0001 /')],
      ["knowledge_graph.entities", 0, "properties", text('{"n": 12345678901234567890, "x": [1e400, -0]}')],
      ["knowledge_graph.entities", 1, "properties", text("null")],
      ["procedural_memory", 0, "frequency", int32Bytes(2147483647)],
      ["procedural_memory", 0, "first_seen", int64Bytes(-946684800000000n)],
      ["procedural_memory", 0, "created_at", int64Bytes(9223371244799999999n)],
      ["kv_store", 0, "kv_id", Buffer.from("00000000000040008000000000000040", "hex")],
      ["kv_store", 0, "value", Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
      ["kv_store", 0, "metadata", text('{"a":"\\u0000\\ud800"}')],
      ["kv_store", 1, "value", Buffer.alloc(0)],
      ["kv_store", 1, "metadata", null],
      ["kv_store", 2, "metadata", text("null")],
      ["workflow_states", 0, "started_at", null],
      ["artifacts.content", 0, "data", text("hello")],
      ["artifacts.content", 0, "is_compressed", Buffer.from([0])],
      ["artifacts.artifacts", 0, "sequence", int64Bytes(INT64_MAX)],
      ["artifacts.artifacts", 0, "size_bytes", int64Bytes(9007199254740993n)],
      ["artifacts.artifacts", 0, "tags", text('["a,b","NULL",null,"\\"",""]')],
      ["event_log", 0, "sequence", int64Bytes(INT64_MIN)],
      ["hook_history", 0, "tags", text("[]")],
    ];
    for (const [path, row, field, wanted] of expected)
      expect([path, field, value(data, path, row, field)]).toEqual([path, field, wanted]);
    const embedding = value(data, "vector_embeddings.384", 0, "embedding") as Buffer;
    expect(Array.from({ length: 5 }, (_, i) => embedding.readFloatLE(i * 4))).toEqual([
      -0,
      1.401298464324817e-45,
      3.4028234663852886e38,
      Math.fround(0.1),
      (((4 * 7) % 23) - 11) / 8,
    ]);
  });

  it("has one record per line, and ends with a brace", async () => {
    const lines = (await readFile(ours, "utf8")).split("\n");
    expect(lines.at(-1)).toBe("");
    expect(lines.at(-2)).toBe("}");
    const records = lines.filter((line) => /^\{"(id|[a-z]+_id)":/.test(line));
    expect(records).toHaveLength(17);
    for (const line of records) expect(() => JSON.parse(line.replace(/,$/, ""))).not.toThrow();
  });
});

describe("jq", () => {
  const found = spawnSync("jq", ["--version"]).status === 0;
  const modes = [
    ["."],
    ["-S", "."],
    ["-c", "."],
    ["-cS", "."],
    ["--tab", "."],
    ["--indent", "0", "."],
    ["--indent", "7", "."],
  ];

  it.skipIf(!found).each(modes)("prints nothing that is taken for our layout: %s %s", async (...mode) => {
    // jq refuses a lone surrogate.
    const input = (await readFile(ours, "utf8")).replace("\\ud800", "");
    const args = mode.filter((word) => word !== undefined);
    const printed = execFileSync("jq", args, { input, maxBuffer: 2 ** 24 });
    const { data } = await readDocument(ours);
    for (const pieceBytes of [1000, 2 ** 24]) {
      // jq before 1.7 rounds 2^63 - 1 to 2^63, which is refused.
      const again = await readDocument(printed, { pieceBytes, skip: true });
      expect(again.warnings).toEqual([expect.stringContaining("re-serialised")]);
      // Not the json fields, whose white space jq drops, nor numbers that it may have rounded.
      const plain = ["text", "uuid", "int4", "bool", "timestamp", "bytes", "vector", "text_array"];
      for (const path of ["vector_embeddings.3072", "kv_store", "sessions", "artifacts.content", "hook_history"]) {
        const { fields } = catalog.byPath.get(path) as RecordKind;
        const values = (from: DataSet) =>
          from.get(path)?.map((record) => record.filter((_, i) => plain.includes(fields[i]?.type ?? "")));
        expect(values(again.data)).toEqual(values(data));
      }
    }
  });
});

describe("the golden document of llmspell 0.14", () => {
  const seconds = (count: bigint) => int64Bytes(canonicalTime(count * 1000000n));
  const t = seconds(1732271400n);

  it("is read from a file and from a stream, without a warning", async () => {
    const bytes = await readFile(legacy);
    for (const input of [legacy, bytes] as const) {
      const { data, header, warnings } = await readDocument(input, { pieceBytes: 100 });
      expect(warnings).toEqual([]);
      expect(header.backend).toBe("sqlite");
      expect(header.migrations).not.toContain("V1");
      const expected: [path: string, row: number, field: string, value: Buffer | null][] = [
        ["knowledge_graph.entities", 0, "valid_time_start", t],
        ["knowledge_graph.entities", 0, "valid_time_end", int64Bytes(INT64_MAX)],
        ["knowledge_graph.entities", 0, "transaction_time_end", int64Bytes(INT64_MAX)],
        ["knowledge_graph.entities", 1, "valid_time_end", int64Bytes(INT64_MAX)],
        ["knowledge_graph.entities", 1, "transaction_time_end", int64Bytes(INT64_MAX)],
        ["knowledge_graph.entities", 0, "properties", text(`{${" ".repeat(12)}"a": 1.1${" ".repeat(10)}}`)],
        ["procedural_memory", 0, "pattern_id", Buffer.from("00000000000040008000000000000020", "hex")],
        ["kv_store", 0, "metadata", text('{"b": [1.10,2]}')],
        ["kv_store", 1, "metadata", null],
        ["artifacts.content", 0, "storage_type", text("bytea")],
        ["artifacts.content", 0, "data", text("hello")],
        ["event_log", 0, "timestamp", t],
        ["hook_history", 0, "triggering_component", text("")],
        ["hook_history", 0, "component_id", text("")],
        ["hook_history", 0, "modified_operation", Buffer.from([0])],
        ["hook_history", 0, "tags", text("[]")],
        ["hook_history", 0, "retention_priority", int32Bytes(0)],
        ["hook_history", 0, "context_size", int32Bytes(3)],
        ["hook_history", 0, "contains_sensitive_data", Buffer.from([0])],
        ["hook_history", 0, "metadata", text("{}")],
        ["hook_history", 0, "created_at", t],
      ];
      for (const [path, row, field, wanted] of expected)
        expect([path, field, value(data, path, row, field)]).toEqual([path, field, wanted]);
      const embeddings = [0, 1, 2, 3].map((row) => value(data, "vector_embeddings.384", row, "embedding"));
      expect(embeddings[0]?.readFloatLE(0)).toBe(-1.375);
      for (const other of embeddings) expect(other?.equals(embeddings[0] as Buffer)).toBe(true);
    }
  });

  it("is no legacy document any more with a producer, from PostgreSQL, or with V1", async () => {
    const document = JSON.parse(await readFile(legacy, "utf8")) as Record<string, unknown>;
    const { data: all, ...head } = document as { data: Record<string, unknown> };
    const data = { event_log: all["event_log"] };
    for (const change of [{ producer: "p" }, { source_backend: "postgresql" }, { migrations: ["V1", "V3"] }])
      for (const changed of [
        { ...head, ...change, data },
        { data, ...head, ...change },
        { ...head, data, ...change },
      ]) {
        const result = await readDocument(Buffer.from(JSON.stringify(changed)), { pieceBytes: 50 });
        expect(value(result.data, "event_log", 0, "timestamp")).toEqual(int64Bytes(canonicalTime(1732271400n)));
      }
    const still = await readDocument(Buffer.from(JSON.stringify({ data, ...head })));
    expect(value(still.data, "event_log", 0, "timestamp")).toEqual(t);
  });

  it("names the records that the old exporter lost", async () => {
    const document = JSON.parse(await readFile(legacy, "utf8")) as {
      data: { vector_embeddings: { 384: { embedding: unknown }[] }; artifacts: { content: { data: unknown }[] } };
    };
    (document.data.vector_embeddings[384][1] as { embedding: unknown }).embedding = "";
    (document.data.artifacts.content[0] as { data: unknown }).data = null;
    const bytes = Buffer.from(JSON.stringify(document, null, 2));
    await expect(readDocument(bytes)).rejects.toMatchObject({ code: "E_INVALID_EMBEDDING" });
    const { data, rejected } = await readDocument(bytes, { skip: true });
    expect(rejected.map(({ error }) => [error.code, error.context.section, error.context.key])).toEqual([
      ["E_INVALID_EMBEDDING", "vector_embeddings.384", "id=00000000-0000-4000-8000-000000000002"],
      ["E_LARGE_OBJECT_MISSING", "artifacts.content", expect.stringContaining("tenant_id=acme, content_hash=2cf24dba")],
    ]);
    expect(data.get("vector_embeddings.384")).toHaveLength(3);
  });

  it("becomes a document of ours that reads the same", async () => {
    const { data } = await readDocument(legacy);
    const again = await readDocument(await writeDocument(data));
    for (const [path, records] of data) {
      const kind = catalog.byPath.get(path) as RecordKind;
      expect(again.data.get(path)?.map((record) => recordTokens(kind, record))).toEqual(
        records.map((record) => recordTokens(kind, record)),
      );
    }
  });
});

describe("the golden document of llmspell 0.14's PostgreSQL exporter", () => {
  const t = int64Bytes(canonicalTime(1732271400123456n));
  type Json = Record<string, unknown>;
  const parsed = async (): Promise<Json & { data: Record<string, Json[]> }> =>
    JSON.parse((await readFile(legacyPostgres, "utf8")).replaceAll("9223372036854775807", '"infinity"'));

  it("is read from a file and from a stream, without a warning, its keys in any order", async () => {
    const bytes = await readFile(legacyPostgres);
    const sorted = Buffer.from(
      bytes.toString("utf8").replace(/^\{\n {2}"version".*?("data": .*\n {2}\})\n\}$/s, (text, data) => {
        const head = text.slice(3, text.indexOf(data)).trim().replace(/,$/, "");
        return `{${data},${head}}`;
      }),
    );
    expect(sorted.indexOf('"version"')).toBeGreaterThan(sorted.indexOf('"data"'));
    for (const input of [legacyPostgres, bytes, sorted] as const) {
      const { data, header, warnings } = await readDocument(input, { pieceBytes: 100 });
      expect(warnings).toEqual([]);
      expect(header.backend).toBe("postgresql");
      const expected: [path: string, row: number, field: string, value: Buffer | null][] = [
        ["vector_embeddings.384", 0, "created_at", t],
        ["knowledge_graph.entities", 0, "valid_time_start", t],
        ["knowledge_graph.entities", 0, "valid_time_end", int64Bytes(INT64_MAX)],
        ["knowledge_graph.entities", 1, "valid_time_start", int64Bytes(INT64_MIN)],
        ["knowledge_graph.entities", 1, "valid_time_end", t],
        ["kv_store", 0, "metadata", text('{"b": [1.10, 2]}')],
        ["kv_store", 1, "metadata", null],
        ["workflow_states", 0, "started_at", t],
        ["sessions", 0, "expires_at", null],
        ["artifacts.artifacts", 0, "tags", text('["a"]')],
        ["event_log", 0, "timestamp", t],
        ["hook_history", 0, "triggering_component", text("")],
        ["hook_history", 0, "context_size", int32Bytes(3)],
        ["hook_history", 0, "created_at", t],
      ];
      for (const [path, row, field, wanted] of expected)
        expect([path, field, value(data, path, row, field)]).toEqual([path, field, wanted]);
      expect(value(data, "vector_embeddings.384", 0, "embedding")?.readFloatLE(0)).toBe(-1.375);
    }
  });

  it("is known by the id of a session, an event or a hook; without them, or with a producer, it is ours", async () => {
    const { data, ...head } = await parsed();
    const kv = { kv_store: data["kv_store"] };
    const read = (document: object) => readDocument(Buffer.from(JSON.stringify(document)), { pieceBytes: 50 });
    for (const section of ["sessions", "event_log", "hook_history"]) {
      const { data: found } = await read({ ...head, data: { ...kv, [section]: data[section] } });
      expect(value(found, "kv_store", 0, "metadata")).toEqual(text('{"b": [1.10, 2]}'));
      const producer = await read({ ...head, data: { ...kv, event_log: data["event_log"] }, producer: "p" });
      expect(value(producer.data, "kv_store", 0, "metadata")).toEqual(text('"{\\"b\\": [1.10, 2]}"'));
      expect(producer.warnings.join()).toContain('"id"');
    }
    const [{ id: _, ...event } = {}] = data["event_log"] as Json[];
    const ours = await read({ ...head, data: { ...kv, event_log: [event] } });
    expect(value(ours.data, "kv_store", 0, "metadata")).toEqual(text('"{\\"b\\": [1.10, 2]}"'));
    expect(ours.warnings).toEqual([expect.stringContaining("re-serialised")]);
    await expect(read({ ...head, data: { hook_history: data["hook_history"], sessions: [] } })).resolves.toBeDefined();
  });

  it("a document that does not tell is refused, unless its times are said; a number for exported_at is none of that", async () => {
    const { data, migrations: _, ...head } = await parsed();
    const [{ id: __, ...event } = {}] = data["event_log"] as Json[];
    const read = (header: object, times?: "us" | "s", timestamp = 1732271400) =>
      readDocument(
        Buffer.from(JSON.stringify({ ...head, ...header, data: { event_log: [{ ...event, timestamp }] } })),
        {
          ...(times && { times }),
        },
      );
    const time = async (result: ReturnType<typeof read>) => value((await result).data, "event_log", 0, "timestamp");
    const seconds = int64Bytes(canonicalTime(1732271400000000n));
    const micros = int64Bytes(canonicalTime(1732271400n));
    for (const header of [{ source_backend: "sqlite" }, { source_backend: "sqlite", migrations: [] }]) {
      await expect(read(header)).rejects.toMatchObject({
        code: "E_DOCUMENT_SHAPE",
        context: { hint: expect.stringContaining("--times s") },
      });
      expect(await time(read(header, "s"))).toEqual(seconds);
      expect(await time(read(header, "us"))).toEqual(micros);
      expect(await time(read({ ...header, exported_at: 1737541800 }, "s"))).toEqual(seconds);
    }
    const old = { source_backend: "sqlite", migrations: ["V3"] };
    expect(await time(read(old))).toEqual(seconds);
    expect(await time(read(old, "us"))).toEqual(micros);
    expect(await time(read({ source_backend: "postgresql" }))).toEqual(micros);
    await expect(read({ ...old, producer: "p" }, "s")).rejects.toMatchObject({ code: "E_USAGE" });
  });

  it("an empty embedding is refused with what to do about it", async () => {
    const document = await parsed();
    const vectors = (document.data["vector_embeddings"] as unknown as Record<string, Json[]>)["384"] as Json[];
    (vectors[0] as Json)["embedding"] = "";
    await expect(readDocument(Buffer.from(JSON.stringify(document)))).rejects.toMatchObject({
      code: "E_INVALID_EMBEDDING",
      context: { hint: expect.stringMatching(/\.db.*--exclude vector_embeddings/) },
    });
  });
});
