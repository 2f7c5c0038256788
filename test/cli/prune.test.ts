/** `--prune` and `--require-empty` as users meet them: which sources may prune, what is said, what stays. */
import { readFileSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import Database from "better-sqlite3";
import pg from "pg";
import * as sqliteVec from "sqlite-vec";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  BatchBuilder,
  exportStore,
  importStore,
  type RecordBatch,
  storeInfo,
  type Transform,
} from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import * as records from "../fidelity/records.js";
import { documentText } from "../fidelity/support.js";
import { createDatabase } from "../helpers/database-templates.js";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { createTestRole, describePostgres } from "../helpers/postgres-server.js";

let workspace: Workspace;
beforeEach(() => {
  workspace = createWorkspace();
});
afterEach(() => workspace[Symbol.dispose]());

const vectorBytes = (dimension: number): Buffer => Buffer.alloc(dimension * 4, 1);
const ALL = {
  kv_store: [1, 2, 3].map((n) => records.kv(n)),
  "vector_embeddings.384": [1, 2].map((n) => records.vector(n, 384, vectorBytes(384))),
  sessions: [1, 2].map((n) => records.session(n)),
};
const LESS = {
  kv_store: ALL.kv_store.slice(0, 1),
  "vector_embeddings.384": ALL["vector_embeddings.384"].slice(0, 1),
  sessions: ALL.sessions.slice(0, 1),
};

/** A STORE text as the library takes it: names are relative to the workspace. */
const at = (store: string): string => (store.endsWith(".db") ? workspace.path(store) : store);

/** A database with the records, by way of an import in this process: what is tested are the commands that follow. */
async function fill(
  store: string,
  sections: Parameters<typeof documentText>[0],
  vectorsAs: "blob" | "vec0" = "blob",
): Promise<void> {
  await importStore({ from: Readable.from([documentText(sections)]), to: at(store), vectorsAs });
}

async function counts(store: string): Promise<Record<string, number>> {
  const { sections } = await storeInfo(at(store));
  return Object.fromEntries(sections.map(({ path, records: count }) => [path, count]));
}

const sizes = (sections: Record<string, readonly unknown[]>): Record<string, number> =>
  Object.fromEntries(Object.entries(sections).map(([path, list]) => [path, list.length]));

