/** Values that SQLite holds (up to 1,000,000,000 bytes) and neither its driver nor JavaScript can give. */
import { constants } from "node:buffer";
import { createRequire } from "node:module";
import { afterAll, beforeAll, expect, it } from "vitest";
import { failureOf } from "../conformance/expectations.js";
import { createSqliteStore, recordsOf, type TestStore, unload } from "../fidelity/support.js";

// Merely importing node:sqlite prints a warning. better-sqlite3 cannot write such values either.
const { DatabaseSync } = createRequire(import.meta.url)("node:sqlite") as typeof import("node:sqlite");
const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const TOO_LONG = constants.MAX_STRING_LENGTH + 1;

let store: TestStore;
beforeAll(() => {
  store = createSqliteStore();
  const database = new DatabaseSync(store.store);
  database.exec("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF");
  const insert = (n: number, value: string): void =>
    database.exec(`INSERT INTO kv_store (kv_id, tenant_id, key, value, created_at, updated_at) VALUES ('${id(n)}', 't', 'k${n}', ${value}, 1, 1);
      INSERT INTO artifact_content (tenant_id, content_hash, data, size_bytes, created_at, last_accessed_at) VALUES ('t', 'h${n}', ${value}, 1, 1, 1)`);
  insert(1, "x'01'");
  insert(2, `zeroblob(${TOO_LONG})`);
  insert(3, "x'03'");
  database.close();
});
afterAll(() => store.drop());

it.each([
  ["kv_store", "value", `kv_id=${id(2)}`],
  ["artifacts.content", "data", "tenant_id=t, content_hash=h2"],
])("%s: an error that names record and field, or the record is left out alone", async (section, field, key) => {
  const error = await failureOf(unload(store, { include: [section] }));
  expect([error.code, error.context]).toEqual([
    "E_TARGET_LIMIT",
    {
      hint: expect.stringContaining("--on-error skip --rejects FILE"),
      section,
      key,
      field,
    },
  ]);
  const { document, rejected } = await unload(store, { include: [section], skip: true });
  expect(rejected.map((each) => each.error.context)).toEqual([{ section, key, field }]);
  expect(JSON.parse(rejected[0]?.record as string)).toMatchObject({ tenant_id: "t", [field]: null });
  expect(recordsOf(document, section)).toHaveLength(2);
});
