/** --map-tenant, --mask, --vectors, their order and config.toml, through the binary. */
import { createHash, createHmac } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { catalog, exportStore, fieldIndex, importStore, type Transform } from "../../src/index.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace, withoutTimes } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { fillSqlite } from "../helpers/sample-data.js";

// biome-ignore lint/suspicious/noExplicitAny: documents hold any section
type Data = Record<string, any>;

let workspace: Workspace;
let source: string;
let document: string;
let names = 0;
const fresh = (suffix: string): string => workspace.path(`${++names}${suffix}`);
const read = (path: string): string => readFileSync(path, "utf8");
const dataOf = (path: string): Data => (JSON.parse(read(path)) as { data: Data }).data;
/** The records of a document by the path of their kind. */
const recordsOf = (path: string): Map<string, Data[]> => {
  const data = dataOf(path);
  return new Map(
    catalog.kinds.map((kind) => {
      const [section, name] = kind.path.split(".") as [string, string?];
      return [kind.path, (name === undefined ? data[section] : data[section]?.[name]) ?? []];
    }),
  );
};

const SESSION = "11111111-1111-4111-8111-111111111111";
const KEY = { env: { LLMSPELL_MASK_KEY: "a key" } };
const hmac = (text: string, key = "a key"): string => createHmac("sha256", key).update(text).digest("hex");

/** A document whose json has blanks, odd keys and numbers that a double cannot hold. */
const METADATA =
  '{ "user" : {"e-mail":"a@b.c" , "id":12345678901234567890},\t"list":[{"n":1.10},{"n":[2]}, 3],"\\u006eame":"N","name":"M" }';
