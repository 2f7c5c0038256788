/** Tables whose rowid is hidden by a column, or not there: every record comes once, or an error says why not. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { catalog } from "../../src/llmspell/catalog/index.js";
import { failureOf } from "../conformance/expectations.js";
import { createSqliteStore, dataOf, load, type TestStore, unload } from "../fidelity/support.js";
import { fillSqlite } from "../helpers/sample-data.js";

let store: TestStore;
let document: string;
beforeAll(() => {
  store = createSqliteStore();
});
afterAll(() => store.drop());
beforeEach(async () => {
  await store.clear();
  fillSqlite(store.store, {
    vectorShapes: { 384: "raw", 768: "vec0", 1536: "mixed", 3072: "raw" },
    contentSizes: [5, 1_100_000],
    records: 40,
  });
  document = (await unload(store)).document;
});

/** The tables that hold kinds' keys; of embeddings, the metadata. */
const TABLES = [
  ...new Set(catalog.kinds.map(({ sqlite }) => (sqlite.layout === "table" ? sqlite.table : sqlite.metadataTable))),
];

/** Makes the table anew with columns more; SQLite's newest releases refuse ALTER TABLE ADD COLUMN rowid. */
async function addColumns(table: string, columns: string): Promise<void> {
  const [[sql]] = (await store.rows(`SELECT sql FROM sqlite_master WHERE name = '${table}'`)) as [[string]];
  const names = (await store.rows(`SELECT name FROM pragma_table_info('${table}')`)).join(", ");
  await store.run(`PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; ALTER TABLE ${table} RENAME TO old;
    ${sql.replace("(", `(${columns}, `)}; INSERT INTO ${table} (${names}) SELECT ${names} FROM old; DROP TABLE old`);
}

/** Tables that a migration makes anew. */
const REBUILT = ["vector_metadata", "entities", "relationships", "event_log"];

describe("a column that hides the rowid", () => {
  const others = TABLES.filter((table) => !REBUILT.includes(table));

  it.each(["rowid TEXT", "rowid INTEGER DEFAULT 1", "RowId REAL DEFAULT 0.5"])(
    "%s: all records, each once, read and merged",
    async (column) => {
      for (const table of others) await addColumns(table, column);
      expect(dataOf((await unload(store)).document)).toBe(dataOf(document));
      const { result } = await load(document, store);
      expect(result.totals).toMatchObject({ inserted: 0, updated: result.totals.read });
      expect(dataOf((await unload(store)).document)).toBe(dataOf(document));
      const [[kept]] = (await store.rows("SELECT typeof(rowid) FROM kv_store LIMIT 1")) as [[string]];
      expect(kept).toBe({ TEXT: "null", INTEGER: "integer", REAL: "real" }[column.split(" ")[1] as string]);
    },
  );

  it("in a table that has to be made anew: read, and no target", async () => {
    await addColumns("entities", "rowid TEXT");
    expect(dataOf((await unload(store)).document)).toBe(dataOf(document));
    const error = await failureOf(load(document, store));
    expect([error.code, error.message]).toEqual(["E_SCHEMA", expect.stringContaining("its column rowid")]);
  });

  it("two of its names taken: all records; all three: an error that names the table", async () => {
    await addColumns("kv_store", "rowid TEXT, _rowid_ TEXT");
    expect(dataOf((await unload(store)).document)).toBe(dataOf(document));
    await addColumns("kv_store", "oid TEXT");
    const error = await failureOf(unload(store));
    expect([error.code, error.message]).toEqual(["E_SCHEMA", expect.stringContaining("kv_store")]);
    expect((await failureOf(load(document, store))).code).toBe("E_SCHEMA");
  });
});

describe("tables made by CREATE TABLE AS, without any key", () => {
  const copy = (table: string): string =>
    `ALTER TABLE ${table} RENAME TO old; CREATE TABLE ${table} AS SELECT * FROM old; DROP TABLE old;`;

  it("give all records, each once", async () => {
    const embeddings = ["vec_embeddings_384", "vec_embeddings_1536", "vec_embeddings_3072"];
    await store.run(`PRAGMA foreign_keys = OFF; ${[...TABLES, ...embeddings].map(copy).join("\n")}`);
    expect(dataOf((await unload(store)).document)).toBe(dataOf(document));
    const { document: few } = await unload(store, { limit: 2 });
    expect(JSON.parse(few).data.kv_store).toEqual(JSON.parse(document).data.kv_store.slice(0, 2));
  });

  it("two embeddings of one rowid are an error of the record, or leave it out alone", async () => {
    await store.run(
      `${copy("vec_embeddings_384")} INSERT INTO vec_embeddings_384 SELECT * FROM vec_embeddings_384 LIMIT 1`,
    );
    for (const limit of [undefined, 1000]) {
      const options = limit === undefined ? {} : { limit };
      const error = await failureOf(unload(store, options));
      expect([error.code, error.message]).toEqual(["E_INVALID_EMBEDDING", "the record has two embeddings"]);
      expect(error.context).toMatchObject({ section: "vector_embeddings.384", field: "embedding" });
    }
    const { rejected } = await unload(store, { skip: true });
    expect(rejected.map(({ error }) => error.code)).toEqual(["E_INVALID_EMBEDDING"]);
  });

  it("are no target where metadata and embeddings would part", async () => {
    await store.run(copy("vec_embeddings_384"));
    const error = await failureOf(load(document, store));
    expect([error.code, error.message]).toEqual(["E_SCHEMA", expect.stringContaining("vec_embeddings_384")]);
  });
});

it("a table WITHOUT ROWID, or a view, is an error that names it", async () => {
  await store.run(
    `ALTER TABLE kv_store RENAME TO old;
     CREATE TABLE kv_store (kv_id TEXT PRIMARY KEY, tenant_id TEXT, key TEXT, value BLOB, metadata TEXT, created_at INTEGER, updated_at INTEGER) WITHOUT ROWID;
     INSERT INTO kv_store SELECT kv_id, tenant_id, key, value, metadata, created_at, updated_at FROM old`,
  );
  const error = await failureOf(unload(store, { onStart: () => {} }));
  expect([error.code, error.message]).toEqual(["E_SCHEMA", "kv_store is a table WITHOUT ROWID"]);
  await store.run("DROP TABLE kv_store; CREATE VIEW kv_store AS SELECT * FROM old");
  expect((await failureOf(unload(store, { onStart: () => {} }))).message).toBe("kv_store is a view");
});
