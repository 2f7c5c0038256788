/** --plugin and defineTransform: what a plugin sees, gives back, and what becomes of its errors. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type BatchDefinition,
  defineTransform,
  exportStore,
  importStore,
  type PluginRecord,
  type RecordDefinition,
  StorageError,
  type TransformDefinition,
} from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createWorkspace, type Outcome, type Workspace } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

// biome-ignore lint/suspicious/noExplicitAny: documents hold any section
type Data = Record<string, any>;

const root = fileURLToPath(new URL("../..", import.meta.url));
let workspace: Workspace;
let source: string;
let document: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
const read = (path: string): string => readFileSync(path, "utf8");
const dataText = (path: string): string => read(path).slice(read(path).indexOf('"data"'));
const dataOf = (path: string): Data => (JSON.parse(read(path)) as { data: Data }).data;

beforeAll(async () => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 12, contentSizes: [0, 10, 1_500_000] });
  document = workspace.path("document.json");
  await workspace.must(["storage", "export", "--database", source, "--output", document]);
});
afterAll(() => workspace[Symbol.dispose]());

/** Exports through a definition, by the library. */
async function exportThrough(
  definition: TransformDefinition,
  more: Partial<Parameters<typeof exportStore>[0]> = {},
): Promise<string> {
  const to = fresh(".json");
  await exportStore({ from: source, to, transforms: [{ type: "plugin", module: definition }], ...more });
  return to;
}

/** Writes a plugin's module and exports through it, by the command line. */
async function runPlugin(module: string, ...words: string[]): Promise<Outcome & { readonly output: string }> {
  const [path, output] = [fresh(".mjs"), fresh(".json")];
  writeFileSync(path, module);
  const run = ["storage", "export", "--database", source, "--output", output, "--plugin", path, ...words];
  return { ...(await workspace.run(run)), output };
}

async function errorOf(run: Promise<unknown>): Promise<StorageError> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

const KINDS = { sections: ["kv_store"] } as const;

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

