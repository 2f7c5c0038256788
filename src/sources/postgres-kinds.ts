/** The records of one kind, from a snapshot of PostgreSQL that is open: all of them, the first ones, those of a part; and whether all came. */
import { isSortFaster, type Way } from "../backends/postgres/database/row-order.js";
import { filtersOf, type PartRows } from "../backends/postgres/reading/parts/row-parts.js";
import { type RecordStatement, wantedCondition } from "../backends/postgres/reading/record-statement.js";
import { requireAllRows, requireTally } from "../backends/postgres/reading/row-count.js";
import type { RowSecurity } from "../backends/postgres/reading/row-security.js";
import type { SelectOptions, TenantFilter } from "../backends/postgres/reading/select.js";
import { tenantStatements } from "../backends/postgres/reading/tenants.js";
import type { PostgresConnection } from "../backends/postgres/session/connection.js";
import { type RecordKind, tenantFieldOf } from "../catalog/index.js";
import type { RecordBatch } from "../records/record-batch.js";
import type { OrderBy, RunContext, Selection } from "../records/run-context.js";

export interface KindReaderOptions {
  readonly connection: PostgresConnection;
  readonly rowSecurity: RowSecurity;
  readonly select: SelectOptions;
  /** As PostgresSourceOptions has them. */
  readonly check: "count" | "none";
  readonly order: "key" | "table";
  readonly orderBy: OrderBy;
  /** Of the kind's table. */
  readonly bytesOf: (kind: RecordKind) => number;
  readonly statementFor: (
    kind: RecordKind,
    context: RunContext,
    select: SelectOptions,
    ofPart: boolean,
  ) => RecordStatement;
}

export class KindReader {
  constructor(private readonly options: KindReaderOptions) {}

  async *read(kind: RecordKind, selection: Selection, context: RunContext): AsyncGenerator<RecordBatch> {
    const { connection, rowSecurity, select } = this.options;
    const tenants = rowSecurity.tenantsOf(kind, selection.tenants);
    const passes = rowSecurity.passesOf(kind, tenants);
    const [tenant, ...more] = tenants ?? [];
    if (passes !== undefined && tenant !== undefined) await rowSecurity.show(passes, tenant);
    // Several tenants' rows could not be fetched by their places in one statement.
    const isInPasses = passes !== undefined && more.length > 0;
    const wanted = isInPasses ? undefined : wantedCondition(connection, kind, selection, select);
    if (wanted !== undefined && selection.limit !== undefined)
      yield* this.readWanted(kind, { limit: selection.limit, wanted }, tenants, context);
    else yield* this.readSelected(kind, selection, tenants, context);
  }

  /** Tells the context what came of the part: whoever reads them all counts. */
  async *readPart(kind: RecordKind, rows: PartRows, context: RunContext): AsyncGenerator<RecordBatch> {
    const { connection, select, statementFor } = this.options;
    const tally = { records: 0, sum: 0 };
    const statement = statementFor(kind, context, { ...select, passes: undefined }, true);
    for (const filter of filtersOf(connection, rows)) yield* statement.read(filter, tally);
    await statement.end();
    context.cameOfPart?.(tally);
  }

  /** The kind's records, or so many of them as the selection needs. @param literals of the tenants; undefined for all */
  private async *readSelected(
    kind: RecordKind,
    { limit, wanted, peek, tenants: selected }: Selection,
    literals: readonly string[] | undefined,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    // Of none of these tenants has the owner found a row.
    if (literals?.length === 0 && tenantFieldOf(kind) !== undefined) return;
    const { connection, rowSecurity, check, statementFor } = this.options;
    const needed = wanted?.has(kind.path) ? undefined : limit;
    const tally = { records: 0, sum: 0 };
    let given = 0;
    const passes = rowSecurity.passesOf(kind, literals);
    const way = await this.wayThrough(kind, { passes, limit: needed });
    const statements = await tenantStatements(connection, kind, literals, { ...this.options.select, way });
    const select = { ...this.options.select, way, passes: statements[0]?.length === 1 ? undefined : passes };
    const statement = statementFor(kind, context, select, false);
    for (const tenants of statements) {
      const left = needed === undefined ? {} : { limit: needed - given };
      if (left.limit === 0) break;
      if (passes !== undefined && tenants?.length === 1) {
        // Below the statement's savepoint the setting would not outlive an error.
        await statement.end();
        await rowSecurity.show(passes, tenants[0] as string);
      }
      for await (const batch of statement.read({ ...(tenants && { tenants }), ...left }, tally)) {
        given += batch.rows;
        yield batch;
      }
    }
    await statement.end();
    // What is read ahead comes again.
    if (peek === true) return;
    const counted = rowSecurity.countOf(kind, selected, needed);
    if (counted !== undefined) return requireTally(kind, counted, tally);
    if (check === "none") return;
    const filter = {
      ...(literals === undefined ? {} : { tenants: literals }),
      ...(needed === undefined ? {} : { limit: needed }),
    };
    const counting = { ...this.options.select, passes };
    await requireAllRows(connection, kind, filter, counting, tally, statement.readablePages);
  }

  /** The first records, and those that are wanted beyond them. What is missing could not be counted: indexes are not used. */
  private async *readWanted(
    kind: RecordKind,
    filter: TenantFilter,
    literals: readonly string[] | undefined,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const { select, check, statementFor } = this.options;
    const tenants = literals === undefined ? {} : { tenants: literals };
    const statement = statementFor(kind, context, select, false);
    yield* statement.readWanted({ ...filter, ...tenants }, check !== "none");
    await statement.end();
  }

  private async wayThrough(
    kind: RecordKind,
    { passes, limit }: Pick<SelectOptions, "passes"> & { readonly limit: number | undefined },
  ): Promise<Way> {
    const { connection, order, orderBy, bytesOf } = this.options;
    if (order === "table") return "table";
    // The rows of several passes are sorted in any case.
    const isSorted = kind.keyless === true || passes !== undefined || limit !== undefined;
    if (isSorted || orderBy === "index") return "index";
    if (orderBy === "sort") return "sort";
    return !connection.embedded && (await isSortFaster(connection, kind, bytesOf(kind))) ? "sort" : "index";
  }
}