function handmade(): string {
  const kv = ["acme", "other"].map(
    (tenant, at) => `{"kv_id":"2222222${at}-1111-4111-8111-111111111111","tenant_id":"${tenant}","key":"k${at}",
      "value":"AP/+","metadata":${METADATA},"created_at":1700000000123456,"updated_at":1700000000654321}`,
  );
  const session = `{"tenant_id":"acme","session_id":"${SESSION}","session_data":{"email":"x@y.z","n":null,"b":true},
    "status":"active","created_at":1700000000000000,"last_accessed_at":1700000000000000,"expires_at":null,
    "artifact_count":0,"updated_at":1700000000000000}`;
  const path = fresh(".json");
  writeFileSync(
    path,
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],
      "data":{"kv_store":[${kv.join(",")}],"sessions":[${session}]}}`,
  );
  return path;
}

/** Imports the document with the words into a new SQLite file and exports that. */
async function through(input: string, words: readonly string[], options = KEY): Promise<string> {
  const database = fresh(".db");
  const output = fresh(".json");
  await workspace.must(["storage", "import", "--database", database, "--input", input, ...words], options);
  await exportStore({ from: database, to: output });
  return output;
}

async function databaseOf(input: string): Promise<string> {
  const database = fresh(".db");
  await importStore({ from: input, to: database });
  return database;
}

beforeAll(async () => {
  workspace = createWorkspace();
  source = workspace.path("source.db");
  createLlmspellSqlite(source);
  fillSqlite(source, { records: 12, contentSizes: [0, 10, 1_500_000] });
  document = workspace.path("document.json");
  await workspace.must(["storage", "export", "--database", source, "--output", document]);
});
afterAll(() => workspace[Symbol.dispose]());

const exported = async (...words: string[]): Promise<string> => {
  const output = fresh(".json");
  await workspace.must(["storage", "export", "--database", source, "--output", output, ...words], KEY);
  return output;
};

describe("--map-tenant", () => {
  it("renames one tenant in every section, and changes nothing else", async () => {
    const renamed = recordsOf(await exported("--map-tenant", "tenant-a=someone else"));
    for (const [path, records] of recordsOf(document)) {
      const wanted = records.map((record) =>
        record["tenant_id"] === "tenant-a" ? { ...record, tenant_id: "someone else" } : record,
      );
      expect(wanted.some(({ tenant_id: tenant }) => tenant === "someone else")).toBe(true);
      expect(renamed.get(path), path).toEqual(wanted);
    }
  });

  it("gives the same on the way in as on the way out, with foreign keys that hold", async () => {
    const words = ["--map-tenant", "tenant-a=z", "--map-tenant", "z=y"];
    const imported = dataOf(await through(document, words));
    const migrated = fresh(".db");
    await workspace.must(["storage", "migrate", "--from", source, "--to", migrated, ...words]);
    const output = fresh(".json");
    await workspace.must(["storage", "export", "--database", migrated, "--output", output]);
    expect(dataOf(output)).toEqual(imported);
    expect(read(output)).toContain('"tenant_id":"y"');
    expect(read(output)).not.toMatch(/"tenant_id":"(z|tenant-a)"/);
  });

  it("comes after the selection of tenants", async () => {
    const records = [
      ...recordsOf(await exported("--tenant", "tenant-a", "--map-tenant", "tenant-a=b")).values(),
    ].flat();
    expect(records.length).toBeGreaterThan(10);
    expect(new Set(records.map(({ tenant_id: tenant }) => tenant))).toEqual(new Set(["b"]));
  });

  it("refuses two tenants that meet on one key", async () => {
    const text = read(handmade()).replace('"key":"k1"', '"key":"k0"');
    const input = fresh(".json");
    writeFileSync(input, text);
    const words = ["storage", "import", "--database", fresh(".db"), "--input", input, "--map-tenant", "other=acme"];
    const { status, stderr } = await workspace.run(words);
    expect([status, stderr]).toEqual([5, expect.stringContaining("[E_KEY_CONFLICT]")]);
  });

  it.each(["acme", "=x", "x=", `x=${"y".repeat(256)}`])("refuses %j before it opens anything", async (text) => {
    const output = fresh(".json");
    const words = ["storage", "export", "--database", "missing.db", "--output", output, "--map-tenant", text];
    const { status, stderr } = await workspace.run(words);
    expect([status, stderr]).toEqual([2, expect.stringContaining("OLD=NEW")]);
    expect(existsSync(output)).toBe(false);
  });
});

describePostgres("--map-tenant, on PostgreSQL", () => {
  it("brings the records that SQLite gets", async () => {
    await using database = await createDatabase("migrated");
    const words = ["--map-tenant", "tenant-a=z"];
    await workspace.must(["storage", "import", "--database", database.url, "--input", document, ...words]);
    const output = fresh(".json");
    await workspace.must(["storage", "export", "--database", database.url, "--output", output]);
    const other = recordsOf(await through(document, words));
    for (const [path, records] of recordsOf(output)) {
      expect(records.length, path).toBe(other.get(path)?.length);
      expect(records.map(({ tenant_id: tenant }) => tenant).sort(), path).toEqual(
        other
          .get(path)
          ?.map(({ tenant_id: tenant }) => tenant)
          .sort(),
      );
    }
  });

  it("brings back embeddings from either form, to the bit", async () => {
    await using database = await createDatabase("migrated");
    const numbers = await exported("--include", "vector_embeddings", "--vectors", "json");
    await workspace.must(["storage", "import", "--database", database.url, "--input", numbers]);
    const output = fresh(".json");
    await workspace.must(["storage", "export", "--database", database.url, "--output", output]);
    const embeddings = ({ vector_embeddings: sections }: Data): unknown =>
      Object.values(sections as Data).map((records: Data[]) => records.map(({ id, embedding }) => [id, embedding]));
    expect(embeddings(dataOf(output))).toEqual(embeddings(dataOf(document)));
  });
});

describe("--vectors json", () => {
  it("writes arrays of numbers, and SQLite gets the same embeddings of them", async () => {
    const numbers = await exported("--vectors", "json");
    const embeddings = Object.values(dataOf(numbers)["vector_embeddings"] as Data).flat() as Data[];
    expect(embeddings).toHaveLength(48);
    expect(embeddings.every(({ embedding }) => Array.isArray(embedding))).toBe(true);
    expect(dataOf(await through(numbers, []))).toEqual(dataOf(document));
  });

  it("is no option of import", async () => {
    const { status } = await workspace.run(["storage", "import", "--input", document, "--vectors", "json"]);
    expect(status).toBe(2);
  });
});

describe("--mask", () => {
  const metadataOf = (path: string): string => /"metadata":(.*?),"created_at"/.exec(read(path))?.[1] as string;

  it.each([
    ['kv_store.metadata.user."e-mail"=redact', METADATA.replace('"a@b.c"', '"[redacted]"')],
    ["kv_store.metadata.user.id=redact", METADATA.replace("12345678901234567890", "0")],
    ["kv_store.metadata.user.id=hash", METADATA.replace("12345678901234567890", `"${hmac("12345678901234567890")}"`)],
    ["kv_store.metadata.list[].n=null", METADATA.replace("1.10", "null").replace("[2]", "null")],
    ["kv_store.metadata.list[]=redact", METADATA.replace('{"n":1.10},{"n":[2]}, 3', "{},{}, 0")],
    // Both spellings of the key: whoever reads the text could find either.
    ["kv_store.metadata.name=email", METADATA.replace('"N"', '"@N"').replace('"M"', '"@M"')],
  ])("%s changes what it names, and keeps the rest of the text", async (rule, expected) => {
    const words = ["--include", "kv_store", "--tenant", "acme"];
    // A document keeps blanks on its way through.
    const wanted = expected.replace(/@([NM])/g, (_match, name: string) => `${hmac(name).slice(0, 16)}@example.invalid`);
    expect(metadataOf(await through(handmade(), [...words, "--mask", rule]))).toBe(wanted);
  });

  it.each(["kv_store.metadata.nothing.here=redact", "kv_store.metadata.list.n=redact"])(
    "%s, a path that is not there, changes nothing",
    async (rule) => {
      const words = ["--include", "kv_store", "--tenant", "acme", "--mask-optional", rule];
      expect(metadataOf(await through(handmade(), words))).toBe(METADATA);
    },
  );

  it("hashes alike wherever a value stands, so that references hold", async () => {
    const output = await exported(
      ...["--mask", "sessions.session_id=hash", "--mask", "artifacts.artifacts.session_id=hash"],
    );
    const before = recordsOf(document);
    const after = recordsOf(output);
    const ids = new Map<string, string>();
    for (const [at, { session_id: id }] of (before.get("sessions") as Data[]).entries())
      ids.set(id, after.get("sessions")?.[at]?.["session_id"]);
    expect(new Set(ids.values()).size).toBe(12);
    for (const id of ids.values())
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const references = (records: Data[] | undefined): unknown => records?.map(({ session_id: id }) => id);
    expect(references(after.get("artifacts.artifacts"))).toEqual(
      before.get("artifacts.artifacts")?.map(({ session_id: id }) => ids.get(id)),
    );
    await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", output]);
  });

  it("leaves no digest of a state that it hides something of", async () => {
    const states = (path: string): Data[] => recordsOf(path).get("agent_state") as Data[];
    const { state_data: data } = states(document)[0] as Data;
    const name = Object.keys(data)[0] as string;
    for (const rule of [`agent_state.state_data.${JSON.stringify(name)}=redact`, "agent_state.state_data=redact"]) {
      const output = await exported("--mask", rule);
      for (const [at, before] of states(document).entries()) {
        const after = states(output)[at] as Data;
        const text = JSON.stringify(after["state_data"]);
        const isChanged = text !== JSON.stringify(before["state_data"]);
        expect(after["checksum"] !== before["checksum"]).toBe(isChanged);
        if (rule === "agent_state.state_data=redact" && text === "{}")
          expect(after["checksum"]).toBe(createHash("sha256").update(text).digest("hex"));
      }
      await workspace.must(["storage", "import", "--database", fresh(".db"), "--input", output]);
    }
  });

  it("uses the key that the rule names, and no hash without one", async () => {
    const words = ["storage", "export", "--database", source, "--output", fresh(".json")];
    const rule = ["--mask", "artifacts.artifacts.name=hash:OTHER_KEY"];
    const { status, stderr } = await workspace.run([...words, ...rule], KEY);
    expect([status, stderr]).toEqual([2, expect.stringMatching(/OTHER_KEY.*\[E_CONFIG\]/)]);
    await workspace.must([...words, ...rule], { env: { OTHER_KEY: "k" } });
    const [first] = recordsOf(document).get("artifacts.artifacts") as [Data];
    const [masked] = recordsOf(words.at(-1) as string).get("artifacts.artifacts") as [Data];
    expect(masked).toEqual({ ...first, name: hmac(first["name"], "k") });
  });

  it.each([
    ["sessions.session_data=redact", "session_data", {}],
    ["sessions.session_data.email=redact", "session_data", { email: "[redacted]", n: null, b: true }],
    ["sessions.session_data.n=hash", "session_data", { email: "x@y.z", n: null, b: true }],
    ["sessions.session_data.b=redact", "session_data", { email: "x@y.z", n: null, b: false }],
    ["sessions.artifact_count=redact", "artifact_count", 0],
    ["sessions.expires_at=null", "expires_at", null],
    ["kv_store.value=redact", "value", ""],
    ["kv_store.tenant_id=hash", "tenant_id", hmac("acme")],
    ["kv_store.key=email", "key", `${hmac("k0").slice(0, 16)}@example.invalid`],
  ])("%s", async (rule, field, value) => {
    const [section] = rule.split(".") as [string];
    const output = await through(handmade(), ["--mask", rule]);
    const before = recordsOf(await through(handmade(), [])).get(section)?.[0] as Data;
    const sorted = recordsOf(output).get(section) as Data[];
    expect(sorted).toContainEqual({ ...before, [field]: value });
  });

  it.each([
    ["sessions.session_data", "SECTION.PATH=METHOD"],
    ["nowhere.field=redact", "artifacts.content"],
    ["sessions.nothing=redact", "session_data, status"],
    ["sessions=redact", "session_data, status"],
    ["sessions.session_data=blur", "hash:KEYENV"],
    ["sessions.session_data..x=redact", "column 22"],
    ["sessions.status=hash", "active, archived, expired"],
    ["sessions.session_id=redact", "tells records apart"],
    ["kv_store.key=redact", "tells records apart"],
    ["sessions.created_at=redact", "time"],
    ["sessions.created_at=null", "never null"],
    ["sessions.session_data=null", "never null"],
    ["sessions.status.x=redact", "nothing inside"],
    ["vector_embeddings.768.embedding=redact", "embedding"],
    ["artifacts.content.data=redact", "--exclude"],
    ["artifacts.content.storage_type=redact", "follows"],
  ])("refuses %s before it opens anything", async (rule, text) => {
    const output = fresh(".json");
    const words = ["storage", "export", "--database", "missing.db", "--output", output, "--mask", rule];
    const { status, stderr } = await workspace.run(words, KEY);
    expect([status, stderr]).toEqual([2, expect.stringContaining("[E_USAGE]")]);
    expect(stderr).toContain(text);
  });
});

it("--mask takes every field of a group of sections that has it, and elements of a text array", async () => {
  const output = await exported("--mask", "artifacts.tags[]=redact", "--mask", "artifacts.size_bytes=redact");
  const before = recordsOf(document);
  const after = recordsOf(output);
  const hidden = (records: Data[] | undefined): unknown => records?.map((record) => ({ ...record, size_bytes: 0 }));
  expect(after.get("artifacts.content")).toEqual(hidden(before.get("artifacts.content")));
  const tags = before
    .get("artifacts.artifacts")
    ?.map(({ tags: list }) => list?.map((tag: string | null) => (tag === null ? null : "[redacted]")));
  expect(tags?.flat().length).toBeGreaterThan(3);
  expect(after.get("artifacts.artifacts")?.map(({ tags: list }) => list ?? undefined)).toEqual(tags);
});

describe("several of them", () => {
  it("run in the order of the command line, of whatever sort they are", async () => {
    writeFileSync(
      workspace.path("mark.mjs"),
      `export default { name: "mark", sections: ["kv_store"],
        transform: (record) => ({ ...record, metadata: { seen: record.tenant_id } }) };`,
    );
    const seen = async (...words: string[]): Promise<string> =>
      recordsOf(await through(handmade(), ["--include", "kv_store", "--tenant", "acme", ...words])).get(
        "kv_store",
      )?.[0]?.["metadata"].seen;
    const map = ["--map-tenant", "acme=b"];
    const plugin = ["--plugin", "./mark.mjs"];
    const mask = ["--mask-optional", "kv_store.metadata.seen=redact"];
    expect(await seen(...map, ...plugin)).toBe("b");
    expect(await seen(...plugin, ...map)).toBe("acme");
    expect(await seen(...plugin, ...mask)).toBe("[redacted]");
    expect(await seen(...mask, ...plugin)).toBe("acme");
    // A program mixes them with transforms of its own.
    const order: string[] = [];
    const own = (name: string): Transform => ({
      name,
      async *apply(batches) {
        for await (const batch of batches) {
          if (batch.kind.path === "kv_store")
            order.push(`${name} ${batch.value(0, fieldIndex(batch.kind, "tenant_id"))}`);
          yield batch;
        }
      },
    });
    const transforms = [own("first"), { type: "map-tenant", from: "acme", to: "b" } as const, own("second")];
    await exportStore({ from: await databaseOf(handmade()), to: fresh(".json"), tenants: ["acme"], transforms });
    expect(order).toEqual(["first acme", "second b"]);
    expect(await seen(...map, "--map-tenant", "b=c", ...plugin, ...mask, "--map-tenant", "c=d", ...plugin)).toBe("d");
  });
});

describe("[transforms] of config.toml", () => {
  const CONFIG =
    "[transforms]\non = ['export']\nvectors = 'json'\nsteps = [{ map_tenant = 'tenant-a=b' }, { mask = 'kv_store.key=hash' }]\n";

  it("applies to the commands that it names, before the command line's, and is told", async () => {
    using own = createWorkspace();
    writeFileSync(own.path("config.toml"), CONFIG);
    const words = ["storage", "export", "--no-progress", "--database", source, "--output"];
    const { stderr } = await own.must([...words, "one.json", "--map-tenant", "b=c"], KEY);
    const settings = `Settings of this folder's ${own.path("config.toml")}`;
    expect(withoutTimes(stderr)).toBe(`${settings}: for export: map-tenant tenant-a=b; mask kv_store.key=hash\n`);
    const text = read(own.path("one.json"));
    expect(text).toContain('"tenant_id":"c"');
    expect(text).not.toMatch(/"tenant_id":"(b|tenant-a)"/);
    expect(text).toContain('"embedding":[');
    // Not to an import; the command line is stronger than the form of embeddings.
    await own.must(["storage", "import", "--database", "copy.db", "--input", document]);
    writeFileSync(own.path("config.toml"), CONFIG.replace("on = ['export']", "on = ['import']"));
    await own.must([...words, "two.json", "--vectors", "base64"]);
    expect(dataOf(own.path("two.json"))).toEqual(dataOf(document));
    const { stderr: told } = await own.must(["storage", "import", "--database", "b.db", "--input", document], KEY);
    expect(told).toContain(`${settings}: for import: `);
    const named = { ...KEY, env: { ...KEY.env, LLMSPELL_CONFIG: own.path("config.toml") } };
    const { stderr: announced } = await own.must(
      ["storage", "import", "--database", "b.db", "--input", document],
      named,
    );
    expect(announced).toContain("Transforms from");
  });

  it.each([
    ["steps = [{ mask = 'kv_store.key=hash' }]", "transforms.on"],
    ["on = ['export']\nsteps = [{ masks = 'kv_store.key=hash' }]", "transforms.steps.0"],
    ["on = ['export']\nsteps = [{ mask = 'kv_store.key=hash', jq = '.' }]", "transforms.steps.0"],
    ["on = ['export']\nsteps = [{ map_tenant = 'a' }]", "transforms.steps.0.map_tenant"],
    ["on = ['verify']\nsteps = []", "transforms.on.0"],
    ["vectors = 'text'", "transforms.vectors"],
    ["plugin_timeout_seconds = 0", "transforms.plugin_timeout_seconds"],
    ["masks = []", "masks"],
  ])("refuses %j and names the key", async (text, key) => {
    using own = createWorkspace();
    writeFileSync(own.path("config.toml"), `[transforms]\n${text}\n`);
    const { status, stderr } = await own.run(["storage", "export", "--database", source, "--output", "x.json"], KEY);
    expect([status, stderr]).toEqual([2, expect.stringContaining("[E_CONFIG]")]);
    expect(stderr).toContain(key);
  });
});
