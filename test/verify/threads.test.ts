/** verify with a thread per store: whatever there is to say of two stores, it is what one thread says. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  importStore,
  migrateDatabase,
  type StorageError,
  type VerifyOptions,
  type VerifyResult,
} from "../../src/index.js";
import { builtLibrary, createWorkspace, outcomeOf } from "../helpers/llmspell.js";
import { createTestDatabase, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";
import { contentOf, MIB, makeSections, writeDocument } from "./records.js";

const workspace = createWorkspace();
afterAll(() => workspace[Symbol.dispose]());
const path = (name: string): string => workspace.path(name);
const library: typeof import("../../src/index.js") = await import(builtLibrary());

interface Outcome {
  readonly result?: Omit<VerifyResult, "started" | "ended" | "seconds">;
  readonly error?: Pick<StorageError, "code" | "message" | "context">;
  readonly warnings: readonly string[];
  readonly differences: readonly string[];
}

async function outcome(options: VerifyOptions): Promise<Outcome> {
  const warnings: string[] = [];
  const chunks: Buffer[] = [];
  const run = library.verifyStores({
    ...options,
    onWarning: (message) => warnings.push(message),
    onDifferences: (chunk) => void chunks.push(Buffer.from(chunk)),
  });
  const told = await run.then(
    ({ started: _started, ended: _ended, seconds: _seconds, ...result }) => ({ result }),
    ({ code, message, context }: StorageError) => ({ error: { code, message, context } }),
  );
  const differences = Buffer.concat(chunks).toString("utf8").split("\n").sort();
  return { ...told, warnings: warnings.sort(), differences };
}

/** What both ways say, which is the same. */
async function both(options: VerifyOptions): Promise<Outcome> {
  const [one, two] = [await outcome({ ...options, jobs: 1 }), await outcome({ ...options, jobs: 2 })];
  expect(two).toEqual(one);
  return two;
}

function change(from: string, to: string, ...statements: string[]): string {
  const database = new Database(path(from));
  database.exec(`VACUUM INTO '${path(to)}'`);
  database.close();
  const copy = new Database(path(to));
  copy.pragma("foreign_keys = OFF");
  for (const statement of statements) copy.exec(statement);
  copy.close();
  return path(to);
}

beforeAll(async () => {
  const sections = makeSections(() => 6);
  const sessions = sections.get("sessions") ?? [];
  // Longer than what a slot between the threads holds.
  (sessions[1] ?? {})["session_data"] = JSON.stringify({ long: "ä".repeat(2 * MIB) });
  (sessions[2] ?? {})["session_data"] = JSON.stringify({ email: "ann@example.com" });
  writeDocument(path("a.json"), sections);
  await importStore({ from: path("a.json"), to: path("a.db") });
});

it("stores that hold the same, with long records and large contents", async () => {
  const { result, differences } = await both({ a: path("a.json"), b: path("a.db") });
  expect(result).toMatchObject({ identical: true, equal: true });
  expect(differences).toEqual([""]);
});

it("what differs: in a long record, in a large content, records of one side alone", async () => {
  const content = contentOf(0);
  content[700_001] = (content[700_001] as number) ^ 1;
  const b = change(
    "a.db",
    "b.db",
    `UPDATE artifact_content SET data = X'${content.toString("hex")}' WHERE length(data) > ${MIB}`,
    "UPDATE sessions SET session_data = replace(session_data, 'ää\"', 'äö\"') WHERE length(session_data) > 100000",
    "DELETE FROM kv_store WHERE rowid % 2 = 0",
  );
  const { result, differences } = await both({ a: path("a.db"), b });
  expect(result?.equal).toBe(false);
  expect(differences.filter((line) => line.includes('"different"')).length).toBe(2);
  // A large content that the other side lacks is not read to its end.
  const c = change("a.db", "c.db", "DELETE FROM artifact_content", "DELETE FROM artifacts");
  expect((await both({ a: path("a.db"), b: c })).result?.equal).toBe(false);
  expect((await both({ a: c, b: path("a.json") })).result?.equal).toBe(false);
});

