/** Reads an SQLite database: one read transaction, ordered by key, never a write. */
import { setImmediate as nextTick } from "node:timers/promises";
import type { SqliteApplication } from "../backends/sqlite/application.js";
import type { Beside } from "../backends/sqlite/beside.js";
import { fromSqliteError } from "../backends/sqlite/errors.js";
import { requireOwnTables } from "../backends/sqlite/inspect.js";
import { openUnlocked } from "../backends/sqlite/locks.js";
import { type Database, fitPageCache, isVec0, openSqliteForReading } from "../backends/sqlite/open.js";
import { leftOut } from "../backends/sqlite/reading/left-out.js";
import { defineFunctions } from "../backends/sqlite/reading/order-terms.js";
import {
  countInvalidUuids,
  estimateRows,
  type OrderedRows,
  orderedRows,
  type RowSelection,
} from "../backends/sqlite/reading/ordered-rows.js";
import type { KeyRange } from "../backends/sqlite/reading/range-parts.js";
import { requireSoundVec0 } from "../backends/sqlite/reading/row-check.js";
import type { PartRows } from "../backends/sqlite/reading/row-parts.js";
import { createRowReader } from "../backends/sqlite/reading/row-reader.js";
import { isSorted } from "../backends/sqlite/reading/sort-choice.js";
import { takeTurns } from "../backends/sqlite/reading/turn.js";
import { hasUniqueRowids } from "../backends/sqlite/table.js";
import type { EmbeddingStage } from "../backends/sqlite/vectors/vec0-embeddings.js";
import { readVersions } from "../backends/sqlite/versions.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { firstKinds } from "../records/first-kinds.js";
import type { IdOrder } from "../records/ids/derived-uuids.js";
import { BatchBuilder, type BatchLimits, type RecordBatch } from "../records/record-batch.js";
import type { OrderBy, RunContext, Selection } from "../records/run-context.js";
import type { PartedSource, Source } from "./source.js";

const LOCK_TIMEOUT_SECONDS = 5;

export interface SqliteSourceOptions extends BatchLimits {
  readonly path: string;
  readonly catalog: Catalog;
  /** What the database has besides the catalog's tables. */
  readonly application?: SqliteApplication | undefined;
  /** What ids are sorted as: their texts (default), or the UUIDs that a later stage makes of them. Ids stay as they are. */
  readonly idOrder?: IdOrder | undefined;
  /** "table": each kind's records as its table has them, with every page read once, in its turn. Default "key". */
  readonly order?: "key" | "table" | undefined;
  /**
   * How the order of keys is had. "index": along one, which costs a page from anywhere for each row; "sort": the table is read
   * from its beginning to its end, and sorted in temporary files; "auto" (default): "sort" where a table does not fit into memory.
   */
  readonly orderBy?: OrderBy | undefined;
  /** How long a database that another process has for itself is waited for. Seconds; default 5. */
  readonly lockTimeoutSeconds?: number | undefined;
  /** Bytes of values that a part is to have. Default 4 MiB. */
  readonly partBytes?: number | undefined;
  /** Rows from which on parts are ranges of the key rather than lists of rows, where they can be. Default 4096. */
  readonly rangesFrom?: number | undefined;
  /** It is to read the snapshot of another source of this process, which said so (PartedSource.share). */
  readonly snapshot?: Beside | undefined;
}

/**
 * The records of an SQLite database at any schema level from V3 on; a table that is not there is an empty section.
 * open: E_STORE_NOT_FOUND, E_NOT_A_DATABASE, E_NOT_MIGRATED, E_HOT_JOURNAL, E_PERMISSION, E_LOCKED. read: E_SCHEMA, E_SOURCE_DAMAGED; bad records go to
 * `context.reject` with E_FIELD_TYPE, E_INVALID_UTF8, E_INVALID_JSON, E_INVALID_EMBEDDING, E_MISSING_FIELD, E_OUT_OF_RANGE, E_DIMENSION_MISMATCH.
 */