describe("a copy that prunes", () => {
  it.each(["blob", "vec0"] as const)("leaves in SQLite what the source has, and says what went (%s)", async (shape) => {
    await fill("source.db", LESS);
    await fill("target.db", ALL, shape);
    const migrate = ["storage", "migrate", "--from", "source.db", "--to", "target.db", "--prune"];
    const dry = await workspace.must([...migrate, "--dry-run"]);
    expect(dry.stdout).toContain("Would have pruned: 4 (vector_embeddings.384 1, kv_store 2, sessions 1)\n");
    expect(await counts("target.db")).toEqual(sizes(ALL));
    const { stdout } = await workspace.must([...migrate, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ pruned: 4, updated: 3, sections: { kv_store: { pruned: 2 } } });
    expect(await counts("target.db")).toEqual(sizes(LESS));
    const database = new Database(workspace.path("target.db"));
    sqliteVec.load(database);
    expect(database.prepare("SELECT count(*) FROM vec_embeddings_384").pluck().get()).toBe(1);
    expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    database.close();
  });

  it("tells with --digests what the target holds then", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    const migrate = "storage migrate --from source.db --to target.db --prune --digests --json".split(" ");
    const { digests, pruned } = JSON.parse((await workspace.must(migrate)).stdout);
    expect(pruned).toBe(4);
    for (const store of ["source.db", "target.db"]) {
      const { total, sections } = JSON.parse((await workspace.must(["storage", "digest", store, "--json"])).stdout);
      expect([digests.total, digests.sections]).toEqual([total, sections]);
    }
  });

  it("keeps rows that tables of others refer to", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    const database = new Database(workspace.path("target.db"));
    database.exec(`
      CREATE TABLE mine (id INTEGER PRIMARY KEY, kv TEXT REFERENCES kv_store ON DELETE CASCADE);
      INSERT INTO mine (kv) VALUES ('${records.id(2)}')`);
    const { stdout } = await workspace.must([
      "storage",
      "migrate",
      "--from",
      "source.db",
      "--to",
      "target.db",
      "--prune",
    ]);
    expect(stdout).toContain("kv_store: 1 record that the source does not have stayed");
    expect(database.prepare("SELECT key FROM kv_store ORDER BY key").pluck().all()).toEqual(["k1", "k2"]);
    expect(database.prepare("SELECT count(*) FROM mine").pluck().get()).toBe(1);
    database.close();
  });

  it("goes to one tenant's records only, as the target names it", async () => {
    const other = records.kv(8, { tenant_id: "other" });
    await fill("source.db", { kv_store: [records.kv(1), other] });
    const staged = [1, 2].map((n) => records.kv(n, { tenant_id: "staging" }));
    await fill("target.db", { kv_store: [...staged, records.kv(7), records.kv(9, { tenant_id: "other" })] });
    await workspace.must(
      "storage migrate --from source.db --to target.db --prune --tenant t --map-tenant t=staging".split(" "),
    );
    const database = new Database(workspace.path("target.db"));
    const rows = database.prepare("SELECT tenant_id || '/' || key FROM kv_store ORDER BY 1").pluck().all();
    expect(rows).toEqual(["other/k9", "staging/k1", "t/k7"]);
    database.close();
    const { status, stderr } = await workspace.run([
      ..."storage migrate --from source.db --to target.db --prune --tenant t".split(" "),
      ...["--jq", 'kv_store: .tenant_id = "staging"'],
    ]);
    expect([status, stderr]).toEqual([2, expect.stringContaining("whose are to be removed cannot be told")]);
  });
});

describe("documents that may prune", () => {
  it("are those of this tool, whole and as they were written", async () => {
    await fill("source.db", LESS);
    for (const name of ["whole.json", "whole.json.gz", "whole.json.zst"]) {
      await fill("target.db", ALL);
      await workspace.must(["storage", "export", "--database", "source.db", "--output", name]);
      await workspace.must(["storage", "import", "--database", "target.db", "--input", name, "--prune"]);
      expect(await counts("target.db")).toEqual(sizes(LESS));
    }
    await fill("target.db", ALL);
    const whole = readFileSync(workspace.path("whole.json"));
    await workspace.must(["storage", "import", "--database", "target.db", "--input", "-", "--prune"], { stdin: whole });
    expect(await counts("target.db")).toEqual(sizes(LESS));
  });

  it("are none that hold a part, and these say so behind their data", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    writeFileSync(workspace.path("bad.json"), documentText({ kv_store: [records.kv(1)] }));
    const parts: [string[], string][] = [
      [["--include", "kv_store"], "sections"],
      [["--exclude", "event_log"], "sections"],
      [["--tenant", "t"], "tenants"],
      [["--tenant", "t", "--digests"], "tenants"],
      [["--limit", "5"], "limit"],
      [["--jq", "kv_store: select(false)"], "dropped"],
    ];
    for (const [flags, word] of parts) {
      await workspace.must(["storage", "export", "--database", "source.db", "--output", "part.json", ...flags]);
      const text = readFileSync(workspace.path("part.json"), "utf8");
      expect(text).toContain(`\n},\n"partial":["${word}"],\n"manifest":{`);
      const importing = ["storage", "import", "--database", "target.db", "--input", "part.json"];
      const { status, stderr } = await workspace.run([...importing, "--prune"]);
      expect([status, stderr]).toEqual([2, expect.stringContaining(`without all records ("${word}")`)]);
      expect(await counts("target.db")).toEqual(sizes(ALL));
      // Without --prune it is a document like others.
      const merged = await workspace.must([...importing, "--no-progress"]);
      expect(merged.stderr).toBe("");
    }
    const database = new Database(workspace.path("source.db"));
    database.exec("UPDATE kv_store SET metadata = 'no json'");
    database.close();
    const rejecting = await workspace.run(
      "storage export --database source.db --output part.json --on-error skip".split(" "),
    );
    expect(rejecting.status).toBe(6);
    expect(readFileSync(workspace.path("part.json"), "utf8")).toContain('"partial":["rejected"]');
  });

  it("are none of another making, nor of a version that did not tell, nor changed ones", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    await workspace.must(["storage", "export", "--database", "source.db", "--output", "whole.json"]);
    const whole = readFileSync(workspace.path("whole.json"), "utf8");
    const others: [string, string][] = [
      [documentText(LESS), "as it was written"],
      [JSON.stringify(JSON.parse(whole)), "as it was written"],
      [whole.replace(/llmspell-storage\/[\d.]+/, "llmspell-storage/0.1.0"), "does not say so of its documents"],
      [whole.replace(/llmspell-storage\/[\d.]+/, "other/1.0.0"), "does not say so of its documents"],
    ];
    for (const [text, why] of others) {
      writeFileSync(workspace.path("other.json"), text);
      const importing = ["storage", "import", "--database", "target.db", "--input", "other.json", "--prune"];
      const { status, stderr } = await workspace.run(importing);
      expect([status, stderr]).toEqual([2, expect.stringContaining(why)]);
    }
    writeFileSync(workspace.path("other.json"), whole.replace('"key":"k1"', '"key":"k9"'));
    const changed = await workspace.run("storage import --database target.db --input other.json --prune".split(" "));
    expect([changed.status, changed.stderr]).toEqual([4, expect.stringContaining("E_DOCUMENT_MANIFEST")]);
    expect(await counts("target.db")).toEqual(sizes(ALL));
  });

  it("are the same, byte for byte, as without the option, where they are whole", async () => {
    await fill("source.db", LESS);
    await workspace.must(["storage", "export", "--database", "source.db", "--output", "whole.json"]);
    const text = readFileSync(workspace.path("whole.json"), "utf8");
    expect(text).not.toContain("partial");
    expect(text.split("\n").slice(-8, -6)).not.toContain("partial");
  });
});

