import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type DigestStoreOptions,
  digestStore,
  exportStore,
  type ImportOptions,
  importStore,
  type StorageError,
  validateDocument,
  verifyStores,
} from "../../src/index.js";
import * as records from "../fidelity/records.js";
import { float32, id, MIB, type Sections, time } from "../fidelity/records.js";
import { documentText, Json } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { fillSqlite } from "../helpers/sample-data.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-digest-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A line per section, and the total, of a document's text or of a store. */
async function digestLines(from: string, options: DigestStoreOptions = {}): Promise<string[]> {
  const { sections, total } = await digestStore(from.startsWith("{") ? Readable.from([from]) : from, options);
  return [...sections, { path: "total", ...total }].map(({ path, records, digest }) => `${path} ${records} ${digest}`);
}

/** As JSON.parse, without rounding numbers. */
function parsed(text: string) {
  const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };
  const reviver = (_key: string, value: unknown, { source }: { source?: string } = {}): unknown =>
    typeof value === "number" && source !== undefined ? rawJSON(source) : value;
  return JSON.parse(text, reviver);
}

const digestOf = (sections: Sections): Promise<string[]> => digestLines(documentText(sections));
const json = (text: string): Json => new Json(text);

const LARGE = Buffer.alloc(MIB + 1, 7);
const LARGE_CHANGED = Buffer.from(LARGE);
LARGE_CHANGED[LARGE.length - 1] = 6;
const SMALL = Buffer.from("0001020304", "hex");

const vector384 = (...bits: number[]): unknown => records.vector(1, 384, float32(...bits))["embedding"];
const SESSION_ID = "aaaaaaaa-0000-4000-8000-000000000001";

/** A record of every kind, with a value of every type. */
const BASE = {
  "vector_embeddings.384": [records.vector(1, 384, float32(0x3dcccccd, 0), { metadata: json('{"n":1.10}') })],
  "vector_embeddings.768": [records.vector(2, 768, float32(1))],
  "knowledge_graph.entities": [records.entity(1, 0, { properties: json('{"a":12345678901234567890,"b":"x"}') })],
  "knowledge_graph.relationships": [records.relationship(1, 1, 1)],
  procedural_memory: [records.pattern(1)],
  agent_state: [records.agent(1)],
  kv_store: [records.kv(1, { key: "ab", value: SMALL, metadata: json("null") }), records.kv(2)],
  workflow_states: [records.workflow(1)],
  sessions: [records.session(1, { session_id: SESSION_ID })],
  "artifacts.content": [records.content("h1", SMALL), records.content("h2", LARGE)],
  "artifacts.artifacts": [records.artifact(1, 0, "h1", { session_id: SESSION_ID, tags: ["a", null], created_by: "" })],
  event_log: [records.event(1)],
  hook_history: [records.hook(1, { tags: ["a,b"] })],
} satisfies Sections;
type Path = keyof typeof BASE;

/** The base with the first record of a section changed. */
function changed(path: Path, fields: records.Fields, at = 0): Sections {
  return { ...BASE, [path]: BASE[path].map((record, index) => (index === at ? { ...record, ...fields } : record)) };
}

