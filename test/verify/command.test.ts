/** `storage verify` as a user runs it, and verifyStores as a program does. */
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RecordKind } from "../../src/catalog/index.js";
import { exportStore, importStore, type Progress, StorageError, verifyStores } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { createWorkspace } from "../helpers/llmspell.js";
import { verified } from "./changes.js";
import { keyText, makeSections, type Sections, type Tokens, updateOf, uuid, writeDocument } from "./records.js";

const workspace = createWorkspace();
afterAll(() => workspace[Symbol.dispose]());
const path = (name: string): string => workspace.path(name);
const kindOf = (section: string): RecordKind => catalog.byPath.get(section) as RecordKind;
const sections = makeSections(() => 4);
const recordOf = (section: string, n: number): Tokens => sections.get(section)?.[n] as Tokens;

const original = path("original.json");
const copy = path("copy.db");

/** A copy of the database with statements run in it. */
function copyWith(name: string, ...sql: readonly string[]): string {
  copyFileSync(copy, path(name));
  const database = new Database(path(name));
  try {
    database.pragma("foreign_keys = OFF");
    for (const each of sql) database.prepare(each).run();
  } finally {
    database.close();
  }
  return path(name);
}

function document(name: string, records: Sections, change?: (text: string) => string): string {
  writeDocument(path(name), records);
  if (change !== undefined) writeFileSync(path(name), change(readFileSync(path(name), "utf8")));
  return path(name);
}

