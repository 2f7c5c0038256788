/** One bad record among a million (in `npm test` among 40,000): found, named, and alone in staying out. */
import { createWriteStream, existsSync, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../helpers/llmspell.js";
import { describePostgres } from "../helpers/postgres-server.js";
import { scaled } from "../helpers/scale.js";
import { kv } from "./records.js";
import { createPostgresStore, createSqliteStore, type TestStore } from "./support.js";

const RECORDS = scaled(40_000, 1_000_000);
const BAD = RECORDS - 22_223;
const MINUTES = 60_000;

const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function* document(): Generator<string> {
  const { kv_id: _, key: __, value: ___, ...rest } = kv(0);
  const shared = JSON.stringify(rest).slice(1);
  yield '{"version":"1.0","source_backend":"sqlite","producer":"test/1","migrations":["V1"],"data":{"kv_store":[\n';
  let lines: string[] = [];
  for (let n = 1; n <= RECORDS; n++) {
    const value = n === BAD ? "no base64" : "AAEC";
    lines.push(`{"kv_id":"${idOf(n)}","key":"k${n}","value":"${value}",${shared}${n < RECORDS ? ",\n" : "\n"}`);
    if (lines.length < 5000) continue;
    yield lines.join("");
    lines = [];
  }
  yield lines.join("");
  yield "]}}\n";
}

function registerMillionTests(
  backend: "SQLite" | "PostgreSQL",
  open: () => Promise<TestStore>,
  workspace: () => Workspace,
) {
  describe(`into ${backend}`, () => {
    let target: TestStore;
    beforeAll(async () => {
      target = await open();
    });
    afterAll(() => target.drop());

    const table = backend === "SQLite" ? "kv_store" : "llmspell.kv_store";
    const stored = (): Promise<unknown[][]> =>
      target.rows(
        `SELECT count(*), count(DISTINCT key), sum(CASE WHEN key = 'k${BAD}' THEN 1 ELSE 0 END), min(length(value)), max(length(value)) FROM ${table}`,
      );
    const run = (...words: string[]) =>
      workspace().run([
        ...["storage", "import", "--database", backend === "SQLite" ? `sqlite:${target.store}` : target.store],
        ...["--input", "million.json", "--no-progress", ...words],
      ]);

    it(
      "stop names it and leaves the target unchanged; skip imports all the others, writes one line, and exits with 6",
      async () => {
        const stopped = await run("--on-error", "stop");
        expect(stopped.status).toBe(4);
        expect(stopped.stderr).toContain(`at section kv_store, record kv_id=${idOf(BAD)}, field value`);
        expect((await target.rows(`SELECT count(*) FROM ${table}`))[0]).toEqual([0n]);

        const skipped = await run("--on-error", "skip", "--rejects", `${backend}.ndjson`);
        expect(skipped.status).toBe(6);
        expect(skipped.stdout).toContain(`✅ Imported ${(RECORDS - 1).toLocaleString("en-US")} total records:`);
        expect(skipped.stdout).toContain("Rejected: 1\n");
        const lines = readFileSync(workspace().path(`${backend}.ndjson`), "utf8").split("\n");
        expect(lines).toHaveLength(2);
        expect(JSON.parse(lines[0] as string)).toMatchObject({
          section: "kv_store",
          field: "value",
          code: "E_INVALID_BASE64",
          record: { key: `k${BAD}`, value: "no base64" },
        });
        const [row] = await stored();
        expect(row).toEqual([BigInt(RECORDS - 1), BigInt(RECORDS - 1), 0n, 3n, 3n]);
      },
      10 * MINUTES,
    );
  });
}

describePostgres("one bad record in a million", () => {
  let workspace: Workspace;
  beforeAll(async () => {
    workspace = createWorkspace();
    await pipeline(Readable.from(document()), createWriteStream(workspace.path("million.json")));
    expect(existsSync(workspace.path("million.json"))).toBe(true);
  });
  afterAll(() => workspace[Symbol.dispose]());
  registerMillionTests(
    "SQLite",
    async () => createSqliteStore(),
    () => workspace,
  );
  registerMillionTests("PostgreSQL", createPostgresStore, () => workspace);
});
