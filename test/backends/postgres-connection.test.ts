import { createServer, connect as dial } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type PostgresConnection } from "../../src/backends/postgres/session/connection.js";
import { fromPostgresError, postgresCause } from "../../src/backends/postgres/session/errors.js";
import { beginTransaction, inTransaction } from "../../src/backends/postgres/session/transaction.js";
import { StorageError } from "../../src/errors.js";
import { createTestDatabase, createTestRole, describePostgres, type TestDatabase } from "../helpers/postgres-server.js";

async function failure(work: Promise<unknown>): Promise<StorageError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StorageError);
  return error as StorageError;
}

/** Everything that a report could print of an error. */
function allText(error: StorageError): string {
  const cause = error.cause as Error | undefined;
  return JSON.stringify([error.message, error.context, cause?.message, { ...cause }]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Binary COPY data of one int4 column. */
function copyData(values: readonly number[]): Buffer {
  const header = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
  const tuples = values.map((value) => {
    const tuple = Buffer.alloc(10);
    tuple.writeInt16BE(1, 0);
    tuple.writeInt32BE(4, 2);
    tuple.writeInt32BE(value, 6);
    return tuple;
  });
  return Buffer.concat([header, ...tuples, Buffer.from([0xff, 0xff])]);
}

describe("a server that cannot be reached", () => {
  it("is tried until the timeout, and then reported with the guide's line", async () => {
    const port = await freePort();
    const url = `postgresql://user:s3cret@127.0.0.1:${port}/db`;
    const error = await failure(connectPostgres({ url }, { connectionTimeoutSeconds: 1 }));
    expect(error.code).toBe("E_CONNECTION_TIMEOUT");
    expect(error.message).toBe("Connection timeout after 1 seconds");
    expect(error.context.detail).toContain(`postgresql://user@127.0.0.1:${port}/db: connect ECONNREFUSED`);
    expect(allText(error)).not.toContain("s3cret");
  });

  it("that accepts but never answers is a timeout too", async () => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    const { port } = silent.address() as { port: number };
    const error = await failure(
      connectPostgres({ url: `postgresql://u@127.0.0.1:${port}/db` }, { connectionTimeoutSeconds: 1 }),
    );
    expect(error.code).toBe("E_CONNECTION_TIMEOUT");
    silent.close();
  });

  it("stops trying when the run is interrupted", async () => {
    const port = await freePort();
    const abort = new AbortController();
    const connecting = connectPostgres({ url: `postgresql://u@127.0.0.1:${port}/db` }, { signal: abort.signal });
    abort.abort(new StorageError("E_INTERRUPTED", "the run was interrupted"));
    await expect(connecting).rejects.toThrow();
  });

  it.each(["postgresql://u:s3cret@host:port/db", "mysql://u:s3cret@host/db", "postgresql://u:s3cret@ho st:1"])(
    "has an invalid URL: %s",
    async (url) => {
      const error = await failure(connectPostgres({ url }, { connectionTimeoutSeconds: 1 }));
      expect(["E_CONFIG", "E_CONNECT"]).toContain(error.code);
      expect(allText(error)).not.toContain("s3cret");
    },
  );
});

describePostgres("a PostgreSQL connection", () => {
  let database: TestDatabase;
  let connection: PostgresConnection;

  beforeAll(async () => {
    database = await createTestDatabase();
    connection = await connectPostgres({ url: database.url });
    await connection.query("CREATE TABLE numbers (n int4 PRIMARY KEY, t text CHECK (t <> 'bad'), v varchar(3))");
  });

  afterAll(async () => {
    await connection?.close();
    await database?.drop();
  });

  it("names itself without the password", async () => {
    const url = new URL(database.url);
    expect(connection.name).toBe(`postgresql://${url.username}@${url.hostname}:${url.port}/${database.name}`);
  });

  it("reads int8 as bigint and leaves times and json as text", async () => {
    const { rows } = await inTransaction(connection, "read", () =>
      connection.query(
        `SELECT 9223372036854775807::int8 AS i, 'infinity'::timestamptz AS t, '{"a":1.10}'::jsonb AS j,
              '10000-01-01 00:00:00.000001+00'::timestamptz AS far, true AS b, '\\x00ff'::bytea AS y, ARRAY['a',NULL,'NULL'] AS r`,
      ),
    );
    expect(rows).toEqual([
      {
        i: 9223372036854775807n,
        t: "infinity",
        j: '{"a": 1.10}',
        far: "10000-01-01 00:00:00.000001+00",
        b: true,
        y: Buffer.from([0, 255]),
        r: ["a", null, "NULL"],
      },
    ]);
    expect(pg.types.getTypeParser(20, "text")("1")).toBe("1");
  });

  it.each(["read", "write"] as const)(
    "has no timeouts, and a server that looks after its client, in a transaction to %s and only there",
    async (mode) => {
      const names = ["statement_timeout", "idle_in_transaction_session_timeout", "client_connection_check_interval"];
      const settings = async (): Promise<unknown> =>
        (
          await connection.query(
            `SELECT array_agg(current_setting(name) ORDER BY place) AS timeouts, current_setting('TimeZone') AS zone,
                    current_setting('search_path') AS path, current_setting('application_name') AS application
             FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, place)`,
            [names],
          )
        ).rows[0];
      const before = await settings();
      expect(await inTransaction(connection, mode, settings)).toEqual({
        timeouts: ["0", "0", "500ms"],
        zone: "UTC",
        path: "pg_catalog, pg_temp",
        application: "llmspell-storage",
      });
      expect(await settings()).toEqual(before);
    },
  );

  it("sends a whole COPY at once, and goes on after one that fails", async () => {
    const sql = "COPY numbers (n) FROM STDIN (FORMAT binary)";
    expect(await connection.copyFrom(sql, copyData([1, 2, 3]))).toBe(3);
    const duplicate = await failure(connection.copyFrom(sql, copyData([4, 1])));
    expect(duplicate.code).toBe("E_KEY_CONFLICT");
    expect(postgresCause(duplicate)).toMatchObject({ sqlState: "23505", constraint: "numbers_pkey", table: "numbers" });
    const missing = await failure(connection.copyFrom("COPY nowhere FROM STDIN (FORMAT binary)", copyData([4])));
    expect(missing.code).toBe("E_NOT_MIGRATED");
    const many = copyData(Array.from({ length: 300_000 }, (_, i) => i + 10));
    expect(many.length).toBeGreaterThan(2 * 1048576);
    expect(await connection.copyFrom(sql, many)).toBe(300_000);
    const { rows } = await connection.query("SELECT count(*) AS c, sum(n) AS s FROM numbers");
    expect(rows).toEqual([{ c: 300_003n, s: "45002850006" }].map((row) => ({ ...row, s: 45002850006n })));
  });

  it.each([
    ["SELECT 'secret'::int4", "E_FIELD_TYPE"],
    ["SELECT 4000000000::int8::int4", "E_OUT_OF_RANGE"],
    ["INSERT INTO numbers VALUES (-1, 'bad')", "E_CHECK"],
    ["INSERT INTO numbers VALUES (NULL)", "E_MISSING_FIELD"],
    ["INSERT INTO numbers VALUES (-1, 'x', 'secret')", "E_TOO_LONG"],
    ["SELECT secret FROM numbers", "E_NOT_MIGRATED"],
    ["SELECT * FROM nosuchschema.t", "E_NOT_MIGRATED"],
    ["SELECT jsonb_path_query('[]', '$.secret', '{}', false), '{\"secret'::jsonb", "E_FIELD_TYPE"],
  ])("maps the error of %s to %s", async (sql, code) => {
    const error = await failure(connection.query(sql));
    expect(error.code).toBe(code);
    if (code !== "E_NOT_MIGRATED") expect(allText(error)).not.toContain("secret");
  });

  it("tells a missing database and a refused password", async () => {
    const missing = new URL(database.url);
    missing.pathname = "/no_such_database";
    expect((await failure(connectPostgres({ url: missing.href }))).code).toBe("E_STORE_NOT_FOUND");
    await using role = await createTestRole(database, { password: "right" });
    for (const password of ["s3cret", ""]) {
      const url = new URL(role.url);
      url.password = password;
      const error = await failure(connectPostgres({ url: url.href }));
      expect(error.code).toBe("E_AUTHENTICATION");
      expect(allText(error)).not.toContain("s3cret");
    }
  });

  it("does without encryption for sslmode=prefer where the server has none", async () => {
    const preferring = await connectPostgres({ url: `${database.url}?sslmode=prefer` });
    expect((await preferring.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await preferring.close();
    const error = await failure(connectPostgres({ url: `${database.url}?sslmode=require` }));
    expect(error.code).toBe("E_CONNECT");
  });

  it("waits for a server that starts late", async () => {
    const port = await freePort();
    const target = new URL(database.url);
    const late = new URL(database.url);
    late.host = `127.0.0.1:${port}`;
    const connecting = connectPostgres({ url: late.href }, { connectionTimeoutSeconds: 20 });
    const refused = await failure(connectPostgres({ url: late.href }, { connectionTimeoutSeconds: 0.3 }));
    expect(refused.code).toBe("E_CONNECTION_TIMEOUT");
    const proxy = createServer((socket) => {
      const upstream = dial(Number(target.port), target.hostname);
      socket.pipe(upstream).pipe(socket);
      socket.on("error", () => {});
      upstream.on("error", () => {});
    }).listen(port, "127.0.0.1");
    const connected = await connecting;
    expect((await connected.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await connected.close();
    proxy.close();
  });

  async function sessionEnds(pid: number): Promise<void> {
    for (;;) {
      const { rows } = await connection.query("SELECT FROM pg_stat_activity WHERE pid = $1", [pid]);
      if (rows.length === 0) return;
    }
  }

  async function open(signal?: AbortSignal): Promise<{ other: PostgresConnection; pid: number }> {
    const other = await connectPostgres({ url: database.url }, signal === undefined ? {} : { signal });
    const { rows } = await other.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    return { other, pid: (rows[0] as { pid: number }).pid };
  }

  const endless = "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT (FORMAT binary)";

  it("streams a COPY, and closes when the reader leaves early", async () => {
    const { other, pid } = await open();
    const pieces: Buffer[] = [];
    for await (const piece of other.copyTo("COPY (VALUES (1), (2)) TO STDOUT (FORMAT binary)") ?? [])
      pieces.push(Buffer.from(piece));
    expect(Buffer.concat(pieces)).toEqual(copyData([1, 2]));
    for await (const piece of other.copyTo(endless) ?? []) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect((await failure(other.query("SELECT 1"))).code).toBe("E_CONNECTION_LOST");
    await other.close();
    await sessionEnds(pid);
  });

  it("goes on after a COPY that the server refuses", async () => {
    const { other } = await open();
    const reading = (async () => {
      for await (const _ of other.copyTo("COPY (SELECT * FROM nowhere) TO STDOUT") ?? []);
    })();
    expect((await failure(reading)).code).toBe("E_NOT_MIGRATED");
    expect((await other.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await other.close();
  });

  it("reports a connection that breaks during a COPY and during a query", async () => {
    const first = await open();
    const reading = (async () => {
      let terminated = false;
      for await (const _ of first.other.copyTo(endless) ?? []) {
        if (!terminated) await connection.query("SELECT pg_terminate_backend($1)", [first.pid]);
        terminated = true;
      }
    })();
    expect((await failure(reading)).code).toBe("E_CONNECTION_LOST");
    await first.other.close();
    const second = await open();
    const waiting = failure(second.other.query("SELECT pg_sleep(600)"));
    await connection.query("SELECT pg_terminate_backend($1)", [second.pid]);
    expect((await waiting).code).toBe("E_CONNECTION_LOST");
    await second.other.close();
  });

  it("closes when the signal aborts, in a query and in a COPY, and the server rolls back", async () => {
    for (const sql of ["SELECT pg_sleep(600)", endless]) {
      const abort = new AbortController();
      const { other, pid } = await open(abort.signal);
      await beginTransaction(other, "write");
      await other.query("INSERT INTO public.numbers VALUES (-7)");
      const working = (async () => {
        if (sql === endless) for await (const _ of other.copyTo(sql) ?? []) abort.abort();
        else await other.query(sql);
      })();
      if (sql !== endless) setImmediate(() => abort.abort());
      expect((await failure(working)).code).toBe("E_CONNECTION_LOST");
      await other.close();
      await sessionEnds(pid);
      expect((await connection.query("SELECT FROM numbers WHERE n = -7")).rowCount).toBe(0);
    }
  });
});

describe("an end that the server's side decided", () => {
  const server = (code: string, message: string, routine?: string): StorageError =>
    fromPostgresError(Object.assign(new Error(message), { code, severity: "ERROR", routine }));

  it("says so, and what helps", () => {
    const standby = server("40001", "canceling statement due to conflict with recovery", "ProcessInterrupts");
    expect([standby.code, standby.context.hint]).toEqual(["E_LOCKED", expect.stringContaining("hot_standby_feedback")]);
    expect(server("40001", "could not serialize access due to concurrent update").context.hint).toBe("Run it again.");
    const cancelled = server("57014", "canceling statement due to user request");
    expect([cancelled.code, cancelled.exitStatus]).toEqual(["E_CONNECTION_LOST", 3]);
  });
});

describe("an error that is none of the server's", () => {
  it("keeps its message, and a StorageError stays itself", () => {
    expect(fromPostgresError(new Error("boom"))).toMatchObject({ code: "E_UNEXPECTED", message: "boom" });
    const error = new StorageError("E_CHECK", "x");
    expect(fromPostgresError(error)).toBe(error);
  });
});

describePostgres("a server's proxy that knows nothing of encryption", () => {
  it.each([
    ["closes the connection", ""],
    ["answers with an error", "E"],
  ])("%s: it is used without", async (_, answer) => {
    await using database = await createTestDatabase();
    const target = new URL(database.url);
    const port = Number(target.port);
    const SSL_REQUEST = 80877103;
    const proxy = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (first) => {
        if (first.length === 8 && first.readUInt32BE(4) === SSL_REQUEST) {
          socket.end(answer);
          return;
        }
        const upstream = dial(port, target.hostname);
        upstream.on("error", () => {});
        upstream.write(first);
        socket.pipe(upstream).pipe(socket);
      });
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => proxy.once("listening", resolve));
    target.host = `127.0.0.1:${(proxy.address() as { port: number }).port}`;
    const connection = await connectPostgres({ url: target.href });
    expect((await connection.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await connection.close();
    proxy.close();
  });
});
