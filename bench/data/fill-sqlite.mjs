// node bench/data/fill-sqlite.mjs FILE SIZES-AS-JSON: fills an SQLite file that has our schema, or makes one as llmspell
// itself does (`own`). A process of its own, so that its memory is given back.
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import * as mixed from "./mixed-rows.mjs";
import { Pools } from "./random.mjs";
import * as standard from "./rows.mjs";

const MOST_VARIABLES = 30_000;
const MOST_ROWS = 100;

const [path, sizes] = process.argv.slice(2);
const { rows, content, own } = JSON.parse(sizes);
const { TABLES } = standard;
const { row } = own ? mixed : standard;
const context = { rows, content, pools: own ? new mixed.MixedPools() : new Pools() };
const database = new Database(path);
if (own) database.exec(readFileSync(new URL("../../test/fixtures/llmspell-sqlite-v13.sql", import.meta.url), "utf8"));
database.pragma("synchronous = OFF");
database.pragma("journal_mode = OFF");
database.pragma("cache_size = -262144");

/** Inserts rows of an ordinary table, many to a statement. */
function inserter(table, columns, most) {
  const group = `(${columns.map(() => "?").join(", ")})`;
  const text = (count) =>
    `INSERT INTO ${table} (${columns.join(", ")}) VALUES ${Array.from({ length: count }, () => group).join(", ")}`;
  const full = database.prepare(text(most));
  let values = [];
  let pending = 0;
  return {
    add(row) {
      for (const value of row) values.push(value);
      if (++pending < most) return;
      full.run(values);
      values = [];
      pending = 0;
    },
    end() {
      if (pending > 0) database.prepare(text(pending)).run(values);
    },
  };
}

function fill(table, count) {
  const columns = Object.keys(row(table, 0, context));
  const most = table === "artifact_content" ? 1 : Math.min(MOST_ROWS, Math.floor(MOST_VARIABLES / columns.length));
  const insert = inserter(table, columns, most);
  for (let i = 0; i < count; i++) insert.add(Object.values(row(table, i, context)));
  insert.end();
}

let rowid = 0;

function fillVectors(table, count) {
  const embeddings = table.replace("vector_", "vec_");
  database.exec(`CREATE TABLE IF NOT EXISTS ${embeddings} (rowid INTEGER PRIMARY KEY, embedding BLOB)`);
  const columns = Object.keys(row(table, 0, context)).filter((name) => name !== "embedding");
  const metadata = inserter("vector_metadata", ["rowid", ...columns], MOST_ROWS);
  const vectors = inserter(embeddings, ["rowid", "embedding"], 10);
  for (let i = 0; i < count; i++) {
    const { embedding, ...rest } = row(table, i, context);
    metadata.add([++rowid, ...Object.values(rest)]);
    vectors.add([rowid, embedding]);
  }
  metadata.end();
  vectors.end();
}

// Indexes are made when the rows are there; UNIQUE constraints have theirs all the time.
const indexes = database
  .prepare("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL")
  .all();
database.exec("BEGIN");
for (const { name, sql } of indexes)
  database.exec(`DROP ${/^CREATE TRIGGER/i.test(sql) ? "TRIGGER" : "INDEX"} "${name}"`);
for (const table of TABLES) {
  const count = rows[table];
  if (count === undefined) continue;
  if (table.startsWith("vector_")) fillVectors(table, count);
  else fill(table, count);
}
for (const { sql } of indexes) database.exec(sql);
database.exec("COMMIT");
database.close();
