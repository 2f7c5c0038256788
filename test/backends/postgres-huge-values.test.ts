/** Values beyond the 256 MiB that a string of V8 could hold as hexadecimal digits. Needs 2 GB of memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { connectPostgres, type PostgresTarget } from "../../src/backends/postgres/session/connection.js";
import { createPostgresSource } from "../../src/index.js";
import { migratePostgres } from "../../src/llmspell/schema/migrator.js";
import type { RunContext } from "../../src/records/run-context.js";
import { createTestDatabase, describePostgres } from "../helpers/postgres-server.js";

const BYTES = 275_000_000;

/** Makes the schema, an entry of `BYTES` and two small ones. */
async function fill(target: PostgresTarget): Promise<void> {
  const connection = await connectPostgres(target, { create: true });
  try {
    await migratePostgres(connection);
    await connection.query(
      `INSERT INTO llmspell.kv_store (tenant_id, key, value) VALUES ('t', 'a', '\\x01'), ('t', 'z', '\\x02')`,
    );
    await connection.query(`INSERT INTO llmspell.kv_store (tenant_id, key, value)
      VALUES ('t', 'big', pg_catalog.decode(pg_catalog.repeat('00', ${BYTES}), 'hex'))`);
  } finally {
    await connection.close();
  }
}

/** The lengths of the entries' values by key, read in mode "cursor". */
async function lengthsOf(target: PostgresTarget): Promise<unknown> {
  const source = createPostgresSource({ connect: () => connectPostgres(target), name: "the source", mode: "cursor" });
  const context: RunContext = {
    signal: new AbortController().signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
  const lengths: Record<string, number> = {};
  try {
    await source.open(context);
    for await (const batch of source.read({ paths: new Set(["kv_store"]) }, context))
      for (let row = 0; row < batch.rows; row++) lengths[batch.value(row, 2).toString()] = batch.value(row, 3).length;
    return lengths;
  } finally {
    await source.close();
  }
}

const expected = { a: 1, big: BYTES, z: 1 };

describePostgres("a huge value on a server", () => {
  it("comes through a cursor", async () => {
    await using other = await createTestDatabase();
    await fill({ url: other.url });
    expect(await lengthsOf({ url: other.url })).toEqual(expected);
  });
});

describe("a huge value in the embedded PostgreSQL", () => {
  it("comes through a cursor", async () => {
    const folder = mkdtempSync(join(tmpdir(), "llmspell-huge-"));
    try {
      await fill({ pglite: join(folder, "store") });
      expect(await lengthsOf({ pglite: join(folder, "store") })).toEqual(expected);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
