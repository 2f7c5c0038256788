/**
 * Whether all rows of a table came. They are read along indexes, and an index that is damaged lacks rows or gives one twice,
 * without an error: so the table is counted by itself, in the same snapshot.
 */
import type { RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import { shownName, tableOf } from "../database/table-names.js";
import type { PostgresConnection } from "../session/connection.js";
import { fromPostgresError } from "../session/errors.js";
import type { RowTally } from "./record-reader.js";
import { countRecords, type PageRange, type SelectOptions, type TenantFilter } from "./select.js";

const WITHOUT_INDEXES = ["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"] as const;
const set = (names: readonly string[], value: string): string =>
  names.map((name) => `SET LOCAL ${name} = ${value}`).join("; ");

/** Indexes are not used until `useIndexes`; `byPages`: nor are tables walked as a whole. */
export async function useNoIndexes(connection: PostgresConnection, byPages = false): Promise<void> {
  await connection.query(set([...WITHOUT_INDEXES, ...(byPages ? ["enable_seqscan"] : [])], "off"));
}

export async function useIndexes(connection: PostgresConnection): Promise<void> {
  await connection.query(set([...WITHOUT_INDEXES, "enable_seqscan"], "DEFAULT"));
}

/**
 * Throws unless the rows in the tally are those that the filter selects; with a limit, unless they are enough.
 * @param pages those that can be read, where not all can
 * @throws {StorageError} E_SOURCE_DAMAGED
 */
export async function requireAllRows(
  connection: PostgresConnection,
  kind: RecordKind,
  filter: TenantFilter,
  options: SelectOptions,
  tally: RowTally,
  pages?: readonly PageRange[],
): Promise<void> {
  await useNoIndexes(connection, pages !== undefined);
  const { rows } = await connection
    .query<RowCount & Record<string, unknown>>(countRecords(kind, filter, options, pages))
    .catch((error: unknown) => {
      throw fromPostgresError(error, { section: kind.path });
    });
  await useIndexes(connection);
  requireTally(kind, rows[0] as RowCount, tally);
}

/** Rows that were counted, and the sum of their places' hashes; without one they are the fewest that must have come. */
export interface RowCount {
  readonly count: bigint;
  readonly sum?: bigint;
}

/** @throws {StorageError} E_SOURCE_DAMAGED */
export function requireTally(kind: RecordKind, { count, sum }: RowCount, tally: RowTally): void {
  // A limit is of good records: bad ones may have come beyond it.
  const isComplete =
    sum === undefined
      ? count <= BigInt(tally.records)
      : count === BigInt(tally.records) && Number(BigInt.asIntN(32, sum)) === tally.sum;
  if (isComplete) return;
  const table = shownName(tableOf(kind));
  throw new StorageError("E_SOURCE_DAMAGED", `an index of ${table} does not have the rows of the table`, {
    section: kind.path,
    detail:
      count === BigInt(tally.records)
        ? `of the table's ${count} rows some came twice along the index, and others not`
        : `the table has ${count} rows, and along its index came ${tally.records}`,
    hint: `REINDEX TABLE ${table}; then run it again. What pg_dump and sequential scans read is complete.`,
  });
}
