/**
 * Reading a database as immutable, which better-sqlite3 cannot (it takes no URI): node:sqlite behind the members of
 * better-sqlite3 that reading uses. Only for a WAL database on a read-only medium without -wal and -shm.
 */
import { createRequire } from "node:module";
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import { pathToFileURL } from "node:url";
import type { Database } from "better-sqlite3";

/** The part of better-sqlite3's Database that an immutable database has: prepare (get, all, iterate, raw, pluck, safeIntegers), exec, pragma, function, loadExtension, close. */
export function openImmutable(path: string): Database {
  // Loaded here, because merely importing node:sqlite prints an ExperimentalWarning.
  const { DatabaseSync: Driver } = createRequire(import.meta.url)("node:sqlite") as typeof import("node:sqlite");
  const url = pathToFileURL(path);
  url.searchParams.set("immutable", "1");
  const driver = new Driver(url, { readOnly: true, allowExtension: true });
  const database = {
    name: path,
    open: true,
    readonly: true,
    get inTransaction() {
      return driver.isTransaction;
    },
    prepare: (sql: string) => prepare(driver, sql),
    exec: (sql: string) => driver.exec(sql),
    pragma: (sql: string) => driver.prepare(`PRAGMA ${sql}`).all(),
    function: (
      name: string,
      options: { deterministic?: boolean; directOnly?: boolean },
      run: (...values: SQLInputValue[]) => SQLInputValue,
    ) => driver.function(name, options, run),
    loadExtension: (file: string) => driver.loadExtension(file),
    close() {
      if (driver.isOpen) driver.close();
    },
  };
  return database as unknown as Database;
}

function prepare(driver: DatabaseSync, sql: string) {
  const statement = driver.prepare(sql);
  let form: "row" | "raw" | "pluck" = "row";
  const convert = (row: unknown): unknown => {
    if (row === undefined) return undefined;
    const values = Object.values(row as object).map((value) =>
      value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
    );
    if (form === "raw") return values;
    return form === "pluck" ? values[0] : row;
  };
  const self = {
    raw() {
      form = "raw";
      return self;
    },
    pluck() {
      form = "pluck";
      return self;
    },
    safeIntegers(on = true) {
      statement.setReadBigInts(on);
      return self;
    },
    get: (...values: unknown[]) => convert(statement.get(...(values.flat() as SQLInputValue[]))),
    all: (...values: unknown[]) => statement.all(...(values.flat() as SQLInputValue[])).map(convert),
    *iterate(...values: unknown[]) {
      for (const row of statement.iterate(...(values.flat() as SQLInputValue[]))) yield convert(row);
    },
  };
  return self;
}