describe("what a plugin sees and gives", () => {
  const METADATA =
    '{ "big":12345678901234567890, "fraction":0.12345678901234567890123,"text":"1.10" , "n":1.10 , "e":1e400 }';

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
      '{"big":12345678901234567890,"fraction":0.12345678901234567890123,"text":"1.10","n":1.10,"e":1e400,"added":[-0,1180591620717411303424]}',
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

describe("a plugin's mistakes", () => {
  const first = (): string => `kv_id=${dataOf(document)["kv_store"][0].kv_id}`;

  it.each([
    ["nothing", () => undefined, "returned nothing"],
    ["a string", () => "x", "returned a string"],
    ["an array with a hole", (record: PluginRecord) => [record, null], "returned null"],
    ["a strange field", (record: PluginRecord) => ({ ...record, colour: 1 }), "no field colour"],
    ["a field of another type", (record: PluginRecord) => ({ ...record, key: 5 }), "expected a string, found a number"],
    ["no time", (record: PluginRecord) => ({ ...record, created_at: new Date() }), "integer of microseconds"],
    ["a fraction", (record: PluginRecord) => ({ ...record, created_at: 1.5 }), "fraction"],
    ["bytes that are none", (record: PluginRecord) => ({ ...record, value: "AP/+" }), "expected a Buffer"],
    ["no UUID", (record: PluginRecord) => ({ ...record, kv_id: "x" }), "not a UUID"],
    ["a record without a field", ({ key: _key, ...rest }: PluginRecord) => rest, "lacks a field"],
    ["null where none may be", (record: PluginRecord) => ({ ...record, tenant_id: null }), "lacks a field"],
    ["json that is none", (record: PluginRecord) => ({ ...record, metadata: Number.NaN }), "NaN"],
    [
      "a cycle",
      (record: PluginRecord) => {
        const cycle: PluginRecord = {};
        cycle["me"] = cycle;
        return { ...record, metadata: cycle };
      },
      "Maximum call stack",
    ],
    [
      "an error",
      () => {
        throw new Error("no idea");
      },
      "no idea",
    ],
    ["a rejection", () => Promise.reject(new Error("no network")), "no network"],
  ] as const)("%s: names the plugin and the record", async (_what, transform, text) => {
    const error = await errorOf(exportThrough({ name: "wrong", ...KINDS, transform: transform as never }));
    expect(error.code).toBe("E_PLUGIN");
    expect(error.message).toContain("plugin wrong");
    expect(error.message).toContain(text);
    expect(error.context).toMatchObject({ section: "kv_store", key: first() });
  });

  it("stop the run, or leave out the record", async () => {
    const module = `export default { name: "picky", sections: ["kv_store"], transform(record) {
      if (record.kv_id === "${dataOf(document)["kv_store"][3].kv_id}") throw new Error("not this one");
      return { ...record, key: "k" + record.kv_id };
    } };`;
    const stopped = await runPlugin(module);
    expect([stopped.status, stopped.stderr]).toEqual([
      5,
      expect.stringContaining("plugin picky failed: not this one [E_PLUGIN]"),
    ]);
    const rejects = fresh(".ndjson");
    const { status, output } = await runPlugin(module, "--on-error", "skip", "--rejects", rejects);
    expect(status).toBe(6);
    expect(
      read(rejects)
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        section: "kv_store",
        key: `kv_id=${dataOf(document)["kv_store"][3].kv_id}`,
        code: "E_PLUGIN",
        reason: "the plugin picky failed: not this one",
        // As it came in.
        record: dataOf(document)["kv_store"][3],
      },
    ]);
    expect(dataOf(output)["kv_store"]).toHaveLength(11);
  });

  it("a batch that fails is left out as a whole", async () => {
    const rejected: string[] = [];
    const output = await exportThrough(
      {
        name: "batches",
        ...KINDS,
        batch: true,
        transform: () => {
          throw new Error("all of them");
        },
      },
      { onReject: ({ error }) => void rejected.push(error.context.key as string) },
    );
    expect(rejected).toHaveLength(12);
    expect(rejected).toContain(first());
    expect(dataOf(output)["kv_store"]).toBeUndefined();
  });

  it("ends a promise that is never kept", async () => {
    const module = `export default { name: "forgetful", sections: ["sessions"], transform: () => new Promise(() => {}) };`;
    const { status, stderr } = await runPlugin(module, "--plugin-timeout", "0.2");
    expect([status, stderr]).toEqual([
      5,
      expect.stringContaining("plugin forgetful did not come to an end within 0.2 seconds [E_PLUGIN_TIMEOUT]"),
    ]);
    expect(stderr).toContain(`session_id=${dataOf(document)["sessions"][0].session_id}`);
  });

  it("lets itself be interrupted while a plugin waits", async () => {
    const controller = new AbortController();
    const run = exportThrough(
      {
        name: "slow",
        ...KINDS,
        transform() {
          controller.abort();
          return new Promise(() => {});
        },
      },
      { signal: controller.signal },
    );
    expect((await errorOf(run)).code).toBe("E_INTERRUPTED");
  });

  it("in setup and flush are told", async () => {
    const fail = (): never => {
      throw new Error("cannot begin");
    };
    const transform = (record: PluginRecord): PluginRecord => record;
    const setup = await errorOf(exportThrough({ name: "begin", setup: fail, transform }));
    expect([setup.code, setup.message]).toEqual(["E_PLUGIN", "the plugin begin: setup failed: cannot begin"]);
    const flush = await errorOf(exportThrough({ name: "end", flush: () => ({}), transform }));
    expect([flush.code, flush.message]).toEqual(["E_PLUGIN", expect.stringContaining("context.into")]);
  });
});

