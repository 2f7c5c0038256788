/** SQLite files whose indexes and tables do not agree: an export has all rows that the table has, or it is an error. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSqliteSource, exportStore, importStore, StorageError } from "../../src/index.js";
import { failureOf } from "../conformance/expectations.js";
import { type Open, readInParts } from "../conformance/parts-reading.js";
import { documentText } from "../fidelity/support.js";
import { createLlmspellSqlite } from "../fixtures/index.js";
import { SampleRandom } from "../helpers/sample-values.js";

const folder = mkdtempSync(join(tmpdir(), "llmspell-damage-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const intact = join(folder, "intact.db");
const ROWS = 12;
const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

beforeAll(() => {
  createLlmspellSqlite(intact);
  const database = new Database(intact);
  // One index per key, so that it is known which one is walked.
  database.exec("DROP INDEX idx_kv_store_key_prefix");
  database.pragma("journal_mode = DELETE");
  const insert = database.prepare(
    "INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES (?, ?, ?, x'00', 1, 1)",
  );
  for (let n = 1; n <= ROWS; n++) insert.run(id(n), n % 2 === 0 ? "even" : "odd", `k${n}`);
  const session = database.prepare(
    "INSERT INTO sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at) VALUES ('t', ?, '{}', 'active', 1, 1)",
  );
  for (let n = 1; n <= 4; n++) session.run(id(n));
  database.close();
});

/** A b-tree's page, which is its only one: its offset in the file, and those of its cells. */
interface Page {
  readonly start: number;
  readonly cells: readonly number[];
}

function pageOf(path: string, name: string): Page {
  const database = new Database(path);
  const root = database.prepare("SELECT rootpage FROM sqlite_master WHERE name = ?").pluck().get(name) as number;
  const size = database.pragma("page_size", { simple: true }) as number;
  database.close();
  const bytes = readFileSync(path);
  const start = (root - 1) * size;
  const count = bytes.readUInt16BE(start + 3);
  return { start, cells: Array.from({ length: count }, (_, i) => start + bytes.readUInt16BE(start + 8 + 2 * i)) };
}

/** A copy of the database with bytes of the b-tree's page changed. */
function damaged(name: string, tree: string, change: (bytes: Buffer, page: Page) => void): string {
  const path = join(folder, `${name.replaceAll(/\W/g, "-")}.db`);
  copyFileSync(intact, path);
  const bytes = readFileSync(path);
  change(bytes, pageOf(path, tree));
  writeFileSync(path, bytes);
  return path;
}

/** Takes the last entries out of the page. */
const lose =
  (entries: number) =>
  (bytes: Buffer, { start, cells }: Page): void =>
    void bytes.writeUInt16BE(cells.length - entries, start + 3);

/** Has an entry of a text's index name another row: the rowid is its last byte. */
const rename =
  (entry: number, rowid: number) =>
  (bytes: Buffer, { cells }: Page): void => {
    const at = cells[entry] as number;
    bytes[at + (bytes[at] as number)] = rowid;
  };

/** Gives a row of the table another rowid, which comes behind the length of its cell. */
const renumber =
  (entry: number, rowid: number) =>
  (bytes: Buffer, { cells }: Page): void => {
    let at = cells[entry] as number;
    while ((bytes[at] as number) >= 0x80) at++;
    bytes[at + 1] = rowid;
  };

const KEY_INDEX = "sqlite_autoindex_kv_store_1";
const TENANT_INDEX = "sqlite_autoindex_kv_store_2";
const DAMAGE: [string, string, (bytes: Buffer, page: Page) => void, RegExp][] = [
  ["an index that lacks rows", KEY_INDEX, lose(2), /of its 12 rows 10 come/],
  ["an index that names one row twice and another not at all", KEY_INDEX, rename(4, 9), /some come twice/],
  ["an index that names a row that is not there", KEY_INDEX, rename(4, 99), /leads to rows/],
  ["a row whose rowid lies", "kv_store", renumber(2, 77), /leads to rows|of its 12 rows/],
];

function exported(path: string, options: Partial<Parameters<typeof exportStore>[0]> = {}) {
  const to = { type: "document", path: `${path}.json` } as const;
  return exportStore({ from: { type: "sqlite", path }, to, force: true, ...options });
}

describe.each(DAMAGE)("%s", (name, tree, change, detail) => {
  it("is an error that names the table, and no document", async () => {
    const path = damaged(name, tree, change);
    const error = await failureOf(exported(path));
    expect([error.code, error.exitStatus]).toEqual(["E_SOURCE_DAMAGED", 4]);
    expect(error.message).toContain("kv_store");
    expect(error.context.detail).toMatch(detail);
    expect(error.context.hint).toContain("REINDEX kv_store");
    expect(existsSync(`${path}.json`)).toBe(false);
    // Records that cannot go on are another thing: nothing is skipped here.
    expect((await failureOf(exported(path, { onReject: () => {} }))).code).toBe("E_SOURCE_DAMAGED");
    expect((await failureOf(exported(path, { limit: 2 }))).code).toBe("E_SOURCE_DAMAGED");
    // The other sections are whole.
    expect((await exported(path, { include: ["sessions"] })).totals.inserted).toBe(4);
  });
});