async function refusal(run: Promise<unknown>): Promise<StorageError> {
  const error = await run.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

beforeAll(async () => {
  recordOf("sessions", 1)["session_data"] = '{"email":"ann@example.com","secret":"xyzzy"}';
  writeDocument(path("raw.json"), sections);
  await importStore({ from: path("raw.json"), to: copy });
  await exportStore({ from: copy, to: original });
});

describe("the command", () => {
  it("says that stores are identical, and ends with 0", async () => {
    const { status, stdout, stderr } = await workspace.run([
      ...["storage", "verify", "original.json", "copy.db", "--no-progress"],
    ]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("  sessions: 4 identical\n");
    expect(stdout).toMatch(/✅ Identical: 60 records\n$/);
    expect((await workspace.run(["storage", "verify", "original.json", "copy.db", "--quiet"])).stdout).toBe("");
  });

  it("says nothing of sections that nobody asked for and neither store has", async () => {
    const some = new Map([...sections].filter(([section]) => section === "sessions"));
    const [a, b] = [document("few.json", some), document("few-too.json", some)];
    const { status, stderr } = await workspace.run(["storage", "verify", a, b]);
    expect([status, stderr.match(/no record of the section/g)]).toEqual([0, null]);
    const asked = await workspace.run(["storage", "verify", a, b, "--include", "sessions", "--include", "event_log"]);
    expect(asked.stderr).toContain("A: no record of the section event_log was found");
  });

  it("names what differs without its values, and ends with 7", async () => {
    copyWith(
      "other.db",
      updateOf(
        kindOf("sessions"),
        recordOf("sessions", 1),
        "session_data",
        '{"email":"bob@example.com","secret":"xyzzy"}',
        "sqlite",
      ),
    );
    const key = keyText(kindOf("sessions"), recordOf("sessions", 1));
    const command = [
      "storage",
      "verify",
      "original.json",
      "other.db",
      "--no-progress",
      "--differences",
      "differences.ndjson",
    ];
    const { status, stdout, stderr } = await workspace.run(command);
    expect(status).toBe(7);
    expect(stdout).toContain(`  sessions: 3 identical, 1 different\n`);
    expect(stdout).toContain(`  sessions, ${key}: different (session_data)\n`);
    expect(stderr).toBe(
      [
        "Error: the stores differ: 1 record [E_DIFFERENT]",
        `  at section sessions, record ${key}, field session_data`,
        "Caused by: it is different",
        "Hint: They are in differences.ndjson, one per line.",
        "",
      ].join("\n"),
    );
    const lines = readFileSync(path("differences.ndjson"), "utf8");
    expect(lines).toBe(`{"section":"sessions","key":"${key}","difference":"different","fields":["session_data"]}\n`);
    expect(statSync(path("differences.ndjson")).mode & 0o777).toBe(0o600);
    expect(stdout + stderr + lines).not.toMatch(/xyzzy|example/);

    const shown = await workspace.run([...command, "--show-values", "--json"]);
    expect(shown.status).toBe(7);
    const result = JSON.parse(shown.stdout) as Record<string, never>;
    expect(result).toMatchObject({
      equal: false,
      identical: false,
      sections: { sessions: { identical: 3, different: 1, fields: { session_data: 1 } } },
      error: { code: "E_DIFFERENT", exitStatus: 7, section: "sessions", key, field: "session_data" },
    });
    const [values] = readFileSync(path("differences.ndjson"), "utf8")
      .split("\n")
      .map((line) => (line === "" ? {} : JSON.parse(line).values));
    expect(values).toEqual({
      session_data: {
        a: '{"email":"ann@example.com","secret":"xyzzy"}',
        b: '{"email":"bob@example.com","secret":"xyzzy"}',
      },
    });
  });

  it("reads standard input, compressed or not, on either side", async () => {
    const stdin = gzipSync(readFileSync(original));
    expect((await workspace.run(["storage", "verify", "-", "copy.db"], { stdin })).status).toBe(0);
    expect((await workspace.run(["storage", "verify", "copy.db", "-"], { stdin })).status).toBe(0);
  });

  it("reads what a shell makes of <(COMMAND), on both sides", async () => {
    const { stdout } = await workspace.bash("llmspell storage verify <(gzip -c original.json) <(cat original.json)");
    expect(stdout).toMatch(/✅ Identical: 60 records\n$/);
    await workspace.bash("llmspell storage verify copy.db <(cat original.json)");
    const searched = await workspace
      .bash("llmspell storage verify copy.db <(cat original.json) --search 2 2>&1 || true")
      .then(({ stdout: text }) => text);
    expect(searched).toContain("searches read the stores again");
  });

  it("names the first of many findings in the error, and all of them in the lines", async () => {
    const database = new Database(copyWith("no-indexes.db"));
    const names = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND sql NOT LIKE '%UNIQUE%'")
      .pluck()
      .all() as string[];
    for (const name of names) database.exec(`DROP INDEX "${name}"`);
    database.close();
    const { status, stdout, stderr } = await workspace.run(["storage", "verify", "copy.db", "no-indexes.db"]);
    expect(status).toBe(7);
    expect(stdout.match(/^ {2}B: index .* is missing/gm)?.length).toBeGreaterThan(3);
    expect(stderr).toMatch(/^Caused by: B: index [^;]*; B: index [^;]*; B: index [^;]*; and \d+ more$/m);
  });

  it("refuses what would prove nothing, or overwrite a store", async () => {
    const usage = async (...words: string[]): Promise<string> => {
      const { status, stderr } = await workspace.run(["storage", "verify", ...words], { stdin: "" });
      expect([words, status]).toEqual([words, 2]);
      return stderr.split("\n")[0] as string;
    };
    expect(await usage("copy.db", "./copy.db")).toContain("A and B are the same store");
    expect(await usage("-", "-")).toContain("both stores are standard input");
    expect(await usage("original.json")).toContain("missing required argument");
    expect(await usage("original.json", "copy.db", "--seed", "1")).toContain("--seed needs --sample");
    expect(await usage("original.json", "copy.db", "--differences", "original.json")).toContain(
      "--differences names a file",
    );
    expect(await usage("original.json", "copy.db", "--differences", "-")).toContain("names standard output");
    expect(
      await usage(
        "original.json",
        "copy.db",
        "--exclude",
        ...catalog.kinds.flatMap(({ path: each }) => ["--exclude", each]).slice(1),
      ),
    ).toContain("no section is left");
    const missing = await workspace.run(["storage", "verify", "original.json", "missing.db"]);
    expect([missing.status, existsSync(path("missing.db"))]).toEqual([3, false]);
  });
});

describe("transforms of A", () => {
  it("do not come from config.toml, which is said", async () => {
    const config = '[transforms]\non = ["export"]\n[[transforms.steps]]\nmask = "sessions.session_data.email=redact"\n';
    writeFileSync(path("steps.toml"), config);
    const env = { LLMSPELL_CONFIG: path("steps.toml") };
    for (const words of [
      ["verify", "original.json", "copy.db"],
      ["digest", "copy.db"],
    ]) {
      const { status, stderr } = await workspace.run(["storage", ...words], { env });
      expect(status).toBe(0);
      expect(stderr).toMatch(
        /Not applied: the transforms of .*steps.toml, which are for export: mask sessions.session_data.email=redact\n/,
      );
    }
  });

  it("is no proof of a tenant that neither store has", async () => {
    const misspelt = await workspace.run(["storage", "verify", "original.json", "copy.db", "--tenant", "acmee"]);
    expect(misspelt.status).toBe(2);
    expect(misspelt.stderr).toContain('neither store has a record of the tenant "acmee" [E_NO_EFFECT]');
    const mapped = await refusal(
      verifyStores({
        a: original,
        b: copy,
        tenants: ["acme", "other"],
        transforms: [{ type: "map-tenant", from: "other", to: "acme" }],
      }),
    ).catch(() => undefined);
    expect(mapped).toBeUndefined();
    const one = await refusal(verifyStores({ a: original, b: copy, tenants: ["acme", "nobody"] }));
    expect([one.code, one.message]).toEqual(["E_NO_EFFECT", 'neither store has a record of the tenant "nobody"']);
  });

  it("let a masked, mapped or partial copy be verified", async () => {
    const mask = ["--mask", "sessions.session_data.email=redact"];
    const map = ["--map-tenant", "acme=zeta"];
    const some = ["--tenant", "acme", "--include", "sessions", "--include", "artifacts"];
    await workspace.must([
      "storage",
      "migrate",
      "--from",
      "copy.db",
      "--to",
      "changed.db",
      "--no-progress",
      ...some,
      ...mask,
      ...map,
    ]);
    expect((await workspace.run(["storage", "verify", "copy.db", "changed.db", ...some, ...mask, ...map])).status).toBe(
      0,
    );
    // Without one of them it is another.
    const unmasked = await workspace.run(["storage", "verify", "copy.db", "changed.db", ...some, ...map]);
    expect(unmasked.status).toBe(7);
    expect(unmasked.stdout).toContain("  sessions: 3 identical, 1 different\n");
    const unmapped = await workspace.run(["storage", "verify", "copy.db", "changed.db", ...some.slice(2), ...mask]);
    expect(unmapped.status).toBe(7);
    expect(unmapped.stdout).toContain("  sessions: 0 identical, 4 only in A, 4 only in B\n");
    const whole = await workspace.run(["storage", "verify", "copy.db", "changed.db", ...mask, ...map]);
    expect(whole.status).toBe(7);
    expect(whole.stdout).toContain("  kv_store: 0 identical, 4 only in A\n");
  });

  it("count where --mask-optional is the only one", async () => {
    const mask = ["--include", "sessions", "--mask-optional", "sessions.session_data.email=redact"];
    await workspace.must(["storage", "export", "--database", "copy.db", "--output", "hidden.json", ...mask]);
    const hidden = await workspace.run(["storage", "verify", "copy.db", "hidden.json", ...mask]);
    expect(hidden.stdout).toContain("  sessions: 4 identical\n");
    const bare = await workspace.run(["storage", "verify", "copy.db", "original.json", ...mask]);
    expect(bare.status).toBe(7);
    expect(bare.stdout).toContain("  sessions: 3 identical, 1 different\n");
  });

  it("may give keys in another order", async () => {
    // The tenants' records change places.
    const records = new Map(
      [...sections].map(([section, each]) => [
        section,
        [...each, ...each.map((record) => ({ ...record, ...otherTenant(section, record) }))],
      ]),
    );
    const a = document("two-tenants.json", records);
    const transforms = [
      { type: "map-tenant", from: "acme", to: "zeta" },
      { type: "jq", expression: '.data.sessions[].status |= "expired"' },
    ] as const;
    await importStore({ from: a, to: path("swapped.db"), transforms });
    for (const include of [[], ["sessions"]]) {
      const { result, lines } = await verified({ a, b: path("swapped.db"), transforms, include });
      expect(lines).toEqual([]);
      expect(result).toMatchObject({ equal: true, identical: true });
    }
    const { lines } = await verified({
      a,
      b: path("swapped.db"),
      transforms: transforms.slice(0, 1),
      include: ["sessions", "kv_store"],
    });
    expect(lines.length).toBe(8);
    expect(lines.every((line) => line.startsWith("sessions | ") && line.endsWith(" | different | status"))).toBe(true);
  });
});

/** The fields that make another record of one. */
function otherTenant(section: string, record: Tokens): Tokens {
  const kind = kindOf(section);
  const ids = ["id", "entity_id", "relationship_id", "pattern_id", "state_id", "kv_id", "event_id", "execution_id"];
  const id = ids.find((name) => kind.fields.some((field) => field.name === name));
  return {
    tenant_id: '"mu"',
    ...(id === undefined ? {} : { [id]: `${record[id]}`.replace('"0000', '"f000') }),
  };
}

describe("levels", () => {
  it("tells identical from equal by meaning; --strict asks for the former", async () => {
    const b = document("spelled.json", sections, (text) => text.replaceAll('{"n":2}', '{ "n" : 2.0e0, "n":2}'));
    const { result, lines } = await verified({ a: original, b });
    expect(lines).toEqual([]);
    expect(result).toMatchObject({ equal: true, identical: false });
    const strict = await verified({ a: original, b, strict: true });
    expect(strict.result).toMatchObject({ equal: false, identical: false });
    expect(strict.lines).toContain(
      `kv_store | ${keyText(kindOf("kv_store"), recordOf("kv_store", 2))} | meaning | metadata`,
    );
    expect(strict.lines.every((line) => line.includes(" | meaning | "))).toBe(true);
    expect((await workspace.run(["storage", "verify", original, b])).stdout).toMatch(
      /✅ Equal by meaning: 60 records\n$/,
    );
    expect((await workspace.run(["storage", "verify", original, b, "--strict"])).status).toBe(7);
  });

  it("does not compare what one document does not hold, and says so", async () => {
    const legacy = readFileSync("test/golden/legacy-0.14.json", "utf8");
    writeFileSync(path("legacy.json"), legacy);
    await importStore({ from: path("legacy.json"), to: path("legacy.db") });
    const { result, lines } = await verified({ a: path("legacy.json"), b: path("legacy.db") });
    expect(lines).toEqual([]);
    expect(result.equal).toBe(true);
    const hooks = result.sections.find((section) => section.path === "hook_history");
    expect(hooks?.notHeld).toContain("triggering_component");
    expect(hooks).toMatchObject({ identical: 0, onlyInA: 0, different: 0 });
  });
});

describe("records that cannot be read", () => {
  it("are named, and never 0", async () => {
    const bad = copyWith(
      "bad.db",
      `UPDATE hook_history SET duration_ms = 'long' WHERE execution_id = '${uuid("hook_history", 2)}'`,
    );
    const key = keyText(kindOf("hook_history"), recordOf("hook_history", 2));
    for (const [a, b, side] of [
      [original, bad, "B"],
      [bad, original, "A"],
      [
        bad,
        copyWith(
          "bad-too.db",
          `UPDATE hook_history SET duration_ms = 'long' WHERE execution_id = '${uuid("hook_history", 2)}'`,
        ),
        "A",
      ],
    ] as const) {
      const { result, differences } = await verified({ a, b });
      expect(differences).toContainEqual({
        section: "hook_history",
        key,
        difference: `unreadableIn${side}`,
        code: "E_FIELD_TYPE",
        field: "duration_ms",
      });
      expect(differences.filter(({ difference }) => !difference.startsWith("unreadable"))).toEqual([]);
      expect(result.equal).toBe(false);
    }
    const { status, stdout } = await workspace.run(["storage", "verify", original, bad]);
    expect(status).toBe(7);
    expect(stdout).toContain(`  hook_history, ${key}: unreadable in B (E_FIELD_TYPE, duration_ms)\n`);
  });
});

describe("what records say of each other", () => {
  it.each([["sessions"], ["artifacts"]])("is not said where %s cannot be read", async (table) => {
    const unread = copyWith(`unread-${table}.db`, `UPDATE ${table} SET updated_at = 'late'`);
    const { result } = await verified({ a: copy, b: unread });
    expect(result.sections.map(({ unreadableInB }) => unreadableInB).filter((count) => count > 0)).toEqual([4]);
    expect(result).toMatchObject({ equal: false, findings: [] });
  });

  it("orphans and counters count where A does not have them, or with strict", async () => {
    const session = recordOf("sessions", 3);
    const orphaned = copyWith(
      "orphaned.db",
      `DELETE FROM sessions WHERE session_id = ${`${session["session_id"]}`.replaceAll('"', "'")}`,
      "UPDATE artifact_content SET reference_count = 7 WHERE content_hash = 'hash-0002'",
    );
    const { result } = await verified({ a: copy, b: orphaned });
    expect(result.findings).toEqual([
      {
        store: "b",
        check: "counters",
        object: "artifacts.content.reference_count",
        count: 1,
        message:
          "reference_count of 1 artifact content is not the number of their artifacts, first: tenant_id=acme, content_hash=hash-0002 says 7, and has 1",
        counts: true,
      },
      {
        store: "b",
        check: "orphans",
        object: "artifacts.artifacts -> sessions",
        count: 1,
        message: expect.stringMatching(/^1 artifact without session, first: tenant_id=acme, artifact_id=/),
        counts: true,
      },
    ]);
    copyFileSync(orphaned, path("orphaned-too.db"));
    const same = await verified({ a: orphaned, b: path("orphaned-too.db") });
    expect(same.result.equal).toBe(true);
    expect(same.result.findings.map(({ store, counts }) => [store, counts])).toEqual([
      ["a", false],
      ["a", false],
      ["b", false],
      ["b", false],
    ]);
    expect((await verified({ a: orphaned, b: path("orphaned-too.db"), strict: true })).result.equal).toBe(false);
    const strict = await workspace.run(["storage", "verify", "orphaned.db", "orphaned-too.db", "--strict"]);
    expect(strict.stderr).toContain("the stores hold the same records, but have 4 findings [E_DIFFERENT]");
    expect(strict.stderr).not.toContain("--differences");
    // Without the kinds that it takes nothing is said.
    expect((await verified({ a: copy, b: orphaned, include: ["artifacts.artifacts"] })).result).toMatchObject({
      equal: true,
      findings: [],
    });
  });

  it("an index that is gone", async () => {
    const b = copyWith("no-index.db", "DROP INDEX idx_sessions_status");
    const { result, lines } = await verified({ a: copy, b });
    expect(lines).toEqual([]);
    expect(result.equal).toBe(false);
    expect(result.findings).toMatchObject([
      { store: "b", check: "schema", object: expect.stringContaining("idx_sessions_status"), counts: true },
    ]);
    const text = await workspace.run(["storage", "verify", "copy.db", "no-index.db"]);
    expect(text.status).toBe(7);
    expect(text.stderr).toContain("idx_sessions_status");
  });
});

describe("samples", () => {
  it("the seed chooses the records, the same in every store and order", async () => {
    const many = makeSections(() => 50);
    const a = document("many.json", many);
    const b = document(
      "many-reversed.json",
      new Map([...many].reverse().map(([section, records]) => [section, records.toReversed()])),
    );
    const sampled = await verified({ a, b, sample: 7, seed: "one" });
    expect(sampled.result).toMatchObject({ equal: true, identical: true, sample: { size: 7, seed: "one" } });
    expect(new Set(sampled.result.sections.map(({ identical }) => identical))).toEqual(new Set([7]));
    // Every record differs: what is told is the sample.
    const changed = document(
      "many-changed.json",
      new Map(
        [...many].map(([section, records]) => [section, records.map((record) => ({ ...record, tenant_id: '"beta"' }))]),
      ),
    );
    const told = async (seed: string): Promise<readonly string[]> =>
      (await verified({ a, b: changed, sample: 7, seed, include: ["kv_store"] })).lines;
    expect((await told("one")).length).toBe(7);
    expect(await told("one")).toEqual(await told("one"));
    expect(await told("two")).not.toEqual(await told("one"));
  });

  it("prints a seed of its own", async () => {
    const { status, stdout } = await workspace.run(["storage", "verify", "original.json", "copy.db", "--sample", "2"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Sample: 2 records of each section, --seed [0-9a-f]{8}$/m);
    expect(stdout).toContain("  sessions: 2 identical\n");
    expect(stdout).toMatch(/^Versions: A records of sqlite, schema V1 to V13; B SQLite [\d.]+, schema V1 to V13$/m);
    expect(stdout).toMatch(/^Time: .*Z to .*Z, \d+\.\d s, [\d,]+ records\/s$/m);
    expect(stdout).toMatch(/✅ Identical in the sample: \d+ records\n$/);
  });
});

describe("verifyStores", () => {
  it("refuses unknown options, and a sample that is none", async () => {
    const unknown = await refusal(verifyStores({ a: original, b: copy, tenant: "acme" } as never));
    expect([unknown.code, unknown.message]).toEqual(["E_USAGE", "verifyStores has no option tenant"]);
    expect((await refusal(verifyStores({ a: original, b: copy, sample: 0 }))).code).toBe("E_USAGE");
  });

  it("tells of its phases, and of searches that had nothing to search for", async () => {
    const phases: string[] = [];
    const warnings: string[] = [];
    const told = {
      onProgress: ({ phase }: Progress) => phases.push(phase),
      onWarning: (text: string) => warnings.push(text),
    };
    await verifyStores({ a: original, b: copy, search: 2, ...told });
    // Nothing is merged, and no foreign key is checked for a target.
    expect([...new Set(phases)]).toEqual(["connecting", "planning", "rows", "comparing", "searching"]);
    expect(warnings).toEqual([]);
    await verifyStores({ a: original, b: copy, search: 2, include: ["sessions"], ...told });
    expect(warnings).toEqual(["no embedding was found to search for"]);
  });

  it("ends with the signal, and with what is wrong in a store", async () => {
    const controller = new AbortController();
    const run = verifyStores({ a: original, b: copy, signal: controller.signal, onProgress: () => controller.abort() });
    expect((await refusal(run)).code).toBe("E_INTERRUPTED");
    writeFileSync(path("cut.json"), readFileSync(original).subarray(0, -100_000));
    for (const [a, b, side] of [
      [original, path("cut.json"), "B"],
      [path("cut.json"), original, "A"],
      [copy, path("cut.json"), "B"],
    ] as const) {
      const { code, message } = await refusal(verifyStores({ a, b }));
      expect([code, message]).toEqual(["E_DOCUMENT_TRUNCATED", `${side}: Failed to parse export JSON`]);
    }
    expect((await refusal(verifyStores({ a: path("none.db"), b: path("cut.json") }))).code).toBe("E_STORE_NOT_FOUND");
  });
});
