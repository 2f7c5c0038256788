/** What a load into an SQLite file would do: found by reading it. */
import { accessSync, constants, existsSync } from "node:fs";
import { dirname } from "node:path";
import { fromSqliteError } from "../../backends/sqlite/errors.js";
import { deferrableIndexes } from "../../backends/sqlite/loading/deferred-indexes.js";
import { triggersOf } from "../../backends/sqlite/loading/triggers.js";
import { type Database, openSqliteForReading } from "../../backends/sqlite/open.js";
import { estimateRows } from "../../backends/sqlite/reading/ordered-rows.js";
import { columnsOf, kindCondition, mainTable, quoted } from "../../backends/sqlite/table.js";
import type { RecordKind } from "../../catalog/index.js";
import { StorageError, toStorageError } from "../../errors.js";
import { openNewSqliteSchema, planSqliteMigration, requireSqliteName } from "../../llmspell/schema/migrator.js";
import type { LoadPlanner, LoadPlanOptions } from "../../records/loads/load-plan.js";
import { linkTarget, refuseLeftovers } from "../sqlite-target.js";
import { freeBytesAt } from "./free-space.js";

export async function planSqliteLoad(given: string, options: LoadPlanOptions): Promise<LoadPlanner> {
  const path = linkTarget(given);
  const refusals: StorageError[] = [];
  const attempt = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      refusals.push(toStorageError(fromSqliteError(error)));
      return undefined;
    }
  };
  const isThere = existsSync(path);
  attempt(() => requireWritable(isThere ? path : nearestFolder(path), given));
  let database: Database | undefined;
  let migrations: readonly string[] = [];
  if (isThere) {
    database = attempt(() => openSqliteForReading(path));
    const opened = database;
    if (opened !== undefined) migrations = attempt(() => planSqliteMigration(opened)) ?? [];
  } else {
    attempt(() => requireSqliteName(path));
    attempt(() => refuseLeftovers(path));
    // Its tables, indexes and triggers are those of the file that is to be made.
    ({ database, applied: migrations } = await openNewSqliteSchema());
  }
  const whereOf = (kind: RecordKind): string => {
    const condition = kindCondition(kind);
    return condition === undefined ? "" : `WHERE ${condition}`;
  };
  const has = (kind: RecordKind): boolean =>
    database !== undefined && columnsOf(database, mainTable(kind)) !== undefined;
  const planner: LoadPlanner = {
    refusals,
    grants: [],
    notes: [
      ...(isThere ? [] : [`${given} is not there: it is made, and complete or not at all`]),
      ...(isThere && migrations.length > 0
        ? ["indexes and triggers of migrations that come first are not listed"]
        : []),
    ],
    migrations,
    freeBytes: freeBytesAt(path),
    async rowsOf(kind) {
      if (database === undefined) return { empty: undefined, count: undefined, estimated: false };
      if (!has(kind)) return { empty: true, count: 0, estimated: false };
      const one = database.prepare(`SELECT 1 FROM ${quoted(mainTable(kind))} ${whereOf(kind)} LIMIT 1`).get();
      if (one === undefined) return { empty: true, count: 0, estimated: false };
      return { empty: false, count: estimateRows(database, kind), estimated: true };
    },
    async countOf(kind) {
      if (database === undefined) return undefined;
      if (!has(kind)) return 0;
      return database
        .prepare(`SELECT count(*) FROM ${quoted(mainTable(kind))} ${whereOf(kind)}`)
        .pluck()
        .get() as number;
    },
    async wayOf(kind) {
      const { empty } = await planner.rowsOf(kind);
      const into = empty === undefined ? "unknown" : empty ? "direct" : "merge";
      const locks = ["the file's write lock from the beginning to the end"];
      if (database === undefined || !has(kind)) return { into, rebuilds: [], silences: [], locks };
      const opened = database;
      const table = mainTable(kind);
      // Another kind's rows may be in the same table.
      const isBare = opened.prepare(`SELECT 1 FROM ${quoted(table)} LIMIT 1`).get() === undefined;
      const tables = kind.sqlite.layout === "vector" ? [table, kind.sqlite.embeddingTable] : [table];
      return {
        into,
        rebuilds: isBare ? deferrableIndexes(opened, kind).map(({ name }) => name) : [],
        silences: triggersOf(opened, tables).map(({ name }) => name),
        locks,
      };
    },
    meet: undefined,
    measure: async () => (await import("./sqlite-measure.js")).measureSqliteLoad(path, options),
    async close() {
      database?.close();
      database = undefined;
    },
  };
  return planner;
}

function nearestFolder(path: string): string {
  let folder = dirname(path);
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

function requireWritable(path: string, shown: string): void {
  try {
    accessSync(path, constants.W_OK);
  } catch (error) {
    throw new StorageError("E_READ_ONLY", `${shown} cannot be written`, {}, error);
  }
}