describe("--tenant", () => {
  it.each(DAMAGE)("in parts that are ranges of keys: %s", async (what, tree, change, detail) => {
    const path = damaged(`ranges of ${what}`, tree, change);
    const open: Open = (options) => createSqliteSource({ path, rangesFrom: 1, ...options } as never);
    const error = await readInParts(open, { paths: new Set(["kv_store"]) }, 300).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: "E_SOURCE_DAMAGED", context: { detail: expect.stringMatching(detail) } });
  });

  it("meets a damaged index of tenants, and takes all rows of a tenant from an intact file", async () => {
    expect((await exported(intact, { tenants: ["even"] })).totals.inserted).toBe(ROWS / 2);
    const path = damaged("tenants", "idx_kv_store_tenant", lose(1));
    const error = await failureOf(exported(path, { tenants: ["even", "odd"] }));
    expect(error.code).toBe("E_SOURCE_DAMAGED");
  });
});

describe("--limit", () => {
  it("takes parents that children need out of the table itself", async () => {
    const path = join(folder, "wanted.db");
    copyFileSync(intact, path);
    const database = new Database(path);
    database.exec(`INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, created_at, last_accessed_at) VALUES ('t', 'h', x'00', 1, 1, 1);
      INSERT INTO artifacts (artifact_id, tenant_id, session_id, sequence, content_hash, name, artifact_type, mime_type, size_bytes, created_by, created_at, metadata)
        VALUES ('a', 't', '${id(4)}', 1, 'h', 'n', 'x', 'm', 1, 'u', 1, '{}')`);
    database.close();
    await exported(path, { limit: 1 });
    const { data } = JSON.parse(readFileSync(`${path}.json`, "utf8"));
    expect(data.sessions.map((each: Record<string, string>) => each["session_id"])).toEqual([id(4)]);
  });
});

describe("a merge along a damaged index", () => {
  const kv = (n: number) => ({
    ...{ kv_id: id(n), tenant_id: n % 2 === 0 ? "even" : "odd", key: `k${n}`, value: "AA==" },
    ...{ created_at: 1, updated_at: 1 },
  });

  it.each([KEY_INDEX, TENANT_INDEX])("is refused, and nothing comes twice: %s", async (tree) => {
    const path = damaged(`target ${tree}`, tree, lose(2));
    const document = join(folder, "one.json");
    writeFileSync(document, documentText({ kv_store: [kv(12)] }));
    const error = await failureOf(
      importStore({ from: { type: "document", path: document }, to: { type: "sqlite", path } }),
    );
    expect(error.code, error.message).toBe("E_NOT_A_DATABASE");
    expect(error.context.detail).toContain(tree);
    const database = new Database(path);
    expect(database.prepare("SELECT count(*) FROM kv_store NOT INDEXED").pluck().get()).toBe(ROWS);
    database.close();
  });
});

it("one byte of a page changed: all rows of the table come, or a coded error", async () => {
  const seed = process.env["SEED"] ?? String(Date.now());
  const random = new SampleRandom(seed);
  const outcomes = { same: 0, refused: 0 };
  const scan = (path: string): string[][] => {
    const database = new Database(path);
    try {
      return database.prepare("SELECT kv_id, tenant_id, key FROM kv_store NOT INDEXED").raw().all() as string[][];
    } finally {
      database.close();
    }
  };
  for (let round = 0; round < 60; round++) {
    const tree = [KEY_INDEX, TENANT_INDEX, "kv_store"][random.int(0, 2)] as string;
    const path = damaged("byte", tree, (bytes, { start, cells }) => {
      // In the page's head, or in its rows.
      const at = random.chance(0.3)
        ? start + random.int(0, 8 + 2 * cells.length)
        : random.int(Math.min(...cells), start + 4095);
      bytes[at] = random.int(0, 255);
    });
    try {
      await exported(path, { include: ["kv_store"] });
      const document = JSON.parse(readFileSync(`${path}.json`, "utf8"));
      const came = document.data.kv_store.map((each: Record<string, string>) =>
        [each["kv_id"]?.toLowerCase(), each["tenant_id"], each["key"]].join(),
      );
      expect(came.sort(), `seed ${seed}`).toEqual(
        scan(path)
          .map(([kvId, ...others]) => [kvId?.toLowerCase(), ...others].join())
          .sort(),
      );
      outcomes.same++;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      expect(error.code, `seed ${seed}: ${error.message}`).not.toBe("E_UNEXPECTED");
      outcomes.refused++;
    }
  }
  // Both happen, or the test would show nothing.
  expect(Math.min(outcomes.same, outcomes.refused)).toBeGreaterThan(0);
});