/** The smallest steps of each type. */
const STEPS: readonly (readonly [name: string, path: Path, sections: Sections])[] = [
  [
    "one bit of a float32",
    "vector_embeddings.384",
    changed("vector_embeddings.384", { embedding: vector384(0x3dcccccc, 0) }),
  ],
  [
    "-0 instead of 0 in a vector",
    "vector_embeddings.384",
    changed("vector_embeddings.384", { embedding: vector384(0x3dcccccd, 0x80000000) }),
  ],
  ["1.1 instead of 1.10", "vector_embeddings.384", changed("vector_embeddings.384", { metadata: json('{"n":1.1}') })],
  [
    "the last digit of a number beyond 2^53",
    "knowledge_graph.entities",
    changed("knowledge_graph.entities", { properties: json('{"a":12345678901234567891,"b":"x"}') }),
  ],
  [
    "a number for a string",
    "knowledge_graph.entities",
    changed("knowledge_graph.entities", { properties: json('{"a":"12345678901234567890","b":"x"}') }),
  ],
  [
    "a key in capitals",
    "knowledge_graph.entities",
    changed("knowledge_graph.entities", { properties: json('{"a":12345678901234567890,"B":"x"}') }),
  ],
  ["a microsecond", "knowledge_graph.entities", changed("knowledge_graph.entities", { created_at: time(1) })],
  [
    "an infinity for a time",
    "knowledge_graph.entities",
    changed("knowledge_graph.entities", { valid_time_start: "-infinity" }),
  ],
  ["an id", "knowledge_graph.relationships", changed("knowledge_graph.relationships", { relationship_id: id(3) })],
  [
    "the capitals of an id that applications choose",
    "sessions",
    changed("sessions", { session_id: SESSION_ID.toUpperCase() }),
  ],
  ["an int4", "agent_state", changed("agent_state", { data_version: 2 })],
  ["an int8", "event_log", changed("event_log", { sequence: 9007199254740993n })],
  ["a boolean", "hook_history", changed("hook_history", { contains_sensitive_data: true })],
  ["NULL for an empty text", "artifacts.artifacts", changed("artifacts.artifacts", { created_by: null })],
  ["a blank at the end of a text", "artifacts.artifacts", changed("artifacts.artifacts", { name: "a " })],
  ["the order of an array", "artifacts.artifacts", changed("artifacts.artifacts", { tags: [null, "a"] })],
  ["NULL for 'NULL' in an array", "artifacts.artifacts", changed("artifacts.artifacts", { tags: ["a", "null"] })],
  ["two elements for one with a comma", "hook_history", changed("hook_history", { tags: ["a", "b"] })],
  ["NULL for an empty array", "hook_history", changed("hook_history", { tags: [] })],
  ["no json for json's null", "kv_store", changed("kv_store", { metadata: undefined })],
  ["one byte", "kv_store", changed("kv_store", { value: Buffer.from("0001020305", "hex") })],
  ["a byte that moved from one field to the next", "kv_store", changed("kv_store", { tenant_id: "ta", key: "b" })],
  [
    "one byte of content",
    "artifacts.content",
    changed("artifacts.content", { data: Buffer.from("0001020305", "hex") }),
  ],
  ["the last byte of a large object", "artifacts.content", changed("artifacts.content", { data: LARGE_CHANGED }, 1)],
  ["NULL for a number", "artifacts.content", changed("artifacts.content", { original_size_bytes: 5 })],
  ["a record less", "kv_store", { ...BASE, kv_store: BASE.kv_store.slice(1) }],
  ["a record twice", "kv_store", { ...BASE, kv_store: [...BASE.kv_store, ...BASE.kv_store.slice(1)] }],
  ["another record twice", "kv_store", { ...BASE, kv_store: [...BASE.kv_store.slice(0, 1), ...BASE.kv_store] }],
  ["a section less", "event_log", { ...BASE, event_log: [] }],
];

