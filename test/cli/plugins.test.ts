/** --plugin and defineTransform: what a plugin sees and gives, and what becomes of it. */
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type BatchDefinition,
  defineTransform,
  exportStore,
  importStore,
  type PluginRecord,
  type RecordDefinition,
  type TransformDefinition,
} from "../../src/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { describePostgres } from "../helpers/postgres-server.js";
import {
  type Data,
  dataOf,
  dataText,
  document,
  errorOf,
  exportThrough,
  fresh,
  KINDS,
  read,
  source,
  usePluginFixture,
  workspace,
} from "./plugin-fixture.js";

usePluginFixture();

describe("a plugin that changes nothing", () => {
  const touched = (record: PluginRecord): PluginRecord => {
    for (const value of Object.values(record))
      if (typeof value === "object" && value !== null) void String(value.length);
    return record;
  };

  it.each([
    ["gives the record back", { transform: (record) => record }],
    ["reads every field", { content: true, transform: touched }],
    ["copies the record", { content: true, transform: (record) => ({ ...record }) }],
    ["copies the record without its content", { transform: (record) => ({ ...record }) }],
    ["makes it anew", { content: true, transform: (record) => Object.fromEntries(Object.entries(record)) }],
    ["is asynchronous", { transform: async (record) => record }],
    ["takes batches", { batch: true, transform: (records) => records }],
    ["copies batches", { batch: true, transform: async (records) => records.map((record) => ({ ...record })) }],
  ] as [string, Omit<RecordDefinition, "name"> | Omit<BatchDefinition, "name">][])(
    "%s: the document is the same, to the byte",
    async (_what, definition) => {
      const output = await exportThrough({ name: "same", ...definition } as TransformDefinition);
      expect(dataText(output)).toBe(dataText(document));
    },
  );
});

describe("keys with escapes", () => {
  // V8 13.6 takes the second key of the second record for that of the first: what stands there begins as the key that it expects.
  it.each([
    ["short numbers", "1"],
    ["long numbers", "12345678901234567890"],
  ])("stay what they are when a plugin changes the object, beside %s", async (_what, number) => {
    const texts = ["\\\\", '\\"', "a\\\\", 'a\\"', "\\u0061", "\\u005f_proto__"].map(
      (key) => `{"x":${number},"${key}":[2]}`,
    );
    const records = texts.map(
      (
        metadata,
        i,
      ) => `{"kv_id":"22222222-1111-4111-8111-11111111111${i}","tenant_id":"acme","key":"k${i}","value":"AP/+",
        "metadata":${metadata},"created_at":1700000000123456,"updated_at":"infinity"}`,
    );
    const [from, to] = [fresh(".json"), fresh(".db")];
    writeFileSync(
      from,
      `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${records.join(",")}]}}`,
    );
    const transform = (record: PluginRecord) => ({ ...record, metadata: { ...(record.metadata as object), z: 3 } });
    await importStore({ from, to, transforms: [{ type: "plugin", module: { name: "add", transform } }] });
    const output = fresh(".json");
    await exportStore({ from: to, to: output });
    const keys = ["\\\\", '\\"', "a\\\\", 'a\\"', "a", "__proto__"];
    for (const key of keys) expect(read(output)).toContain(`"metadata":{"x":${number},"${key}":[2],"z":3}`);
  });
});

