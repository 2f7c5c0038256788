/** json text with blanks around it, which SQLite holds: kept through a document of ours, and none made of another's. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { id } from "./records.js";
import { createSqliteStore, load, type TestStore, unload } from "./support.js";

let source: TestStore;
let target: TestStore;
beforeAll(() => {
  source = createSqliteStore();
  target = createSqliteStore();
});
beforeEach(async () => {
  for (const store of [source, target]) await store.clear();
});
afterAll(async () => {
  for (const store of [source, target]) await store.drop();
});

const TEXTS = ['  {"a": [1,  2]} ', "\t[ ]\t", ' " x " ', " 1.0 ", " null", "{ }"];

it("arrives as it was, directly and through a document", async () => {
  for (const [n, text] of TEXTS.entries())
    await source.run(`INSERT INTO kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
      VALUES ('${id(n)}', 't', 'k${n}', x'00', '${text}', 1, 1);
      INSERT INTO sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at) VALUES ('t', '${id(n)}', '${text}', 'active', 1, 1)`);
  const { document } = await unload(source);
  const texts = await source.rows(
    "SELECT metadata, session_data FROM kv_store JOIN sessions ON kv_id = session_id ORDER BY kv_id",
  );
  expect(texts).toEqual(TEXTS.map((text) => [text, text]));
  const arrived = () =>
    target.rows("SELECT metadata, session_data FROM kv_store JOIN sessions ON kv_id = session_id ORDER BY kv_id");
  await load(source, target);
  expect(await arrived()).toEqual(texts);
  await target.clear();
  await load(document, target);
  expect(await arrived()).toEqual(texts);
  // Another program's blanks are its own.
  await target.clear();
  await load(JSON.stringify(JSON.parse(document), undefined, 1).replaceAll(/": (\S)/g, '":  $1'), target);
  const trimmed = (await arrived()).flat() as string[];
  expect(trimmed).toEqual(trimmed.map((text) => text.trim()));
});