describe("loading a plugin", () => {
  const load = (module: string): Promise<Outcome> =>
    workspace.run(["storage", "export", "--database", "missing.db", "--output", "x.json", "--plugin", module]);

  it.each([
    ["./missing.mjs", "", "Cannot find module"],
    ["no-such-package", "", "no-such-package"],
    ["./syntax.mjs", "export default {", "SyntaxError|Unexpected"],
    ["./throws.mjs", "throw new Error('on load');", "on load"],
    ["./none.mjs", "export const x = 1;", "no default export"],
    ["./nameless.mjs", "export default { transform() {} };", "name"],
    ["./idle.mjs", "export default { name: 'idle' };", "transform is no function"],
    ["./section.mjs", "export default { name: 'x', sections: ['nowhere'], transform() {} };", "nowhere"],
    ["./emits.mjs", "export default { name: 'x', emits: ['nowhere'], transform() {} };", "nowhere"],
    ['./plain.mjs:{"a":1}', "export default { name: 'x', transform() {} };", "takes no options"],
    [
      './strict.mjs:{"a":1}',
      "export default { name: 'x', options: { parse() { throw new Error('a is odd'); } }, transform() {} };",
      "a is odd",
    ],
  ])("%s is refused before anything is opened", async (module, text, reason) => {
    if (text !== "") writeFileSync(workspace.path(module.replace(/:\{.*/, "")), text);
    const { status, stderr } = await load(module);
    expect([status, stderr]).toEqual([2, expect.stringContaining("[E_PLUGIN_LOAD]")]);
    expect(stderr).toMatch(new RegExp(reason));
  });

  it("says that options are no JSON", async () => {
    const { status, stderr } = await load("./x.mjs:{a:1}");
    expect([status, stderr]).toEqual([2, expect.stringContaining("not valid JSON [E_USAGE]")]);
  });

  it("finds packages of the user's project, of either kind, and paths of its config.toml", async () => {
    using own = createWorkspace();
    const tag = (name: string): string =>
      `export default { name: "${name}", sections: ["kv_store"], transform: (r) => ({ ...r, key: r.key + "${name}" }) };`;
    for (const [name, manifest] of [
      ["esm", { type: "module", exports: { ".": { types: "./x.d.ts", import: "./index.js" }, "./sub": "./sub.js" } }],
      ["@scope/main", { type: "module", main: "index.js" }],
    ] as const) {
      mkdirSync(own.path(`node_modules/${name}`), { recursive: true });
      writeFileSync(own.path(`node_modules/${name}/package.json`), JSON.stringify({ name, ...manifest }));
      writeFileSync(own.path(`node_modules/${name}/index.js`), tag(`<${name}>`));
      writeFileSync(own.path(`node_modules/${name}/sub.js`), tag(`<${name}/sub>`));
    }
    mkdirSync(own.path("settings"));
    writeFileSync(own.path("settings/mine.mjs"), tag("<mine>"));
    writeFileSync(
      own.path("settings/config.toml"),
      "[transforms]\non = ['export']\n[[transforms.steps]]\nplugin = './mine.mjs'\n",
    );
    const plugins = ["esm", "esm/sub", "@scope/main"].flatMap((name) => ["--plugin", name]);
    await own.must(["storage", "export", "--database", source, "--output", "x.json", ...plugins], {
      env: { LLMSPELL_CONFIG: own.path("settings/config.toml") },
    });
    for (const { key } of dataOf(own.path("x.json"))["kv_store"])
      expect(key).toMatch(/<mine><esm><esm\/sub><@scope\/main>$/);
  });
});

describe("the example plugins", () => {
  let project: Workspace;
  beforeAll(() => {
    // What npm makes of the packed tool in a project: the package and its dependencies. The real thing is a step of .ci/run.
    project = createWorkspace();
    mkdirSync(project.path("node_modules"));
    symlinkSync(root, project.path("node_modules/llmspell-storage"), "dir");
    symlinkSync(`${root}node_modules/zod`, project.path("node_modules/zod"), "dir");
    cpSync(`${root}examples/plugins`, project.folder, { recursive: true });
    writeFileSync(
      project.path("embed.mjs"),
      `export default async (records) => records.map(({ embedding }) => Float32Array.from({ length: 384 }, (_, i) => embedding[2 * i]));`,
    );
  });
  afterAll(() => project[Symbol.dispose]());

  it("reembed.mjs moves embeddings to another dimension", async () => {
    const plugin = ["--plugin", './reembed.mjs:{"embed":"./embed.mjs"}'];
    await project.must(["storage", "export", "--database", source, "--output", "x.json", ...plugin]);
    const { "384": after, "768": gone } = dataOf(project.path("x.json"))["vector_embeddings"];
    const { "768": before } = dataOf(document)["vector_embeddings"];
    expect(gone).toBeUndefined();
    const numbers = (base64: string): Float32Array =>
      new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
    expect(numbers(after[12].embedding)).toEqual(numbers(before[0].embedding).filter((_number, at) => at % 2 === 0));
    await project.must(["storage", "migrate", "--from", source, "--to", "x.db", ...plugin]);
  });

  it("drop-old-sessions.mjs keeps the sessions that were touched since", async () => {
    const sessions = dataOf(document)["sessions"] as Data[];
    const times = sessions.map(({ last_accessed_at: time }) => time).filter((time) => typeof time === "number");
    const middle = times.sort((one, other) => one - other)[times.length >> 1] as number;
    const day = new Date(middle / 1000).toISOString().slice(0, 10);
    const plugin = ["--plugin", `./drop-old-sessions.mjs:{"before":"${day}"}`];
    const words = ["storage", "export", "--database", source, "--output", "y.json", "--include", "sessions"];
    await project.must([...words, ...plugin]);
    const isRecent = ({ last_accessed_at: time }: Data): boolean =>
      time === "infinity" || (time !== "-infinity" && time >= Date.parse(day) * 1000);
    const expected = sessions.filter(isRecent);
    expect(expected.length).toBeGreaterThan(0);
    expect(expected.length).toBeLessThan(12);
    expect(dataOf(project.path("y.json"))["sessions"]).toEqual(expected);
    const { status, stderr } = await project.run([
      ...["storage", "export", "--database", source, "--output", "z.json"],
      ...["--plugin", './drop-old-sessions.mjs:{"before":"soon"}'],
    ]);
    expect([status, stderr]).toEqual([2, expect.stringMatching(/\[E_PLUGIN_LOAD\]\nCaused by: before: /)]);
  });

  it("redact.mjs hides addresses, and only those", async () => {
    const text = read(document);
    const at = text.indexOf('"metadata":{', text.indexOf('"kv_store"')) + '"metadata":{'.length;
    writeFileSync(
      project.path("in.json"),
      `${text.slice(0, at)}"contact":["<jo.doe+x@mail.example.org>"],${text.slice(at)}`,
    );
    await project.must(["storage", "import", "--database", "r.db", "--input", "in.json", "--no-verify-manifest"]);
    await project.must(["storage", "export", "--database", "r.db", "--output", "before.json"]);
    await project.must([
      "storage",
      "export",
      "--database",
      "r.db",
      "--output",
      "after.json",
      "--plugin",
      "./redact.mjs",
    ]);
    const plain = read(project.path("before.json")).replaceAll("jo.doe+x@mail.example.org", "[redacted]");
    expect(read(project.path("after.json"))).toContain('"contact":["<[redacted]>"]');
    expect(dataOf(project.path("after.json"))).toEqual((JSON.parse(plain) as Data)["data"]);
  });
});

describePostgres("plugins, on PostgreSQL", () => {
  it("change nothing that they do not touch, on the way in and out", async () => {
    await using database = await createTestDatabase();
    await workspace.must(["database", "migrate", "--database", database.url]);
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