it("steps of A, a selection, a sample", async () => {
  const transforms = [{ type: "mask", rule: "sessions.session_data.email=redact" }] as const;
  const masked = await both({ a: path("a.db"), b: path("a.json"), transforms });
  expect(masked.differences.filter((line) => line !== "").length).toBe(1);
  await both({ a: path("a.db"), b: path("a.json"), include: ["sessions"], tenants: ["acme", "nobody"] });
  await both({ a: path("a.db"), b: path("a.json"), sample: 2, seed: "x" });
  // What a step drops takes others with it: A is read twice.
  const dropping = [{ type: "jq", expression: '.data.sessions |= map(select(.status == "nothing"))' }] as const;
  const dropped = await both({ a: path("a.db"), b: path("a.json"), transforms: dropping });
  expect(dropped.result?.sections.find(({ path: section }) => section === "artifacts.artifacts")?.onlyInB).toBe(6);
});

it("what a store holds besides, what is unreadable, and what ends a run, on either side", async () => {
  const more = change("a.db", "more.db", "CREATE TABLE notes (id INTEGER)", "INSERT INTO notes VALUES (1)");
  expect((await both({ a: more, b: path("a.db") })).result?.leftOut.a).toHaveLength(1);
  const text = readFileSync(path("a.json"), "utf8");
  writeFileSync(path("bad.json"), text.replace(/"status": ?"active"/, '"status":7'));
  writeFileSync(path("cut.json"), text.slice(0, -100_000));
  await both({ a: path("bad.json"), b: path("a.db") });
  for (const [a, b] of [
    ["a.db", "cut.json"],
    ["cut.json", "a.db"],
    ["a.db", "none.db"],
    ["none.json", "a.json"],
  ] as const) {
    const { error } = await both({ a: path(a), b: path(b) });
    expect(error?.code).toMatch(/^E_(DOCUMENT_TRUNCATED|STORE_NOT_FOUND|INPUT_NOT_FOUND)$/);
  }
});

it("a signal ends both threads", async () => {
  for (const count of [1, 3]) {
    const controller = new AbortController();
    let calls = 0;
    const run = library.verifyStores({
      a: path("a.db"),
      b: path("a.json"),
      jobs: 2,
      signal: controller.signal,
      onProgress: () => ++calls === count && controller.abort(),
    });
    await expect(run).rejects.toMatchObject({ code: "E_INTERRUPTED" });
  }
});

it("the command takes 1 or 2 threads, and leaves nothing when it is interrupted", async () => {
  const refused = await workspace.run(["storage", "verify", "a.db", "a.json", "--jobs", "3"]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toContain("It is 1 or 2.");
  const folder = path("tmp");
  await workspace.bash("mkdir tmp");
  const env = { TMPDIR: folder };
  expect((await workspace.run(["storage", "verify", "a.db", "a.json", "--jobs", "2"], { env })).status).toBe(0);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    // Standard input that does not end: A waits for it, B's thread for A.
    const child = workspace.start(["storage", "verify", "-", "a.db", "--jobs", "2"], { env });
    const ended = outcomeOf(child);
    child.stdin?.write(readFileSync(path("a.json"), "utf8").slice(0, 3 * MIB));
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    child.kill(signal);
    const { status, stderr } = await ended;
    const [code, word] = signal === "SIGINT" ? [130, "E_INTERRUPTED"] : [143, "E_TERMINATED"];
    expect([status, stderr]).toEqual([code, expect.stringContaining(word)]);
  }
  expect(readdirSync(folder)).toEqual([]);
});

describePostgres("with PostgreSQL", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
    await migrateDatabase(database.url);
    await importStore({ from: path("a.json"), to: database.url });
  });
  afterAll(() => database.drop());

  it("a server's database is read in a thread, too", async () => {
    const same = await both({ a: path("a.db"), b: database.url });
    expect(same.result?.equal).toBe(true);
    const different = await both({ a: database.url, b: path("b.db") });
    expect(different.result?.equal).toBe(false);
    expect((await both({ a: path("a.db"), b: `${database.url}_none` })).error?.code).toBe("E_STORE_NOT_FOUND");
  });

  it("one database by two names is told", async () => {
    const url = new URL(database.url);
    url.searchParams.set("application_name", "another name");
    const { warnings, result } = await both({ a: database.url, b: url.href });
    expect(result?.equal).toBe(true);
    expect(warnings).toContain("A and B are the same database, by two names: it was compared with itself");
  });
});
