import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../../src/errors.js";
import { createDocumentSink } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { batchOf, type DataSet, recordArbitrary } from "../helpers/arbitraries.js";
import { collectingContext, readDocument, writeDocument } from "../helpers/documents.js";
import { cases, document, head, kv, kvRecord } from "./refused-documents.js";

describe("a document is refused", () => {
  it.each(cases)("%s", async (_what, text, code, detail = "") => {
    for (const pieceBytes of [1, 2 ** 20]) {
      const error = await readDocument(Buffer.from(text), { pieceBytes }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code, exitStatus: 4 });
      expect((error as { context: { detail?: string } }).context.detail ?? "").toContain(detail);
      if (["E_DOCUMENT_PARSE", "E_DOCUMENT_TRUNCATED", "E_INVALID_UTF8"].includes(code))
        expect(error).toMatchObject({ message: "Failed to parse export JSON" });
    }
  });

  it("before a batch is given, when its version is not supported", async () => {
    const text = `{"data":{"kv_store":[${kvRecord}]},"source_backend":"sqlite","version":"2.1"}`;
    const error = await readDocument(Buffer.from(text)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "E_DOCUMENT_VERSION", message: "documents of version 2.1 are not supported" });
  });

  it("also for syntax in a section that is not selected", async () => {
    const bytes = document(`{"kv_store":[${kvRecord}],"sessions":[{"a":tru}]}`);
    const selection = { paths: new Set(["kv_store"]) };
    await expect(readDocument(bytes, { selection })).rejects.toMatchObject({ code: "E_DOCUMENT_PARSE" });
  });
});

