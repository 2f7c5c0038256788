import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockDirectory } from "../../src/backends/pglite/directory-lock.js";
import { openRows, type RowReader } from "../../src/backends/postgres/reading/row-stream.js";
import { connectPostgres, type PostgresConnection } from "../../src/backends/postgres/session/connection.js";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "llmspell-pglite-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Binary COPY data of one bytea column. */
function copyData(values: readonly Buffer[]): Buffer {
  const header = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
  const tuples = values.flatMap((value) => {
    const head = Buffer.alloc(6);
    head.writeInt16BE(1, 0);
    head.writeInt32BE(value.length, 2);
    return [head, value];
  });
  return Buffer.concat([header, ...tuples, Buffer.from([0xff, 0xff])]);
}

describe("the lock of an embedded database", () => {
  it("is held once, and is free after its release", async () => {
    const path = join(folder, "once");
    const release = await lockDirectory(path);
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: "E_LOCKED" });
    await release();
    const again = await lockDirectory(path);
    await release(); // a second call does not take what is another's
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: "E_LOCKED" });
    await again();
    expect(readdirSync(folder).filter((name) => name.startsWith("once"))).toEqual([]);
  });

  it("is given to exactly one of many that come at once", async () => {
    const path = join(folder, "many");
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => lockDirectory(path)));
    const held = outcomes.filter((outcome) => outcome.status === "fulfilled");
    expect(held).toHaveLength(1);
    await held[0]?.value();
  });

  it("of a process that is gone is taken over, also by one of many", async () => {
    const path = join(folder, "stale");
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"]);
    await once(child, "spawn");
    writeFileSync(`${path}.llmspell-lock`, JSON.stringify({ pid: child.pid, host: hostname(), started: "" }));
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: "E_LOCKED" });
    child.kill("SIGKILL");
    await once(child, "exit");
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => lockDirectory(path)));
    const held = outcomes.filter((outcome) => outcome.status === "fulfilled");
    expect(held).toHaveLength(1);
    await held[0]?.value();
    writeFileSync(`${path}.llmspell-lock`, "not a lock at all");
    await expect(lockDirectory(path)).rejects.toMatchObject({ code: "E_LOCKED" });
  });

  it.runIf(process.platform === "linux")("of a process id that another process has now is taken over", async () => {
    const path = join(folder, "reused");
    writeFileSync(`${path}.llmspell-lock`, JSON.stringify({ pid: process.pid, host: hostname(), started: "1" }));
    await (await lockDirectory(path))();
  });
});

