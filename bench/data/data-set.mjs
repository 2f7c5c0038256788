// A data set in each of its forms: SQLite file, document, PostgreSQL database. Each is made when a case first asks for it.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dataDigest, expectData } from "../lib/digest.mjs";
import { llmspell, must } from "../lib/measure.mjs";
import { TABLES } from "./rows.mjs";

const filler = fileURLToPath(new URL("fill-sqlite.mjs", import.meta.url));

export class DataSet {
  constructor(bench, name, sizes) {
    this.bench = bench;
    this.name = name;
    this.sizes = sizes;
    this.made = new Map();
  }

  path(suffix) {
    return join(this.bench.folder, `${this.name}${suffix}`);
  }

  once(form, make) {
    if (!this.made.has(form)) this.made.set(form, make());
    return this.made.get(form);
  }

  /** Rows of a table. */
  rows(table) {
    return this.sizes.rows[table] ?? 0;
  }

  sqlite() {
    return this.once("sqlite", async () => {
      this.bench.log(`making ${this.name} …`);
      const path = this.path(".db");
      if (!this.sizes.own) must(llmspell("database", "migrate", "--database", path));
      must([process.execPath, filler, path, JSON.stringify(this.sizes)]);
      return path;
    });
  }

  document() {
    return this.once("document", async () => {
      const path = this.path(".json");
      must(llmspell("storage", "export", "--database", await this.sqlite(), "--output", path));
      return path;
    });
  }

  /** Of the whole document's `data`. */
  digest() {
    return this.once("digest", async () => dataDigest(await this.document()));
  }

  /** The name of a database that holds the set, with all indexes. */
  postgres() {
    return this.once("postgres", async () => {
      const server = await this.bench.server();
      await server.create(this.name, await this.bench.emptyPostgres());
      this.bench.log(`loading ${this.name} into PostgreSQL …`);
      must(llmspell("storage", "import", "--database", server.url(this.name), "--input", await this.document()));
      await server.sql("VACUUM (FREEZE, ANALYZE)", this.name);
      return this.name;
    });
  }

  /** Throws unless the database holds the whole set: its export has the same data. */
  async expectIn(database) {
    const server = await this.bench.server();
    const path = this.path("_again.json");
    must(llmspell("storage", "export", "--database", server.url(database), "--output", path));
    await expectData(path, await this.digest());
    rmSync(path);
  }

  /** Throws unless the database holds every row of the tables but those of `except`, which are empty. */
  async expectRows(database, except) {
    const server = await this.bench.server();
    for (const table of TABLES) {
      const { rows } = await server.sql(`SELECT count(*)::int AS count FROM llmspell.${table}`, database);
      const wanted = except.includes(table) ? 0 : this.rows(table);
      if (rows[0].count !== wanted)
        throw new Error(`${database}: ${table} has ${rows[0].count} rows instead of ${wanted}`);
    }
  }
}