describe("the digest of a store", () => {
  it("is another one after the smallest change of any type, in that section alone", async () => {
    const base = await digestOf(BASE);
    const seen = new Map([[base.at(-1), "the base"]]);
    for (const [name, path, sections] of STEPS) {
      const lines = await digestOf(sections);
      const others = (all: readonly string[]) => all.filter((line) => !line.startsWith(`${path} `)).slice(0, -1);
      expect(others(lines), name).toEqual(others(base));
      expect(seen.get(lines.at(-1)), name).toBeUndefined();
      seen.set(lines.at(-1), name);
      const [line] = lines.filter((each) => each.startsWith(`${path} `));
      expect(base, name).not.toContain(line);
    }
  });

  it("does not know order, spelling, nor where content is kept", async () => {
    const base = await digestOf(BASE);
    const reversed = Object.fromEntries(
      Object.entries(BASE)
        .toReversed()
        .map(([path, each]) => [path, each.toReversed()]),
    ) as Sections;
    expect(await digestOf(reversed)).toEqual(base);
    const respelled: Sections[] = [
      changed("vector_embeddings.384", { metadata: json('{"n":1,\n "n" : 110e-2}') }),
      changed("knowledge_graph.entities", { properties: json('{"b":"\\u0078" , "a":1234567890123456789.0e1}') }),
      changed("artifacts.content", { storage_type: "large_object" }),
      changed("artifacts.content", { storage_type: "bytea" }, 1),
    ];
    for (const sections of respelled) expect(await digestOf(sections)).toEqual(base);
    const many = Array.from({ length: 5000 }, (_, n) => records.kv(n));
    expect(await digestOf({ kv_store: many.toReversed() })).toEqual(await digestOf({ kv_store: many }));
  });

  it("takes what a document lacks for what it stands for", async () => {
    const legacy = new URL("../golden/legacy-0.14.json", import.meta.url).pathname;
    const target = join(folder, "legacy.db");
    await importStore({ from: legacy, to: target });
    expect(await digestLines(legacy)).toEqual(await digestLines(target));
  });

  it("is that of algorithm 1", async () => {
    const { sections } = await digestStore(Readable.from([documentText({ kv_store: BASE.kv_store })]));
    const int32 = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(value);
      return bytes;
    };
    const sha256 = (...parts: (Buffer | string)[]): Buffer =>
      parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
    const head = sha256(
      '["llmspell-storage record 1","kv_store","kv_id","tenant_id","key","value","metadata","created_at","updated_at"]',
    );
    const at = (unixMicroseconds: number): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(BigInt(unixMicroseconds) - 946684800000000n);
      return bytes;
    };
    const sum = BASE.kv_store
      .map((_, n) => {
        const [key, value, metadata] = n === 0 ? ["ab", SMALL, Buffer.from("null")] : ["k2", Buffer.alloc(0), null];
        const uuid = Buffer.from(id(n + 1).replaceAll("-", ""), "hex");
        const values = [uuid, Buffer.from("t"), Buffer.from(key), value, metadata, at(time(1)), at(time(2))];
        const lengths = values.map((each) => int32(each === null ? -1 : each.length));
        return BigInt(`0x${sha256(head, ...lengths, ...values.filter((each) => each !== null)).toString("hex")}`);
      })
      .reduce((total, digest) => (total + digest) % 2n ** 256n);
    expect(sections).toEqual([{ path: "kv_store", records: 2, digest: `1:${sum.toString(16).padStart(64, "0")}` }]);
  });

  it("is what it was of the golden document", async () => {
    const golden = new URL("../golden/document-1.0.json", import.meta.url).pathname;
    const { total } = await digestStore(golden);
    expect(total).toMatchInlineSnapshot(`
      {
        "digest": "1:1bb016e4d1afe9c578adddd7cec3d478a3fbf2fd25be57d4f5daf9e9623366f5",
        "records": 17,
      }
    `);
  });

  it("is of what the options select and the transforms make", async () => {
    // Equal to that of any other store: no evidence.
    await expect(digestLines(documentText(BASE), { tenants: ["t", "u"] })).rejects.toMatchObject({
      code: "E_NO_EFFECT",
      message: 'the store has no record of the tenant "u"',
    });
    const mapped = await digestLines(documentText(BASE), {
      exclude: ["artifacts", "vector_embeddings"],
      transforms: [{ type: "map-tenant", from: "t", to: "u" }],
    });
    const sections = Object.fromEntries(
      Object.entries(BASE)
        .filter(([path]) => !/^(artifacts|vector)/.test(path))
        .map(([path, each]) => [path, each.map((record) => ({ ...record, tenant_id: "u" }))]),
    );
    expect(mapped).toEqual(await digestOf(sections));
  });
});

