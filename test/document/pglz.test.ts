/** The length that PostgreSQL's compression gives a text, against the server's own. */
import { randomBytes } from "node:crypto";
import pg from "pg";
import { expect, it } from "vitest";
import { pglzLength } from "../../src/verify/validation/pglz.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";
import { Random } from "../long/fuzz.js";

function texts(random: Random): string[] {
  const words = Array.from({ length: 40 }, () => randomBytes(1 + random.integer(12)).toString("base64"));
  return Array.from({ length: 300 }, (_, at) => {
    // Shorter rows are not compressed in a table.
    const length = 2100 + random.integer(at % 10 === 0 ? 20000 : 3000);
    let text = "";
    while (text.length < length)
      text += random.chance(3)
        ? randomBytes(8).toString("hex")
        : random.chance(20)
          ? "é漢".repeat(9)
          : random.pick(words);
    return text;
  });
}

describePostgres("the length of a compressed text", () => {
  it("is the server's", async () => {
    const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 30));
    await using database = await createTestDatabase();
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query("SET default_toast_compression = pglz");
      // Main storage: compressed where that helps, and kept in the row as long as it fits.
      await client.query("CREATE TABLE t (a text) WITH (toast_tuple_target = 128)");
      await client.query("ALTER TABLE t ALTER a SET STORAGE MAIN");
      let compressed = 0;
      for (const text of texts(new Random(seed))) {
        await client.query("TRUNCATE t");
        await client.query("INSERT INTO t VALUES ($1)", [text]);
        const { rows } = await client.query("SELECT pg_column_size(a) AS size, pg_column_compression(a) AS how FROM t");
        const { size, how } = rows[0] as { size: number; how: string | null };
        const bytes = Buffer.from(text);
        const length = pglzLength(bytes);
        // A header of 8 bytes; what saves no more than 2 is not used.
        const used = length !== undefined && length + 8 < bytes.length + 4 - 2;
        if (how === "pglz" && size < 7000) {
          expect(length, `seed ${seed}, ${bytes.length} bytes`).toBe(size - 8);
          compressed++;
        } else if (how === null) expect(used, `seed ${seed}, ${bytes.length} bytes`).toBe(false);
      }
      expect(compressed).toBeGreaterThan(50);
    } finally {
      await client.end();
    }
  });
});