export function createSqliteSource(options: SqliteSourceOptions): Source {
  const { catalog, application } = options;
  let database: Database | undefined;

  const opened = (): Database => {
    if (database === undefined) throw new Error("the source is not open");
    return database;
  };

  async function* readKind(kind: RecordKind, selection: Selection, context: RunContext): AsyncGenerator<RecordBatch> {
    const { sqlite } = kind;
    fitPageCache(opened(), kind);
    const stage =
      sqlite.layout === "vector" && isStaged(opened(), sqlite.embeddingTable, selection)
        ? await (await import("../backends/sqlite/vectors/vec0-embeddings.js")).stageEmbeddings(
            opened(),
            sqlite.embeddingTable,
            context.signal,
          )
        : undefined;
    try {
      yield* readRows(kind, selection, context, stage);
    } finally {
      stage?.close();
    }
  }

  async function* readRows(
    kind: RecordKind,
    selection: Selection,
    context: RunContext,
    stage: EmbeddingStage | undefined,
  ): AsyncGenerator<RecordBatch> {
    const ofPart = selection.part?.rows as PartRows | KeyRange | undefined;
    if (ofPart !== undefined) {
      const { rowsOfPart } = await import("./sqlite-parts.js");
      const listed = rowsOfPart(opened(), kind, ofPart);
      yield* readInOrder(kind, listed, false, context);
      const { rows: records, sum, squares } = listed.came ?? { rows: 0, sum: 0, squares: 0 };
      context.cameOfPart?.({ records, sum, squares });
      return;
    }
    const reader = createRowReader(opened(), kind, { embeddings: stage?.get });
    if (reader === undefined) return;
    const [rows, { peek = false }] = [rowSelection(kind, selection), selection];
    if (!isSorted(opened(), kind, rows, options.orderBy)) {
      yield* readInOrder(kind, orderedRows(opened(), kind, reader, rows), peek, context);
      return;
    }
    const { sortedRows } = await import("../backends/sqlite/reading/table-runs.js");
    const sorted = sortedRows(opened(), kind, reader, rows);
    try {
      await sorted.sort(context.signal);
      yield* readInOrder(kind, sorted, peek, context);
    } finally {
      await sorted.close();
    }
  }

  function rowSelection(kind: RecordKind, { tenants, limit, wanted: all }: Selection): RowSelection {
    const wanted = all?.get(kind.path);
    return {
      tenants,
      idOrder: options.idOrder ?? "text",
      order: options.order,
      // Wanted records that cannot be named are somewhere in the table.
      limit: wanted !== undefined && wanted.keys === undefined ? undefined : limit,
      wanted: wanted?.keys === undefined ? undefined : wanted,
    };
  }

  async function* readInOrder<Row>(
    kind: RecordKind,
    ordered: OrderedRows<Row>,
    peek: boolean,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const builder = new BatchBuilder(kind, options);
    if (!peek) await ordered.requireAllAhead(context.signal);
    for (const row of ordered.rows()) {
      ordered.saw(row);
      if (builder.length > 0 && (builder.full || ordered.hasLargeValue(row))) {
        const batch = builder.take();
        yield batch;
        builder.recycle(batch);
        // The driver is synchronous: let signals and timers in.
        await nextTick();
        context.signal.throwIfAborted();
      }
      builder.begin();
      try {
        ordered.read(row, builder);
        builder.commit();
      } catch (error) {
        builder.rollback();
        if (!(error instanceof StorageError)) throw error;
        const { rawRecord } = await import("../backends/sqlite/reading/raw-record.js");
        await context.reject({ kind, error, record: rawRecord(ordered.fields(row)) });
      }
    }
    if (!peek) await ordered.requireAll(context.signal);
    if (builder.length > 0) yield builder.take();
  }

  /** Looks at what is there before its first record, and tells of what no record has. */
  function begin(selection: Selection, context: RunContext): RecordKind[] {
    const kinds = catalog.kinds.filter(({ path }) => selection.paths.has(path));
    for (const { sqlite } of kinds)
      if (sqlite.layout === "vector" && isVec0(opened(), sqlite.embeddingTable))
        requireSoundVec0(opened(), sqlite.embeddingTable);
    if (selection.peek || selection.part !== undefined) return kinds;
    const { tenants } = selection;
    for (const line of leftOut(opened(), { catalog: catalog.kinds, kinds, tenants, others: application?.otherTables }))
      context.leftOut(line);
    return kinds;
  }

  const whole: string[] = [];
  let made: Promise<PartedSource> | undefined;
  const parts = (): Promise<PartedSource> => {
    made ??= import("./sqlite-parts.js").then(
      ({ SqliteParts }) =>
        new SqliteParts({
          ...{ path: options.path, catalog, application, orderBy: options.orderBy, whole },
          ...{ database: opened, begin, rowSelection, partBytes: options.partBytes, rangesFrom: options.rangesFrom },
          lockTimeoutSeconds: options.lockTimeoutSeconds ?? LOCK_TIMEOUT_SECONDS,
          isStaged: (table, selection) => isStaged(opened(), table, selection),
        }),
    );
    return made;
  };
  const inParts: PartedSource = {
    whole,
    share: async (open, context) => (await parts()).share(open, context),
    async *plan(selection, context) {
      yield* (await parts()).plan(selection, context);
    },
    requireAll: async (path, came, selection) => (await parts()).requireAll?.(path, came, selection),
  };

  return {
    name: `sqlite:${options.path}`,
    async open({ signal, activity }) {
      const open = (timeout: number): Database => {
        const opening = openSqliteForReading(options.path, timeout, options.snapshot);
        try {
          defineFunctions(opening);
          if (options.snapshot?.turn !== undefined) takeTurns(opening, options.snapshot.turn, signal);
          opening.exec("BEGIN");
          requireOwnTables(opening, options.path, catalog.kinds, application);
          return opening;
        } catch (error) {
          opening.close();
          throw fromSqliteError(error);
        }
      };
      try {
        database = await openUnlocked(open, {
          seconds: options.lockTimeoutSeconds ?? LOCK_TIMEOUT_SECONDS,
          signal,
          onWait: (waiting) => activity?.({ phase: "connecting", waiting }),
        });
        const migrations = application?.readVersions?.(database) ?? [];
        const order = options.order === "table" ? { order: options.order } : {};
        return { backend: "sqlite", migrations, versions: readVersions(database), catalog, ...order };
      } catch (error) {
        throw fromSqliteError(error);
      }
    },
    async estimate(selection) {
      const kinds = catalog.kinds.filter(({ path }) => selection.paths.has(path));
      const estimates = new Map<string, number>();
      for (const kind of kinds) {
        const rows = estimateRows(opened(), kind);
        if (rows !== undefined) estimates.set(kind.path, rows);
      }
      return estimates;
    },
    async countInvalidUuids({ paths, tenants }) {
      const counts = new Map<string, number>();
      for (const kind of catalog.kinds) {
        const count = paths.has(kind.path) ? countInvalidUuids(opened(), kind, tenants) : 0;
        if (count > 0) counts.set(kind.path, count);
        // A scan of each table: let signals and timers in.
        await nextTick();
      }
      return counts;
    },
    partial: () => undefined,
    inParts,

    async *read(selection, context) {
      try {
        const { part } = selection;
        const kinds = begin(part === undefined ? selection : { ...selection, paths: new Set([part.path]) }, context);
        for (const kind of firstKinds(kinds, selection.first, ({ path }) => path))
          yield* readKind(kind, selection, context);
      } catch (error) {
        throw context.signal.aborted ? error : fromSqliteError(error);
      }
    },
    async close() {
      try {
        database?.close();
      } catch {
        // Nothing was written, so nothing is lost.
      }
      database = undefined;
    },
  };
}

/**
 * A few embeddings of a vec0 table are looked up one by one; all of them come faster from a copy. Where a rowid may stand
 * twice, the copy shows it.
 */
function isStaged(database: Database, table: string, { limit = Number.POSITIVE_INFINITY }: Selection): boolean {
  const vec0 = isVec0(database, table);
  if (vec0 === undefined) return false;
  return vec0 ? limit > 1000 : !hasUniqueRowids(database, table);
}