describe("PostgreSQL embedded in the process", () => {
  let connection: PostgresConnection;
  let directory: string;

  beforeAll(async () => {
    directory = join(folder, "store");
    connection = await connectPostgres({ pglite: directory }, { create: true });
  });
  afterAll(() => connection?.close());

  it("is not made by looking for it", async () => {
    const missing = join(folder, "missing");
    await expect(connectPostgres({ pglite: missing })).rejects.toMatchObject({ code: "E_STORE_NOT_FOUND" });
    expect(readdirSync(folder)).not.toContain("missing");
  });

  it("has the extensions that the schema needs", async () => {
    for (const name of ["vector", "uuid-ossp", "pgcrypto"]) await connection.query(`CREATE EXTENSION "${name}"`);
    const { rows } = await connection.query("SELECT '[1,2]'::vector <-> '[1,0]'::vector AS d, uuid_generate_v4() AS u");
    expect(rows).toEqual([{ d: 2, u: expect.stringMatching(/^[0-9a-f-]{36}$/) }]);
    expect(connection).toMatchObject({ embedded: true, name: `pglite:${directory}` });
  });

  it("takes parameters, transactions and errors as a server does", async () => {
    await connection.query("CREATE TABLE blobs (b bytea NOT NULL)");
    await connection.query("BEGIN");
    await connection.query("INSERT INTO blobs VALUES ($1)", [Buffer.from([1, 0, 255])]);
    await connection.query("SAVEPOINT s");
    await expect(connection.query("INSERT INTO blobs VALUES (NULL)")).rejects.toMatchObject({
      code: "E_MISSING_FIELD",
    });
    await connection.query("ROLLBACK TO SAVEPOINT s");
    expect((await connection.query("SELECT b FROM blobs")).rows).toEqual([{ b: Buffer.from([1, 0, 255]) }]);
    await connection.query("ROLLBACK");
    expect((await connection.query("SELECT b FROM blobs")).rows).toEqual([]);
  });

  it("takes a binary COPY, and goes on after one that fails", async () => {
    const sql = "COPY blobs FROM STDIN (FORMAT binary)";
    const large = Buffer.alloc(3 * 1048576, "x");
    expect(await connection.copyFrom(sql, copyData([Buffer.alloc(0), large]))).toBe(2);
    await expect(connection.copyFrom("COPY nowhere FROM STDIN (FORMAT binary)", copyData([]))).rejects.toMatchObject({
      code: "E_NOT_MIGRATED",
    });
    await expect(connection.copyFrom(sql, copyData([large]).subarray(0, 100))).rejects.toThrow();
    const { rows } = await connection.query("SELECT length(b) AS n, md5(b) AS d FROM blobs ORDER BY 1");
    expect(rows.map(({ n }) => n)).toEqual([0, large.length]);
    expect(connection.copyTo("COPY blobs TO STDOUT")).toBeUndefined();
  });

  it("streams through a cursor", async () => {
    const numbers = () =>
      openRows(connection, { expressions: ["n"], from: "FROM generate_series(1, 2500) AS n" }, 1, "cursor", {
        rowBytes: 10000,
      });
    const numberOf = ({ row }: RowReader): number => row.bytes.readInt32BE(row.starts[0]);
    await connection.query("BEGIN");
    let sum = 0;
    const all = numbers();
    while (all.next() || (await all.fill())) sum += numberOf(all);
    await all.close();
    expect(sum).toBe((2500 * 2501) / 2);
    const early = numbers();
    while (early.next() || (await early.fill())) if (numberOf(early) === 3) break;
    await early.close();
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await connection.query("COMMIT");
  });

  it("has large objects", async () => {
    await connection.query("BEGIN");
    const { rows } = await connection.query<{ oid: number }>("SELECT lo_from_bytea(0, 'abc') AS oid");
    const oid = rows[0]?.oid;
    await connection.query("SELECT lo_put($1, 3, $2)", [oid, Buffer.from("def")]);
    expect((await connection.query("SELECT lo_get($1, 2, 3) AS b", [oid])).rows).toEqual([{ b: Buffer.from("cde") }]);
    await connection.query("ROLLBACK");
    expect((await connection.query("SELECT FROM pg_largeobject_metadata")).rowCount).toBe(0);
  });

  it("is locked while it is open, keeps what was committed, and forgets what was not", async () => {
    await expect(connectPostgres({ pglite: `${folder}/./store` })).rejects.toMatchObject({ code: "E_LOCKED" });
    await connection.query("BEGIN; INSERT INTO blobs VALUES ('lost')");
    await connection.close();
    await connection.close();
    connection = await connectPostgres({ pglite: directory });
    expect((await connection.query("SELECT FROM blobs")).rowCount).toBe(2);
  });

  it("says when the folder holds something else", async () => {
    const other = join(folder, "other");
    rmSync(other, { recursive: true, force: true });
    writeFileSync(other, "a file");
    await expect(connectPostgres({ pglite: other }, { create: true })).rejects.toMatchObject({
      code: expect.stringMatching(/^E_(NOT_A_DATABASE|STORE_NOT_FOUND)$/),
    });
  });

  it("closes when the signal aborts", async () => {
    await connection.close();
    const abort = new AbortController();
    connection = await connectPostgres({ pglite: directory }, { signal: abort.signal });
    await connection.query("BEGIN; DELETE FROM blobs");
    abort.abort();
    await expect(connection.query("SELECT 1")).rejects.toMatchObject({ code: "E_CONNECTION_LOST" });
    await connection.close();
    connection = await connectPostgres({ pglite: directory });
    expect((await connection.query("SELECT FROM blobs")).rowCount).toBe(2);
  });
});