describe("what a plugin sees and gives", () => {
  const METADATA =
    '{ "big":12345678901234567890, "fraction":0.12345678901234567890123,"text":"1.10" , "n":1.10 , "e":1e400,"zero":-0 }';

  async function withMetadata(definition: TransformDefinition): Promise<string> {
    const from = fresh(".json");
    const record = `{"kv_id":"22222222-1111-4111-8111-111111111111","tenant_id":"acme","key":"k","value":"AP/+",
      "metadata":${METADATA},"created_at":1700000000123456,"updated_at":"infinity"}`;
    writeFileSync(
      from,
      `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${record}]}}`,
    );
    const database = fresh(".db");
    await importStore({ from, to: database, transforms: [{ type: "plugin", module: definition }] });
    const to = fresh(".json");
    await exportStore({ from: database, to });
    return /"metadata":(.*?),"created_at"/.exec(read(to))?.[1] as string;
  }

  it("values of their types", async () => {
    const seen: PluginRecord[] = [];
    await withMetadata(
      defineTransform({
        name: "look",
        ...KINDS,
        transform(record) {
          seen.push({ ...record });
          return record;
        },
      }),
    );
    const { metadata, ...rest } = seen[0] as PluginRecord;
    expect(rest).toEqual({
      kv_id: "22222222-1111-4111-8111-111111111111",
      tenant_id: "acme",
      key: "k",
      value: Buffer.from([0, 255, 254]),
      created_at: 1700000000123456n,
      updated_at: "infinity",
    });
    expect(metadata).toMatchObject({ big: 12345678901234567890n, text: "1.10", n: 1.1 });
    const vectors: PluginRecord[] = [];
    await exportThrough({
      name: "look",
      sections: ["vector_embeddings.384"],
      transform: (record) => {
        vectors.push({ ...record });
        return record;
      },
    });
    expect(vectors[0]?.["embedding"]).toBeInstanceOf(Float32Array);
    expect(vectors[0]?.["embedding"]).toHaveLength(384);
  });

  it("keeps numbers that it does not touch, in json that it changes", async () => {
    const text = await withMetadata({
      name: "add",
      transform: ({ metadata, ...rest }) => ({ ...rest, metadata: { ...metadata, added: [-0, 2n ** 70n] } }),
    });
    expect(text).toBe(
      '{"big":12345678901234567890,"fraction":0.12345678901234567890123,"text":"1.10","n":1.10,"e":1e400,"zero":-0,"added":[-0,1180591620717411303424]}',
    );
  });

  it("keeps the text of json that is equal to what it was", async () => {
    const text = await withMetadata({
      name: "same",
      transform(record) {
        record["metadata"].n = 2;
        record["metadata"].n = 1.1;
        return record;
      },
    });
    expect(text).toBe(METADATA);
  });

  it("no, one or several records for one, in their order", async () => {
    const output = await exportThrough({
      name: "several",
      ...KINDS,
      async transform(record) {
        const n = Number.parseInt(record["kv_id"].slice(-1), 16);
        await new Promise((resolve) => setTimeout(resolve, n % 4));
        if (n % 3 === 0) return null;
        return n % 3 === 1 ? record : [record, { ...record, key: `${record["key"]}'`, value: Uint8Array.of(n) }];
      },
    });
    const expected = (dataOf(document)["kv_store"] as Data[]).flatMap((record) => {
      const n = Number.parseInt(record["kv_id"].slice(-1), 16);
      const copy = { ...record, key: `${record["key"]}'`, value: Buffer.of(n).toString("base64") };
      return [[], [record], [record, copy]][n % 3] as Data[];
    });
    expect(new Set(expected).size).toBeGreaterThan(6);
    expect(dataOf(output)["kv_store"]).toEqual(expected);
  });

  it("runs as many calls at once as it says, and no more", async () => {
    let running = 0;
    let most = 0;
    await exportThrough({
      name: "parallel",
      concurrency: 3,
      async transform(record) {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        running--;
        return record;
      },
    });
    expect(most).toBe(3);
  });

  it("has its options checked, its state set up, and its end told", async () => {
    const told: unknown[] = [];
    const definition = defineTransform({
      name: "whole",
      ...KINDS,
      options: { parse: (value: unknown) => ({ prefix: String((value as Data)["prefix"]) }) },
      setup: async ({ options }) => ({ prefix: options.prefix, count: 0 }),
      transform(record, { state, section, warn }) {
        state.count++;
        warn("seen");
        return { ...record, key: `${section} ${state.prefix}${state.count}` };
      },
      flush({ state }) {
        told.push(state.count);
      },
    });
    const to = fresh(".json");
    const warnings: string[] = [];
    const transforms = [{ type: "plugin", module: definition, options: { prefix: "p" } }] as const;
    await exportStore({ from: source, to, transforms, onWarning: (line) => warnings.push(line) });
    expect((dataOf(to)["kv_store"] as Data[]).map(({ key }) => key)).toEqual(
      Array.from({ length: 12 }, (_, at) => `kv_store p${at + 1}`),
    );
    expect([told, warnings]).toEqual([[12], ["whole: seen"]]);
  });

  it("holds large content only where it says so", async () => {
    const error = await errorOf(
      exportThrough({
        name: "peek",
        sections: ["artifacts.content"],
        transform: (record) => ({ ...record, size_bytes: record["data"].length }),
      }),
    );
    expect([error.code, error.message]).toEqual(["E_PLUGIN", expect.stringContaining("content: true")]);
    const output = await exportThrough({
      name: "grow",
      sections: ["artifacts.content"],
      content: true,
      // Small content becomes large, large content becomes small.
      transform: (record) => ({
        ...record,
        data: record["data"].length > 1e6 ? Buffer.of(7) : Buffer.alloc(1_200_000, 1),
      }),
    });
    const before = dataOf(document)["artifacts"].content as Data[];
    const after = dataOf(output)["artifacts"].content as Data[];
    for (const [at, { storage_type: type, data }] of after.entries()) {
      const wasLarge = before[at]?.["storage_type"] === "large_object";
      expect([type, Buffer.from(data, "base64").length]).toEqual(wasLarge ? ["bytea", 1] : ["large_object", 1_200_000]);
    }
    expect(new Set(after.map(({ storage_type: type }) => type)).size).toBe(2);
  });
});

