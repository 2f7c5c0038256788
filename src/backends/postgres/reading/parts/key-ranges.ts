/**
 * A kind's rows as ranges of its key, in whatever order the database compares keys: half-open, meeting, the first and the last
 * without an end. So they hold each row once in any snapshot, also rows that come later; within a part rows come as usual.
 */
import type { RecordKind } from "../../../../catalog/index.js";
import { StorageError } from "../../../../errors.js";
import { sqlName, tableOf } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { isKeyedByTenant, rangeFields } from "../select.js";
import { possibleTenants } from "../tenants.js";
import { type CutOptions, filtersOf, type KeySlice, nthKey, type PartRows, rowsOfPart } from "./row-parts.js";

/** What is in each large object is not known before it is opened. */
const MOST_LARGE_ROWS = 64;

export interface CutKeysOptions extends CutOptions {
  /** Bytes of values that the next part is to have: at most partBytes. */
  readonly nextBytes?: () => number;
  /** The last part that was planned before: what comes behind it is cut. */
  readonly behind?: PartRows;
}

/** Whether the tenants' rows of the kind can be had as ranges. */
export function hasRanges(
  kind: RecordKind,
  tenants: readonly string[] | undefined,
  { select }: Pick<CutOptions, "select">,
): boolean {
  if (kind.keyless === true || select.distrustsTextIndexes) return false;
  return tenants === undefined || isKeyedByTenant(kind);
}

/**
 * The parts of a kind that has ranges. There is one at least, or what lies behind an earlier one.
 * @param tenants whose rows; undefined for all
 * @throws {StorageError} E_RUN_UNFINISHED where the earlier part is no part of these tenants' rows
 */
export async function* cutKeys(
  connection: PostgresConnection,
  kind: RecordKind,
  tenants: readonly string[] | undefined,
  options: CutKeysOptions,
): AsyncGenerator<PartRows> {
  const { select, partBytes, nextBytes = () => partBytes, behind } = options;
  const all = tenants === undefined ? [undefined] : possibleTenants(tenants);
  let { at, above } = placeBehind(behind, all, kind);
  if (at === all.length && behind !== undefined) return;
  const wanted = await rowsOfPart(connection, kind, partBytes);
  const most =
    kind.postgres.largeObject === undefined ? wanted : Math.min(wanted, await largeRows(connection, kind, options));
  for (; at < all.length; at++, above = undefined) {
    const tenant = all[at];
    const whose = tenant === undefined ? {} : { tenant };
    for (;;) {
      const rows = Math.max(1, Math.ceil((most * nextBytes()) / partBytes));
      const from: KeySlice = { ...whose, ...(above && { above }) };
      const [filter] = filtersOf(connection, { slices: [from] });
      const end = filter && (await nthKey(connection, kind, filter, select, rows));
      if (end === undefined || end.number < rows) {
        yield { slices: [from] };
        break;
      }
      yield { slices: [{ ...from, upTo: end.key }] };
      above = end.key;
    }
  }
}

/** Where the next part begins: in the rows of which tenant, and behind which key of theirs. */
function placeBehind(
  behind: PartRows | undefined,
  tenants: readonly (string | undefined)[],
  kind: RecordKind,
): { at: number; above: readonly string[] | undefined } {
  const [last] = behind?.slices ?? [];
  if (last === undefined) return { at: 0, above: undefined };
  const at = tenants.indexOf(last.tenant);
  // To begin anew would be to have rows twice.
  if (at === -1)
    throw new StorageError("E_RUN_UNFINISHED", `the plan has parts of ${kind.path} of tenants that are not the run's`, {
      section: kind.path,
      hint: "`llmspell storage undo` takes back what was loaded; then load anew.",
    });
  return last.upTo === undefined ? { at: at + 1, above: undefined } : { at, above: last.upTo };
}

/** How many rows make a part, by what all large objects take: one part of many would be the last that a worker loads, alone. */
async function largeRows(connection: PostgresConnection, kind: RecordKind, { partBytes }: CutOptions): Promise<number> {
  const { rows } = await connection.query<{ bytes: number }>(
    `SELECT pg_catalog.pg_relation_size('pg_catalog.pg_largeobject')::float8
       / greatest(1, (SELECT count(*) FROM ${sqlName(tableOf(kind))})) AS bytes`,
  );
  return Math.max(1, Math.min(MOST_LARGE_ROWS, Math.floor(partBytes / (rows[0]?.bytes || 1))));
}

/** Whether the text is what `cutKeys` gives of the kind: values, and as many as its key has. */
export function readRanges(kind: RecordKind, text: string): PartRows | undefined {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(found, ["slices"]) || !Array.isArray(found["slices"]) || found["slices"].length !== 1) return undefined;
  const [slice] = found["slices"] as unknown[];
  if (!isObject(slice, ["tenant", "above", "upTo"])) return undefined;
  const { tenant, above, upTo } = slice;
  if (tenant !== undefined && (typeof tenant !== "string" || !isKeyedByTenant(kind))) return undefined;
  const fields = rangeFields(kind, tenant === undefined ? {} : { tenants: [""] }).length;
  const isKey = (key: unknown): boolean =>
    key === undefined ||
    (Array.isArray(key) && key.length === fields && key.every((value) => typeof value === "string"));
  return isKey(above) && isKey(upTo) ? { slices: [slice as KeySlice] } : undefined;
}

function isObject(value: unknown, names: readonly string[]): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).every((name) => names.includes(name))
  );
}