describe("a record is rejected", () => {
  const dimension = (n: number) => Buffer.alloc(n * 4).toString("base64");
  const vector = (embedding: string, said = 384) =>
    document(
      `{"vector_embeddings":{"384":[{"id":"00000000-0000-0000-0000-000000000001","tenant_id":"t","scope":"s","dimension":${said},` +
        `"embedding":${embedding},"metadata":{},"created_at":0,"updated_at":0}]}}`,
    );
  const content = (data: string, type = '"bytea"') =>
    document(
      `{"artifacts":{"content":[{"tenant_id":"t","content_hash":"h","storage_type":${type},"data":${data},"size_bytes":1,` +
        '"is_compressed":false,"reference_count":1,"created_at":0,"last_accessed_at":0}]}}',
    );
  const kvKey = "kv_id=00000000-0000-0000-0000-000000000001";
  const cases: [what: string, bytes: Buffer, code: ErrorCode, field: string | undefined, key: string][] = [
    ["a missing field", kv((r) => r.replace('"key":"k",', "")), "E_MISSING_FIELD", "key", kvKey],
    ["a missing key", kv((r) => r.replace(/"kv_id":"[^"]*",/, "")), "E_MISSING_FIELD", "kv_id", "kv_id=?"],
    [
      "a key twice",
      kv((r) => r.replace('"key":"k"', '"key":"k","k\\u0065y":"l"')),
      "E_DOCUMENT_DUPLICATE",
      "key",
      kvKey,
    ],
    ["an unknown key twice", kv((r) => r.replace('"key"', '"x":1,"x":2,"key"')), "E_DOCUMENT_DUPLICATE", "x", kvKey],
    ["a number for text", kv((r) => r.replace('"k"', "5")), "E_FIELD_TYPE", "key", kvKey],
    ["null for text", kv((r) => r.replace('"k"', "null")), "E_FIELD_TYPE", "key", kvKey],
    ["a lone surrogate in text", kv((r) => r.replace('"k"', '"\\ud800"')), "E_INVALID_UTF8", "key", kvKey],
    ["a text for a time", kv((r) => r.replace('_at":0', '_at":"now"')), "E_FIELD_TYPE", "created_at", kvKey],
    ["a time out of range", kv((r) => r.replace('_at":0', '_at":1e30')), "E_OUT_OF_RANGE", "created_at", kvKey],
    ["a fraction of a microsecond", kv((r) => r.replace('_at":0', '_at":0.5')), "E_FIELD_TYPE", "created_at", kvKey],
    ["bad base64", kv((r) => r.replace("AA==", "AA=")), "E_INVALID_BASE64", "value", kvKey],
    ["URL-safe base64", kv((r) => r.replace("AA==", "-_-_")), "E_INVALID_BASE64", "value", kvKey],
    ["base64 with a space", kv((r) => r.replace("AA==", "AAAA AAA")), "E_INVALID_BASE64", "value", kvKey],
    ["a number for an id", kv((r) => r.replace(/"kv_id":"[^"]*"/, '"kv_id":5')), "E_FIELD_TYPE", "kv_id", "kv_id=?"],
    ["a record that is a number", document('{"kv_store":[12]}'), "E_DOCUMENT_SHAPE", undefined, "?"],
    ["a record that is null", document('{"kv_store":[null]}'), "E_DOCUMENT_SHAPE", undefined, "?"],
    ["an empty embedding", vector('""'), "E_INVALID_EMBEDDING", "embedding", "id=00000000-0000-0000-0000-000000000001"],
    ["a null embedding", vector("null"), "E_INVALID_EMBEDDING", "embedding", "id=00000000-0000-0000-0000-000000000001"],
    [
      "another length",
      vector(`"${dimension(768)}"`),
      "E_DIMENSION_MISMATCH",
      "embedding",
      "id=00000000-0000-0000-0000-000000000001",
    ],
    [
      "another dimension",
      vector(`"${dimension(384)}"`, 768),
      "E_DIMENSION_MISMATCH",
      "dimension",
      "id=00000000-0000-0000-0000-000000000001",
    ],
    [
      "content that is null",
      content("null", '"large_object"'),
      "E_LARGE_OBJECT_MISSING",
      "data",
      "tenant_id=t, content_hash=h",
    ],
    [
      "an unknown storage type",
      content('"AA=="', '"blob"'),
      "E_FIELD_TYPE",
      "storage_type",
      "tenant_id=t, content_hash=h",
    ],
  ];

  it.each(cases)("%s", async (_what, bytes, code, field, key) => {
    await expect(readDocument(bytes)).rejects.toMatchObject({ code });
    const { rejected } = await readDocument(bytes, { skip: true, pieceBytes: 3 });
    expect(
      rejected.map(({ error }) => ({ code: error.code, field: error.context.field, key: error.context.key })),
    ).toEqual([{ code, field, key }]);
    // The record as it came.
    const text = bytes.toString("utf8");
    expect(text).toContain(rejected[0]?.record);
    expect(rejected[0]?.record).toBe(text.slice(text.indexOf("[", text.indexOf('"data"')) + 1, text.lastIndexOf("]")));
    expect(rejected[0]?.error.context.section).toBe(rejected[0]?.path);
  });

  it("alone: those before and after it are read", async () => {
    const other = (n: number) => kvRecord.replace("0001", `000${n}`);
    const bytes = document(
      `{"kv_store":[${other(2)},\n${kvRecord.replace('"k"', "5")},${other(3)},7,${other(4)},${kvRecord.replace("AA==", "*")}]}`,
    );
    const { data, rejected } = await readDocument(bytes, { skip: true });
    expect(data.get("kv_store")?.map(([id]) => id?.[15])).toEqual([2, 3, 4]);
    expect(rejected.map(({ error }) => error.code)).toEqual(["E_FIELD_TYPE", "E_DOCUMENT_SHAPE", "E_INVALID_BASE64"]);
  });

  it("with its text on one line, however it was printed", async () => {
    const pretty = JSON.stringify(JSON.parse(kvRecord.replace('"k"', "5")), null, 2).replaceAll("\n", "\r\n");
    const { rejected } = await readDocument(document(`{"kv_store":[${pretty}]}`), { skip: true });
    expect(rejected[0]?.record).not.toMatch(/[\r\n]/);
    expect(JSON.parse(rejected[0]?.record ?? "")).toEqual(JSON.parse(pretty));
  });

  it("without its values in the message", async () => {
    const secret = "hunter2hunter2";
    const bytes = kv((record) => record.replace('"AA=="', `"${secret}*"`).replace('"k"', `"${secret}"`));
    const { rejected } = await readDocument(bytes, { skip: true });
    expect(JSON.stringify([rejected[0]?.error.message, rejected[0]?.error.context])).not.toContain(secret);
  });
});

describe("what is not known is ignored, and reported once", () => {
  it("fields, sections, dimensions, keys of the head", async () => {
    const record = kvRecord.replace('"key"', '"colour":{"a":[1]},"key"');
    const bytes = Buffer.from(
      `{${head},"comment":[1],"data":{"kv_store":[${record},${record.replace("0001", "0002")}],"plans":[{}],` +
        '"vector_embeddings":{"512":[{"id":1}],"384":null},"artifacts":null,"sessions":null}}',
    );
    const { data, warnings } = await readDocument(bytes);
    expect(data.get("kv_store")).toHaveLength(2);
    expect(warnings.filter((line) => !line.includes("re-serialised"))).toEqual([
      'the document\'s key "comment" is not known and was ignored',
      'kv_store: the field "colour" is not known and was ignored',
      'the section "plans" is not known and was ignored',
      'the section "vector_embeddings.512" is not known and was ignored',
    ]);
  });

  it("a byte order mark", async () => {
    const { data } = await readDocument(Buffer.concat([Buffer.from("\ufeff"), kv(String)]));
    expect(data.get("kv_store")).toHaveLength(1);
  });
});

describe("the manifest", () => {
  const kinds = catalog.kinds.filter(({ path }) => !path.startsWith("vector"));
  const data: DataSet = new Map(
    kinds.map((kind) => [kind.path, fc.sample(recordArbitrary(kind), { seed: 1, numRuns: 2 })]),
  );
  const change = (from: string | RegExp, to: string) =>
    writeDocument(data).then((bytes) => {
      const text = bytes.toString("utf8");
      expect(text.replace(from, to)).not.toBe(text);
      return Buffer.from(text.replace(from, to));
    });

  it.each<[what: string, from: string | RegExp, to: string, section: string | undefined]>([
    ["a changed record", /"agent_type":"/, '"agent_type":"x', "agent_state"],
    ["a changed number", /"records":2(,"sha256":"[0-9a-f]+"\},\n"sessions")/, '"records":3$1', "workflow_states"],
    ["a missing entry", /"sessions":\{"records".*\n/, "", "sessions"],
    ["an entry without its array", '"total"', '"plans":{"records":1,"sha256":""},\n"total"', "plans"],
    ["another total", /"total":\d+/, '"total":1', undefined],
    ["no manifest", /,\n"manifest":\{[\s\S]*\n\}\n\}/, "\n}", undefined],
    ["a manifest that is null", /"manifest":\{[\s\S]*\n\}\n\}/, '"manifest":null}', undefined],
    ["white space in an array", /"kv_store":\[\n/, '"kv_store":[\n\n', "kv_store"],
  ])("that does not agree is corruption: %s", async (_what, from, to, section) => {
    const bytes = await change(from, to);
    const error = await readDocument(bytes).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
    const { context } = error as { context: { section?: string; hint?: string } };
    expect(context.section).toBe(section);
    expect(context.hint).toContain("--no-verify-manifest");
    await expect(readDocument(bytes, { verifyManifest: false })).resolves.toBeDefined();
  });

  it("counts sections that are not selected", async () => {
    const bytes = await change(/"agent_type":"/, '"agent_type":"x');
    const selection = { paths: new Set(["kv_store"]) };
    await expect(readDocument(bytes, { selection })).rejects.toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
    const whole = await readDocument(await writeDocument(data), { selection });
    expect([...whole.data.keys()]).toEqual(["kv_store"]);
  });

  it("is not looked at when another program printed the document", async () => {
    const text = (await writeDocument(data)).toString("utf8");
    for (const indent of [undefined, 0, 1, 2, 7, "\t"]) {
      const { manifest: _manifest, ...rest } = JSON.parse(text) as Record<string, unknown>;
      // What JSON.parse rounds is no record that can be read back: times are small here.
      const printed = JSON.stringify({ ...rest, data: { kv_store: [JSON.parse(kvRecord)] } }, null, indent);
      const { warnings } = await readDocument(Buffer.from(printed));
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain("numbers beyond 2^53 may have been rounded");
    }
  });

  it("knows the arrays of a newer version", async () => {
    const newer = await change('"version":"1.0"', '"version":"1.7"');
    expect((await readDocument(newer)).warnings).toEqual([]);
  });
});

describe("selection", () => {
  it("takes the records of the tenants that are named", async () => {
    const of = (tenant: string, n: number) =>
      kvRecord.replace('"t"', JSON.stringify(tenant)).replace("0001", `000${n}`);
    const broken = of("é", 5).replace("AA==", "*");
    const bytes = document(`{"kv_store":[${of("a", 1)},${of("é", 2)},${of("b", 3)},${of("a", 4)},${broken}]}`);
    const selection = { paths: new Set(["kv_store"]), tenants: ["a", "b"] };
    const { data } = await readDocument(bytes, { selection, batchSize: 1 });
    expect(data.get("kv_store")?.map(([id]) => id?.[15])).toEqual([1, 3, 4]);
  });
});

describe("free text in UUID fields", () => {
  it("is read as it stands", async () => {
    const session =
      '{"tenant_id":"t","session_id":"doc1","session_data":{},"status":"active","created_at":0,"last_accessed_at":0,"artifact_count":0,"updated_at":0}';
    const bytes = document(
      `{"sessions":[${session}],"kv_store":[${kvRecord.replace(/"kv_id":"[^"]*"/, '"kv_id":"doc1"')}]}`,
    );
    const { data } = await readDocument(bytes);
    const text = Buffer.concat([Buffer.alloc(17), Buffer.from("doc1")]);
    expect(data.get("kv_store")?.[0]?.[0]).toEqual(text);
    expect(data.get("sessions")?.[0]?.[1]).toEqual(text);
  });
});

describe("the document sink", () => {
  it("refuses kinds that come in another order than the document's", async () => {
    const stream = new PassThrough();
    stream.resume();
    const sink = createDocumentSink({ output: { stream }, producer: "test/1" });
    await sink.open({ backend: "sqlite", migrations: [] }, collectingContext(false));
    const [kvKind, agents] = [catalog.byPath.get("kv_store"), catalog.byPath.get("agent_state")];
    if (kvKind === undefined || agents === undefined) throw new Error("no such kind");
    await sink.write(batchOf(kvKind, fc.sample(recordArbitrary(kvKind), { seed: 1, numRuns: 1 })));
    const late = batchOf(agents, fc.sample(recordArbitrary(agents), { seed: 1, numRuns: 1 }));
    await expect(sink.write(late)).rejects.toMatchObject({ code: "E_USAGE", context: { section: "agent_state" } });
    await sink.abort();
    expect(stream.destroyed).toBe(true);
  });
});