describe("what does not go together", () => {
  it.each([
    ["--prune --limit 3", "prune does not go with a limit"],
    ["--prune --source-check none", "prune does not go with --source-check none"],
    ["--prune --no-verify-manifest", "prune does not go with --no-verify-manifest"],
    ["--allow-empty", "--allow-empty says something of a --prune only"],
  ])("%s", async (flags, message) => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    const { status, stderr } = await workspace.run(
      `storage migrate --from source.db --to target.db ${flags}`.split(" "),
    );
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
    expect(await counts("target.db")).toEqual(sizes(ALL));
  });

  it("steps that drop records", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    const migrate = "storage migrate --from source.db --to target.db --prune --jq".split(" ");
    const { status, stderr } = await workspace.run([...migrate, 'kv_store: select(.key != "k1")']);
    expect([status, stderr]).toEqual([2, expect.stringContaining("the steps drop records")]);
    expect(await counts("target.db")).toEqual(sizes(ALL));
    // What the one drops, the other adds.
    const adding = [`kv_store: ., (.kv_id = "${records.id(77)}" | .key = "new")`];
    for (const drop of ['kv_store: select(.key != "k1")', `sessions: select(.session_id != "${records.id(1)}")`]) {
      const other = await workspace.run([...migrate, drop, "--jq", ...adding]);
      expect([other.status, other.stderr]).toEqual([2, expect.stringContaining("the steps drop records")]);
    }
    expect(await counts("target.db")).toEqual(sizes(ALL));
    await workspace.must([...migrate, 'kv_store: select(.key != "k9")']);
    expect(await counts("target.db")).toEqual(sizes(LESS));
  });

  it.each([
    ["returns others", "[{ ...records[0], kv_id, key: 'new' }, ...records.slice(1)]"],
    ["changes the array that it got", "records.splice(0, 1, { ...records[0], kv_id, key: 'new' }), records"],
  ])("a plugin of batches that drops a record and makes another: it %s", async (_, body) => {
    await fill("source.db", { kv_store: ALL.kv_store });
    await fill("target.db", ALL);
    const plugin = (name: string, result: string): void =>
      writeFileSync(
        workspace.path(name),
        `const kv_id = "${records.id(77)}";
         export default { name: "p", sections: ["kv_store"], batch: true, transform: (records) => (${result}) };`,
      );
    plugin("swap.mjs", body);
    const migrate = "storage migrate --from source.db --to target.db --prune --plugin".split(" ");
    const { status, stderr } = await workspace.run([...migrate, "./swap.mjs"]);
    expect([status, stderr]).toEqual([2, expect.stringContaining("the steps drop records, 1 or more")]);
    expect(await counts("target.db")).toEqual(sizes(ALL));
    plugin("keep.mjs", "records.map((record) => ({ ...record, key: record.key.toUpperCase() }))");
    await workspace.must([...migrate, "./keep.mjs"]);
    expect(await counts("target.db")).toEqual(sizes(ALL));
  });

  it("a program's step that does not say whether it drops records, and one that says it wrongly", async () => {
    await fill("source.db", LESS);
    await fill("target.db", ALL);
    const [from, to] = [workspace.path("source.db"), workspace.path("target.db")];
    const passing: Transform = { name: "mine", apply: (batches) => batches };
    const prune = (...transforms: Transform[]): Promise<unknown> => importStore({ from, to, prune: true, transforms });
    const refused = await failureOf(prune(passing));
    expect([refused.code, refused.message]).toEqual(["E_USAGE", expect.stringContaining("the step mine does not say")]);
    // It says that it keeps what it gets, and gives the records of one section for those of another.
    const swapping: Transform = {
      name: "swap",
      mayDrop: () => false,
      async *apply(batches) {
        for await (const batch of batches) {
          if (batch.kind.path === "sessions") continue;
          yield batch;
          if (batch.kind.path === "kv_store") yield renamed(batch);
        }
      },
    };
    const telling: Transform = {
      name: "tell",
      tellsDrops: true,
      async *apply(batches, { dropped }) {
        for await (const batch of batches)
          if (batch.kind.path !== "kv_store") yield batch;
          else {
            dropped?.(batch, 0);
            yield renamed(batch);
          }
      },
    };
    for (const step of [swapping, telling]) {
      const error = await failureOf(prune(step));
      expect([error.code, error.message]).toEqual(["E_USAGE", expect.stringContaining("the steps drop records, 1")]);
    }
    expect(await counts("target.db")).toEqual(sizes(ALL));
    // A document is no whole one, either.
    for (const [step, holds] of [
      [passing, true],
      [swapping, true],
      [{ ...passing, mayDrop: () => false }, false],
      [{ ...passing, tellsDrops: true }, false],
    ] as const) {
      const { notes } = await exportStore({ from, to: workspace.path("step.json"), transforms: [step] });
      // What is known to be missing needs no such line.
      expect(notes).toEqual(
        step === passing ? [expect.stringContaining(`the step ${step.name} does not say whether`)] : [],
      );
      expect(readFileSync(workspace.path("step.json"), "utf8").includes('"partial":["dropped"]')).toBe(holds);
    }
    await prune({ ...passing, mayDrop: () => false }, { ...passing, tellsDrops: true });
    expect(await counts("target.db")).toEqual(sizes(LESS));
  });
});

