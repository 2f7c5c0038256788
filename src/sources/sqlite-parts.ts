/** An SQLite source whose records others read in parts: the snapshot, the plan, and the count of what came. */
import type { SqliteApplication } from "../backends/sqlite/application.js";
import { fromSqliteError } from "../backends/sqlite/errors.js";
import { requireOwnTables } from "../backends/sqlite/inspect.js";
import type { Database } from "../backends/sqlite/open.js";
import { orderTerms } from "../backends/sqlite/reading/order-terms.js";
import {
  type OrderedRows,
  orderedRows,
  type RowSelection,
  selectedRows,
} from "../backends/sqlite/reading/ordered-rows.js";
import { cutRanges, type KeyRange, rowsOfRange } from "../backends/sqlite/reading/range-parts.js";
import { requireSameRows, type Tally, tallyOfTable } from "../backends/sqlite/reading/row-check.js";
import { bytesSql, cutRowids, type PartRows, readerOf, rowsOfList } from "../backends/sqlite/reading/row-parts.js";
import { createRowReader } from "../backends/sqlite/reading/row-reader.js";
import { isSorted } from "../backends/sqlite/reading/sort-choice.js";
import { shareSnapshot } from "../backends/sqlite/shared-snapshot.js";
import { mainTable, rowidOf, tenantsFor } from "../backends/sqlite/table.js";
import type { Catalog, RecordKind } from "../catalog/index.js";
import type { Part, PartTally } from "../records/parts.js";
import type { OrderBy, RunContext, Selection } from "../records/run-context.js";
import type { PartedSource } from "./source.js";

export interface SqlitePartsOptions {
  readonly database: () => Database;
  readonly path: string;
  readonly catalog: Catalog;
  readonly application: SqliteApplication | undefined;
  readonly lockTimeoutSeconds: number;
  readonly orderBy: OrderBy | undefined;
  readonly partBytes: number | undefined;
  readonly rangesFrom: number | undefined;
  /** Begins a reading, and gives the kinds that are there. */
  readonly begin: (selection: Selection, context: RunContext) => readonly RecordKind[];
  readonly rowSelection: (kind: RecordKind, selection: Selection) => RowSelection;
  /** The table's embeddings are read from a copy. */
  readonly isStaged: (table: string, selection: Selection) => boolean;
  /** PartedSource.whole. */
  readonly whole: string[];
}

export class SqliteParts implements PartedSource {
  readonly whole: string[];
  /** Tables whose parts are ranges: what is there. Of a list each row was counted when it was made. */
  private readonly counted = new Map<string, { readonly table: string; readonly there: Promise<Tally> }>();

  constructor(private readonly options: SqlitePartsOptions) {
    this.whole = options.whole;
  }

  share(openOthers: (snapshot: object) => Promise<void>, { signal }: RunContext): Promise<void> {
    const { database, path, catalog, application, lockTimeoutSeconds } = this.options;
    return shareSnapshot({
      ...{ path, database: database(), openOthers, lockTimeoutSeconds, signal },
      beginAnew() {
        database().exec("ROLLBACK; BEGIN");
        requireOwnTables(database(), path, catalog.kinds, application);
      },
    });
  }

  async *plan(selection: Selection, context: RunContext): AsyncGenerator<Part> {
    try {
      for (const kind of this.options.begin(selection, context)) yield* this.planKind(kind, selection, context);
    } catch (error) {
      throw context.signal.aborted ? error : fromSqliteError(error);
    }
  }

  async requireAll(path: string, { records, sum, squares = 0 }: PartTally): Promise<void> {
    const counted = this.counted.get(path);
    if (counted === undefined) return;
    requireSameRows(counted.table, { rows: records, sum: sum >>> 0, squares: squares >>> 0 }, await counted.there);
  }

  private async *planKind(kind: RecordKind, selection: Selection, context: RunContext): AsyncGenerator<Part> {
    const { path, sqlite } = kind;
    const { database, partBytes, orderBy, rowSelection, isStaged } = this.options;
    const reader = createRowReader(database(), kind);
    if (reader === undefined) return;
    const asked = rowSelection(kind, selection);
    const isKeyed = kind.keyless !== true && asked.order !== "table";
    const rows = isKeyed ? { ...asked, terms: orderTerms(database(), kind, asked.idOrder) } : asked;
    const ordered = orderedRows(database(), kind, reader, rows);
    const isInRuns = isSorted(database(), kind, rows, orderBy);
    const isInChunks = sqlite.layout === "vector" && isStaged(sqlite.embeddingTable, selection);
    if (ordered.rowids === undefined || isInChunks || isInRuns) {
      const why = isInChunks ? "of embeddings is a vec0 table" : isInRuns ? "is read as it lies" : "has no rowids";
      this.whole.push(`${path}: the table ${why}`);
      yield { path };
      return;
    }
    const { signal } = context;
    const ranges = await this.rangesOf(kind, rows, signal);
    for (const range of ranges ?? []) yield { path, rows: range };
    if (ranges !== undefined) return;
    for await (const list of cutRowids(database(), kind, ordered.rowids(), { partBytes, signal }))
      yield { path, rows: list };
    await ordered.requireAll(signal);
  }

  /** Where all rows of the table are wanted and can be had as ranges, those; the table is counted meanwhile. */
  private async rangesOf(
    kind: RecordKind,
    { terms, tenants, limit, wanted }: RowSelection,
    signal: AbortSignal,
  ): Promise<KeyRange[] | undefined> {
    const isAll = selectedRows(kind, tenantsFor(kind, tenants)) === undefined && limit === undefined;
    if (!isAll || terms === undefined || wanted !== undefined) return undefined;
    const { database, partBytes, rangesFrom: leastRows } = this.options;
    const bytes = bytesSql(database(), kind);
    const ranges = await cutRanges(database(), kind, { terms, partBytes, leastRows, bytes, signal });
    if (ranges === undefined) return undefined;
    const table = mainTable(kind);
    const there = tallyOfTable(database(), table, rowidOf(database(), table), undefined, [], signal).catch((error) => {
      throw signal.aborted ? error : fromSqliteError(error);
    });
    // `requireAll` throws it, unless the run ends before.
    there.catch(() => undefined);
    this.counted.set(kind.path, { table, there });
    return ranges;
  }
}

/** The rows of a part; `came`, where they are a range: to be told of when all were read (RunContext.cameOfPart). */
export function rowsOfPart(
  database: Database,
  kind: RecordKind,
  rows: PartRows | KeyRange,
): OrderedRows & { readonly came?: Tally } {
  return "rowids" in rows
    ? rowsOfList(database, kind, rows)
    : rowsOfRange(database, kind, readerOf(database, kind), rows);
}