describe("digests of transfers", () => {
  it("are those of the target, and stand in the manifest when they are asked for", async () => {
    const source = join(folder, "source.db");
    createLlmspellSqlite(source);
    fillSqlite(source, { records: 6 });
    const [plain, told, target] = ["plain.json", "told.json.zst", "target.db"].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    const digests = await digestLines(source);
    expect(digests.length).toBe(16);
    expect((await exportStore({ from: source, to: plain })).digests).toBeUndefined();
    expect(readFileSync(plain, "latin1")).not.toContain('"digest"');
    const exported = await exportStore({ from: source, to: told, digests: true });
    expect(await digestLines(told)).toEqual(digests);
    const imported = await importStore({ from: told, to: target, digests: true });
    expect(imported.digests).toEqual(exported.digests);
    const { sections, total } = await digestStore(target);
    expect(imported.digests).toEqual({ sections, total });
  });

  describe("of a document that another program printed anew", () => {
    const [source, sealed] = [join(tmpdir(), `sealed-${process.pid}.db`), join(tmpdir(), `sealed-${process.pid}.json`)];
    let text: string;
    beforeAll(async () => {
      createLlmspellSqlite(source);
      fillSqlite(source, { records: 6, contentSizes: [9, 1_100_000] });
      await exportStore({ from: source, to: sealed, digests: true });
      // As `jq -S .` does, and with another order of the records.
      const { data, ...rest } = parsed(readFileSync(sealed, "utf8"));
      data.kv_store.reverse();
      data.kv_store[0].metadata = { note: 9007199254740992 };
      text = JSON.stringify({ ...rest, data: { sessions: data.sessions, ...data } }, undefined, 1);
    });
    afterAll(() => {
      for (const path of [source, sealed]) rmSync(path, { force: true });
    });

    /** What an import of the text says, and whether it committed. */
    async function imported(document: string, options: Partial<ImportOptions> = {}) {
      const target = join(mkdtempSync(join(folder, "sealed-")), "target.db");
      const warnings: string[] = [];
      const run = importStore({
        from: Readable.from([document]),
        to: target,
        onWarning: (message) => warnings.push(message),
        ...options,
      });
      const error = await run.then(
        () => undefined,
        ({ code, message, context }: StorageError) => ({ code, message, section: context.section }),
      );
      return { error, warnings, isThere: existsSync(target) };
    }

    const changed = {
      error: {
        code: "E_DOCUMENT_MANIFEST",
        message: "kv_store does not mean what was written: the digest of its records differs",
        section: "kv_store",
      },
      isThere: false,
    };

    it("are checked before anything is kept", async () => {
      expect(await imported(text)).toMatchObject(changed);
      const file = join(folder, "anew.json");
      writeFileSync(file, text);
      expect(await imported("", { from: file })).toMatchObject(changed);
      writeFileSync(`${file}.gz`, gzipSync(text));
      expect(await imported("", { from: `${file}.gz` })).toMatchObject(changed);
      await expect(verifyStores({ a: source, b: file })).rejects.toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
      const found: string[] = [];
      await validateDocument(file, { onFinding: ({ code, section }) => void found.push(`${code} ${section}`) });
      expect(found).toEqual(["E_DOCUMENT_MANIFEST kv_store"]);
    });

    it("say that nothing was rounded or lost", async () => {
      const whole = parsed(text);
      whole.data.kv_store[0].metadata = parsed(readFileSync(sealed, "utf8")).data.kv_store.at(-1).metadata;
      expect(await imported(JSON.stringify(whole))).toEqual({ error: undefined, warnings: [], isThere: true });
      whole.data.kv_store.pop();
      expect(await imported(JSON.stringify(whole))).toMatchObject(changed);
      whole.data.kv_store = [];
      expect(await imported(JSON.stringify(whole))).toMatchObject(changed);
    });

    it("are checked of large contents, too, where nobody reads these", async () => {
      const validated = async (document: string) => {
        const said: string[] = [];
        await validateDocument(Readable.from([document]), {
          onFinding: ({ code, section }) => void said.push(`${code} ${section}`),
          onWarning: (message) => said.push(message),
        });
        return said;
      };
      const anew = JSON.stringify(parsed(readFileSync(sealed, "utf8")));
      expect(await validated(anew)).toEqual([]);
      const other = parsed(anew);
      const large = other.data.artifacts.content.find(({ data }: { data: string }) => data.length > 1_100_000);
      large.data = `${large.data[0] === "A" ? "B" : "A"}${large.data.slice(1)}`;
      expect(await validated(JSON.stringify(other))).toEqual(["E_DOCUMENT_MANIFEST artifacts.content"]);
    });

    it("are not, where they cannot be or nobody wants it", async () => {
      const unchecked = { error: undefined, warnings: [expect.stringContaining("re-serialised")], isThere: true };
      expect(await imported(text, { verifyManifest: false })).toEqual(unchecked);
      expect(await imported(text, { tenants: ["tenant-a"] })).toMatchObject({ warnings: unchecked.warnings });
      expect(await imported(text, { exclude: ["kv_store"] })).toEqual({ ...unchecked, warnings: [] });
      const without = parsed(text);
      for (const entry of Object.values<{ digest?: string }>(without.manifest)) delete entry.digest;
      expect(await imported(JSON.stringify(without))).toEqual(unchecked);
    });

    it("are checked with --digests in every document", async () => {
      // The bytes agree with the manifest, the digests do not: whoever wrote it had other records.
      const lying = readFileSync(sealed, "utf8").replace(
        /("kv_store":\{[^}]*"digest":"1:)(.)/,
        (_all, before, digit) => `${before}${digit === "0" ? "1" : "0"}`,
      );
      expect(await imported(lying)).toMatchObject({ error: undefined });
      expect(await imported(lying, { digests: true })).toMatchObject(changed);
    });

    it("are checked of a directory's files, where one was printed anew, or with --digests", async () => {
      const directory = join(folder, "many");
      await exportStore({ from: source, to: `${directory}/`, digests: true, partBytes: 2000 });
      /** Files that another program has printed, with a manifest that agrees with their bytes. */
      const printed = (name: string, print: (text: string) => string, change = (manifest: string) => manifest) => {
        const to = join(folder, name);
        cpSync(directory, to, { recursive: true });
        const manifest = JSON.parse(readFileSync(join(to, "manifest.json"), "utf8"));
        for (const file of manifest.files) {
          const bytes = Buffer.from(print(readFileSync(join(to, file.name), "utf8")));
          writeFileSync(join(to, file.name), bytes);
          manifest.totals.bytes += bytes.length - file.bytes;
          Object.assign(file, { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") });
        }
        writeFileSync(join(to, "manifest.json"), change(JSON.stringify(manifest)));
        return `${to}/`;
      };
      const anew = printed("anew", (text) => text.replace("{", "{ "));
      expect(await imported("", { from: anew })).toEqual({ error: undefined, warnings: [], isThere: true });
      expect(await imported("", { from: anew, tenants: ["tenant-a"] })).toMatchObject({
        warnings: [expect.stringContaining("re-serialised")],
      });
      const rounded = printed("rounded", (text) =>
        text.replace("{", "{ ").replace(/("kv_store":\[[\s\S]*?"updated_at":)-?\d+/, "$12"),
      );
      expect(await imported("", { from: rounded })).toMatchObject(changed);
      expect(await imported("", { from: rounded, verifyManifest: false })).toMatchObject({ isThere: true });
      await expect(verifyStores({ a: source, b: rounded })).rejects.toMatchObject({ code: "E_DOCUMENT_MANIFEST" });
      const found: string[] = [];
      await validateDocument(rounded, { onFinding: ({ code, section }) => void found.push(`${code} ${section}`) });
      expect(found).toEqual(["E_DOCUMENT_MANIFEST kv_store"]);
      const lying = printed(
        "lying",
        (text) => text,
        (text) =>
          text.replace(
            /("kv_store":\{"records":\d+,"digest":"1:)(.)/,
            (_all, before, digit) => `${before}${digit === "0" ? "1" : "0"}`,
          ),
      );
      expect(await imported("", { from: lying })).toMatchObject({ error: undefined });
      expect(await imported("", { from: lying, digests: true })).toMatchObject(changed);
    });
  });

  it("are none of sections that the target did not take as they came", async () => {
    const target = join(folder, "merged.db");
    await importStore({ from: Readable.from([documentText({ kv_store: BASE.kv_store })]), to: target });
    const { digests, totals } = await importStore({
      from: Readable.from([documentText(BASE)]),
      to: target,
      onConflict: "skip",
      digests: true,
    });
    expect(totals.skipped).toBe(2);
    expect(digests?.total).toBeUndefined();
    expect(digests?.sections.filter(({ digest }) => digest === undefined)).toEqual([{ path: "kv_store", records: 2 }]);
  });
});