/** The batch's records with another id and key. */
function renamed(batch: RecordBatch): RecordBatch {
  const builder = new BatchBuilder(batch.kind);
  for (let row = 0; row < batch.rows; row++) {
    builder.begin();
    for (const [field, { name }] of batch.kind.fields.entries()) {
      if (batch.isNull(row, field)) continue;
      const value = Buffer.from(batch.value(row, field));
      if (name === "kv_id" || name === "key") value[0] = (value[0] as number) ^ 1;
      const start = builder.arena.length;
      builder.arena.copy(value, 0, value.length);
      builder.set(field, start);
    }
    builder.commit();
  }
  return builder.take();
}

it("refuses a target that is not empty, with what it has", async () => {
  await fill("source.db", LESS);
  const migrate = "storage migrate --from source.db --to target.db --require-empty".split(" ");
  await workspace.must(migrate);
  const { status, stderr } = await workspace.run(migrate);
  expect(status).toBe(5);
  expect(stderr).toContain("Error: the target has records already [E_NOT_EMPTY]");
  expect(stderr).toContain("Caused by: vector_embeddings.384 1, kv_store 1, sessions 1\n");
  await workspace.must([...migrate, "--include", "event_log"]);
  await workspace.must([...migrate, "--tenant", "nobody", "--include", "kv_store"]);
});