describe("records of another section", () => {
  const half = ({ embedding }: PluginRecord): Float32Array => (embedding as Float32Array).slice(0, 384);
  const move: TransformDefinition = {
    name: "move",
    sections: ["vector_embeddings.768"],
    emits: ["vector_embeddings.384"],
    transform: (record, { into }) =>
      into("vector_embeddings.384", { ...record, dimension: 384, embedding: half(record) }),
  };

  it("stand in a document with those that were there, in its order of sections", async () => {
    const output = await exportThrough(move);
    const before = dataOf(document)["vector_embeddings"];
    const after = dataOf(output)["vector_embeddings"];
    expect(Object.keys(after)).toEqual(["384", "1536", "3072"]);
    expect(after["384"].slice(0, 12)).toEqual(before["384"]);
    expect(after["384"].slice(12).map(({ id }: Data) => id)).toEqual(before["768"].map(({ id }: Data) => id));
    await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", output]);
    expect(dataOf(output)["sessions"]).toEqual(dataOf(document)["sessions"]);
  });

  it("also come at the end, past large content", async () => {
    const output = await exportThrough({
      name: "summary",
      sections: ["sessions"],
      emits: ["kv_store"],
      setup: () => ({ count: 0 }),
      transform(record, { state }) {
        state.count++;
        return record;
      },
      flush: ({ state, into }) =>
        into("kv_store", {
          kv_id: "99999999-1111-4111-8111-111111111111",
          tenant_id: "t",
          key: "count",
          value: Buffer.of(state.count),
          metadata: {},
          created_at: 1n,
          updated_at: 2,
        }),
    });
    const after = dataOf(output);
    expect(after["kv_store"].at(-1)).toEqual({
      kv_id: "99999999-1111-4111-8111-111111111111",
      tenant_id: "t",
      key: "count",
      value: Buffer.of(12).toString("base64"),
      metadata: {},
      created_at: 1,
      updated_at: 2,
    });
    const before = dataOf(document);
    for (const section of ["artifacts", "hook_history", "event_log"]) expect(after[section]).toEqual(before[section]);
  });

  it("are refused where the plugin does not say so", async () => {
    const error = await errorOf(exportThrough({ ...move, emits: [] } as TransformDefinition));
    expect([error.code, error.message]).toEqual(["E_PLUGIN", expect.stringContaining("emits")]);
  });

  it("reach a database as they come", async () => {
    const to = fresh(".db");
    const result = await importStore({ from: source, to, transforms: [{ type: "plugin", module: move }] });
    const counts = Object.fromEntries(result.kinds.map(({ path, inserted }) => [path, inserted]));
    expect([counts["vector_embeddings.384"], counts["vector_embeddings.768"]]).toEqual([24, undefined]);
  });
});

describePostgres("plugins, on PostgreSQL", () => {
  it("change nothing that they do not touch, on the way in and out", async () => {
    await using database = await createDatabase("migrated");
    const plain = fresh(".json");
    const path = fresh(".mjs");
    writeFileSync(path, `export default { name: "copy", transform: async (record) => ({ ...record }) };`);
    await workspace.must(["storage", "import", "--database", database.url, "--input", document, "--plugin", path]);
    await workspace.must(["storage", "export", "--database", database.url, "--output", plain]);
    const through = fresh(".json");
    await workspace.must(["storage", "export", "--database", database.url, "--output", through, "--plugin", path]);
    expect(dataText(through)).toBe(dataText(plain));
    expect(dataOf(plain)["sessions"]).toEqual(dataOf(document)["sessions"]);
    expect(dataOf(plain)["artifacts"]).toEqual(dataOf(document)["artifacts"]);
  });
});
