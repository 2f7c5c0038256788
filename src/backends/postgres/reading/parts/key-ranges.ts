/**
 * A kind's rows as ranges of its key, in whatever order the database compares keys: half-open, meeting, the first and the last
 * without an end. So they hold each row once in any snapshot, also rows that come later; within a part rows come as usual.
 */
import type { RecordKind } from "../../../../catalog/index.js";
import { sqlName, tableOf } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import { isKeyedByTenant, rangeFields } from "../select.js";
import { possibleTenants } from "../tenants.js";
import { type CutOptions, filtersOf, type KeySlice, nthKey, type PartRows, rowsOfPart } from "./row-parts.js";

/** What is in each large object is not known before it is opened. */
const MOST_LARGE_ROWS = 64;

/** Whether the tenants' rows of the kind can be had as ranges. */
export function hasRanges(kind: RecordKind, tenants: readonly string[] | undefined, options: CutOptions): boolean {
  if (kind.keyless === true || options.select.distrustsTextIndexes) return false;
  return tenants === undefined || isKeyedByTenant(kind);
}

/** The parts of a kind that has ranges. There is one at least. @param tenants whose rows; undefined for all */
export async function* cutKeys(
  connection: PostgresConnection,
  kind: RecordKind,
  tenants: readonly string[] | undefined,
  options: CutOptions,
): AsyncGenerator<PartRows> {
  const wanted = await rowsOfPart(connection, kind, options.partBytes);
  const rows =
    kind.postgres.largeObject === undefined ? wanted : Math.min(wanted, await largeRows(connection, kind, options));
  for (const tenant of tenants === undefined ? [undefined] : possibleTenants(tenants)) {
    const whose = tenant === undefined ? {} : { tenant };
    for (let above: readonly string[] | undefined; ; ) {
      const from: KeySlice = { ...whose, ...(above && { above }) };
      const [filter] = filtersOf(connection, { slices: [from] });
      const end = filter && (await nthKey(connection, kind, filter, options.select, rows));
      if (end === undefined || end.number < rows) {
        yield { slices: [from] };
        break;
      }
      yield { slices: [{ ...from, upTo: end.key }] };
      above = end.key;
    }
  }
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