describePostgres("in PostgreSQL", () => {
  it("large objects go with their rows, and rows that others refer to stay", async () => {
    await using database = await createDatabase("migrated");
    const large = records.content("a".repeat(64), Buffer.alloc(records.MIB, 1));
    const kept = records.content("b".repeat(64), Buffer.alloc(records.MIB, 2));
    await fill(database.url, { "artifacts.content": [large, kept], ...ALL });
    await fill("source.db", { "artifacts.content": [kept], ...LESS });
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query(`
        CREATE TABLE public.mine (kv uuid REFERENCES llmspell.kv_store ON DELETE CASCADE);
        INSERT INTO public.mine VALUES ('${records.id(2)}')`);
      const migrate = ["storage", "migrate", "--from", "source.db", "--to", database.url, "--prune"];
      const { stdout } = await workspace.must(migrate);
      expect(stdout).toContain("Pruned: 4 (vector_embeddings.384 1, kv_store 1, sessions 1, artifacts.content 1)");
      expect(stdout).toContain("kv_store: 1 record that the source does not have stayed");
      const objects = await client.query("SELECT count(*)::int AS n FROM pg_largeobject_metadata");
      expect(objects.rows[0].n).toBe(1);
      const left = await client.query("SELECT key FROM llmspell.kv_store ORDER BY key");
      expect(left.rows.map(({ key }) => key)).toEqual(["k1", "k2"]);
    } finally {
      await client.end();
    }
  });

  it("a role that sees one tenant prunes that tenant's", async () => {
    await using database = await createDatabase("migrated");
    const theirs = records.kv(5, { tenant_id: "other" });
    await fill(database.url, { kv_store: [...ALL.kv_store, theirs] });
    await using role = await createTestRole(database, { attributes: "NOSUPERUSER NOBYPASSRLS" });
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(`
      GRANT SET ON PARAMETER session_replication_role TO ${role.name};
      GRANT USAGE ON SCHEMA llmspell TO ${role.name};
      GRANT ALL ON ALL TABLES IN SCHEMA llmspell TO ${role.name}`);
    const rows = await client.query("SELECT relrowsecurity FROM pg_class WHERE oid = 'llmspell.kv_store'::regclass");
    expect(rows.rows[0].relrowsecurity).toBe(true);
    await fill("source.db", { kv_store: [records.kv(1)] });
    await workspace.must(["storage", "migrate", "--from", "source.db", "--to", role.url, "--prune", "--tenant", "t"]);
    const left = await client.query("SELECT key FROM llmspell.kv_store ORDER BY key");
    expect(left.rows.map(({ key }) => key)).toEqual(["k1", "k5"]);
    await client.query(`REVOKE SET ON PARAMETER session_replication_role FROM ${role.name}`);
    await client.end();
  });
});

it("is the library's, too", async () => {
  await fill("source.db", LESS);
  await fill("target.db", ALL);
  const [from, to] = [workspace.path("source.db"), workspace.path("target.db")];
  const error = await failureOf(importStore({ from, to, requireEmpty: true }));
  expect([error.code, error.exitStatus]).toEqual(["E_NOT_EMPTY", 5]);
  const result = await importStore({ from, to, prune: true });
  expect(result.totals).toMatchObject({ pruned: 4, updated: 3 });
  const plain = await importStore({ from, to });
  expect(plain.totals).not.toHaveProperty("pruned");
});
