/** --rate: no more bytes of records in a second, smoothly, and an end at once when the run is interrupted. */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Writable } from "node:stream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exportStore, importStore, rewriteDocument } from "../../src/index.js";
import { ByteRate } from "../../src/records/byte-rate.js";
import { builtLibrary, createWorkspace, outcomeOf, type Workspace } from "../helpers/llmspell.js";

/** Of each record's value. */
const VALUE_BYTES = 1000;
const RECORDS = 400;
let workspace: Workspace;
let input: string;
let database: string;

beforeAll(async () => {
  workspace = createWorkspace();
  input = workspace.path("input.json");
  database = workspace.path("database.db");
  const value = Buffer.alloc(VALUE_BYTES, 7).toString("base64");
  const records = Array.from(
    { length: RECORDS },
    (_, at) => `{"kv_id":"${randomUUID()}","tenant_id":"acme","key":"k${at}","value":"${value}","metadata":{},
      "created_at":1700000000000000,"updated_at":1700000000654321}`,
  );
  writeFileSync(
    input,
    `{"version":"1.0","source_backend":"sqlite","producer":"test","migrations":["V1"],"data":{"kv_store":[${records}]}}`,
  );
  await importStore({ from: input, to: database });
});
afterAll(() => workspace[Symbol.dispose]());

/** What the run holds itself back by is in its notes; that it does is a least time, which no slow machine shortens. */
const LEAST_SECONDS = (RECORDS * VALUE_BYTES) / 400_000 - 0.3;
const HELD = expect.arrayContaining([expect.stringMatching(/^Held to 400\.0 kB a second: \d+ s of waiting$/)]);
const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

/** Threads are there in the built library only. */
const built = (): Promise<typeof import("../../src/index.js")> => import(builtLibrary());

it.each([
  ["an export", () => exportStore({ from: database, to: nowhere(), bytesPerSecond: 400_000 })],
  [
    "an export with threads",
    async () => (await built()).exportStore({ from: database, to: nowhere(), jobs: 2, bytesPerSecond: 400_000 }),
  ],
  ["an import", () => importStore({ from: input, to: workspace.path("copy.db"), bytesPerSecond: 400_000 })],
  ["a rewrite", () => rewriteDocument({ from: input, to: nowhere(), bytesPerSecond: 400_000 })],
] as const)("holds back %s", async (_what, run) => {
  const { seconds, notes, totals } = await run();
  expect(totals.read).toBe(RECORDS);
  expect(seconds).toBeGreaterThan(LEAST_SECONDS);
  expect(notes).toEqual(HELD);
});

it("gives no more than a quarter of a second's bytes at once, whatever was not used before", async () => {
  const rate = new ByteRate(1e6, new AbortController().signal);
  await new Promise((resolve) => setTimeout(resolve, 600));
  const started = performance.now();
  for (let piece = 0; piece < 10; piece++) await rate.take(1e5);
  expect(performance.now() - started).toBeGreaterThan(700);
});

it("takes 5, 500KB and 2MB/s, and says so in the report", async () => {
  const report = workspace.path("report.json");
  const output = workspace.path("out.json");
  const args = ["storage", "export", "--database", database, "--output", output, "--report", report];
  await workspace.must([...args, "--rate", "500KB/s"]);
  expect(JSON.parse(readFileSync(report, "utf8"))).toMatchObject({
    settings: { Rate: "at most 500.0 kB a second" },
  });
  await workspace.must([...args.slice(0, 6), "--rate", "5"]);
  for (const text of ["0", "-1", "fast", "1e3"]) {
    const { status, stderr } = await workspace.run([...args.slice(0, 6), "--rate", text]);
    expect([text, status, stderr]).toEqual([text, 2, expect.stringContaining("--rate")]);
  }
});

it("ends at once when it is interrupted while it waits, and leaves nothing", async () => {
  const output = workspace.path("interrupted.json");
  const child = workspace.start(["storage", "export", "--database", database, "--output", output, "--rate", "0.0001"]);
  const ended = outcomeOf(child);
  child.stdout?.once("data", () => setTimeout(() => child.kill("SIGINT"), 500));
  expect((await ended).status).toBe(130);
  expect(existsSync(output)).toBe(false);
});

it("and --max-lag are refused where they have no meaning", async () => {
  const { status, stderr } = await workspace.run([
    "storage",
    "import",
    "--database",
    workspace.path("other.db"),
    "--input",
    input,
    "--max-lag",
    "10",
  ]);
  expect([status, stderr]).toEqual([2, expect.stringMatching(/--max-lag \(maxLag\) is not for SQLite \[E_USAGE\]/)]);
  expect(existsSync(workspace.path("other.db"))).toBe(false);
  await expect(exportStore({ from: database, to: nowhere(), bytesPerSecond: 0 })).rejects.toMatchObject({
    code: "E_USAGE",
  });
});
