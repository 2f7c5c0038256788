/**
 * A kind's rows as parts. Where the key's index has the document's order, parts are ranges of keys, whose ends are keys of some rows: they
 * are half-open and meet, so that each row is in one, whatever the ends are. Where the server has to sort (text in the
 * order of its bytes), it sorts the rows' places, and parts are lists of these, in that order.
 */
import { columnOf, type Field, fieldIndex, type RecordKind, storedFields } from "../../../../catalog/index.js";
import { PART_BYTES } from "../../../../records/parts.js";
import { quote, sqlName, tableOf } from "../../database/table-names.js";
import type { PostgresConnection } from "../../session/connection.js";
import {
  followsIndex,
  isKeyedByTenant,
  type Place,
  rangeFields,
  type SelectOptions,
  selectNthKey,
  selectPlaces,
  type TenantFilter,
} from "../select.js";
import { possibleTenants, tenantsOf } from "../tenants.js";

/** Part.rows of this backend: values, no SQL. One or the other. */
export interface PartRows {
  /** One behind the other. */
  readonly slices?: readonly KeySlice[];
  readonly places?: readonly Place[];
}

/** A stretch of the key order of one tenant's rows, or of all. Texts of the key's fields. */
export interface KeySlice {
  readonly tenant?: string;
  /** Behind it; upTo: and up to it. */
  readonly above?: readonly string[];
  readonly upTo?: readonly string[];
}

export interface CutOptions {
  readonly select: SelectOptions;
  /** Bytes of values that a part is to have. */
  readonly partBytes: number;
  /** Of the table, as far as known. */
  readonly tableBytes?: number | undefined;
}

/** The most rows of a part that is a list of places, and of one that is a range. */
const MOST_PLACES = 1000;
const MOST_ROWS = 50000;
/** Of tenants: a part has a statement for each. */
const MOST_SLICES = 500;
/** Of the table's blocks so many are looked at for each part, and so many of their keys are taken. Bytes of a block. */
const [BLOCKS_PER_PART, KEYS_PER_PART, BLOCK_BYTES] = [16, 4, 8192];
/** And no more than so many in all: the first part waits for them. Nor more keys, which are held. */
const [MOST_BLOCKS, MOST_KEYS] = [16384, 32768];
/** A row of more bytes has its values elsewhere, most of them, and takes about so many in the table itself. */
const [INLINE_BYTES, OUTLINED_BYTES] = [2000, 512];
/** Rows by whose size the others' is judged. */
const SAMPLED = 64;
/** What a large object is taken for: its size is not known before it is opened. Bytes. */
const LARGE_OBJECT_BYTES = PART_BYTES / 2;

/** The filters that read a part's rows, one behind the other. */
export function filtersOf(connection: PostgresConnection, { slices, places }: PartRows): TenantFilter[] {
  if (places !== undefined) return [{ places }];
  const literals = (texts: readonly string[]): string[] => texts.map((text) => connection.client.escapeLiteral(text));
  return (slices ?? []).map(({ tenant, above, upTo }) => ({
    ...(tenant === undefined ? {} : { tenants: literals([tenant]) }),
    range: { ...(above && { above: literals(above) }), ...(upTo && { upTo: literals(upTo) }) },
  }));
}

/** The parts of the kind, in order. @param tenants whose rows; undefined for all */
export async function* cutRows(
  connection: PostgresConnection,
  kind: RecordKind,
  tenants: readonly string[] | undefined,
  options: CutOptions,
): AsyncGenerator<PartRows> {
  const selected = tenants === undefined ? undefined : possibleTenants(tenants);
  const isByTenant = isKeyedByTenant(kind) && !options.select.distrustsTextIndexes;
  const each = isByTenant ? (selected ?? (await tenantsOf(connection, kind, options.select))) : undefined;
  const literals = selected?.map((tenant) => connection.client.escapeLiteral(tenant));
  const all: TenantFilter = literals === undefined ? {} : { tenants: literals };
  const isAlongIndex = kind.postgres.largeObject === undefined;
  if (isAlongIndex && each?.every((tenant) => followsIndex(kind, { tenants: [tenant] }, options.select)))
    yield* cutTenants(connection, kind, each, options);
  else if (isAlongIndex && each === undefined && literals === undefined && followsIndex(kind, all, options.select))
    yield* cutTenants(connection, kind, [undefined], options);
  else yield* cutPlaces(connection, kind, all, options);
}

/** Small tenants come together in one part, and large ones are cut at keys of theirs. */
async function* cutTenants(
  connection: PostgresConnection,
  kind: RecordKind,
  tenants: readonly (string | undefined)[],
  { partBytes, tableBytes = 0 }: CutOptions,
): AsyncGenerator<PartRows> {
  const rows = await rowsOfPart(connection, kind, partBytes);
  const most = Math.min(100, (100 * MOST_BLOCKS * BLOCK_BYTES) / Math.max(1, tableBytes));
  const { keys, each } = await sampleKeys(connection, kind, tenants[0] !== undefined, rows, partBytes / rows, most);
  let slices: KeySlice[] = [];
  let filled = 0;
  for (const tenant of tenants) {
    const whose = tenant === undefined ? {} : { tenant };
    let above: readonly string[] | undefined;
    for (const key of keys.get(tenant) ?? []) {
      filled += each;
      if (filled < rows) continue;
      slices.push({ ...whose, ...(above && { above }), upTo: key });
      yield { slices };
      [slices, filled] = [[], 0];
      above = key;
    }
    slices.push({ ...whose, ...(above && { above }) });
    if (slices.length < MOST_SLICES) continue;
    yield { slices };
    [slices, filled] = [[], 0];
  }
  if (slices.length > 0) yield { slices };
}

/**
 * Keys from all over the table, by tenant and in order, and how many rows stand for each: of some blocks of the table, for to walk its index
 * would cost the server as much as a good part of the reading. Where there is nothing to choose blocks from, of all rows.
 */
async function sampleKeys(
  connection: PostgresConnection,
  kind: RecordKind,
  isByTenant: boolean,
  rowsOfPart: number,
  rowBytes: number,
  mostPercent: number,
): Promise<{ readonly keys: ReadonlyMap<string | undefined, (readonly string[])[]>; readonly each: number }> {
  const table = sqlName(tableOf(kind));
  const { rows: found } = await connection.query<{ stored: boolean }>(
    `SELECT relkind IN ('r', 'p', 'm') AS stored FROM pg_catalog.pg_class WHERE oid = ${connection.client.escapeLiteral(table)}::regclass`,
  );
  const wanted =
    (100 * BLOCKS_PER_PART * BLOCK_BYTES) / (rowsOfPart * (rowBytes > INLINE_BYTES ? OUTLINED_BYTES : rowBytes));
  const percent = found[0]?.stored === true ? Math.min(mostPercent, wanted) : 100;
  const sample = percent < 100 ? ` TABLESAMPLE SYSTEM (${percent.toFixed(6)}) REPEATABLE (0)` : "";
  // A few for each part.
  const step = Math.max(1, Math.floor((rowsOfPart * percent) / 100 / KEYS_PER_PART));
  const columns = kind.key.map((name) => quote(columnOf(kind.fields[fieldIndex(kind, name)] as Field)));
  const order = columns.join(", ");
  const { rows } = await connection.query<Record<string, string>>(
    `SELECT * FROM (
       SELECT *, greatest(${step}, (total + ${MOST_KEYS - 1}) / ${MOST_KEYS}) AS step FROM (
         SELECT row_number() OVER (ORDER BY ${order}) AS n, count(*) OVER () AS total,
           ${columns.map((column, i) => `${column}::text AS k${i}`).join(", ")} FROM ${table}${sample}) numbered) stepped
     WHERE n % step = 0 ORDER BY n`,
  );
  const keys = new Map<string | undefined, (readonly string[])[]>();
  for (const row of rows) {
    const [tenant, ...rest] = columns.map((_, i) => `${row[`k${i}`]}`) as [string, ...string[]];
    const whose = isByTenant ? tenant : undefined;
    const others = keys.get(whose) ?? [];
    others.push(isByTenant ? rest : [tenant, ...rest]);
    keys.set(whose, others);
  }
  return { keys, each: (Number(rows[0]?.["step"] ?? step) * 100) / percent };
}

interface Key {
  readonly number: number;
  readonly key: readonly string[];
}

export async function nthKey(
  connection: PostgresConnection,
  kind: RecordKind,
  filter: TenantFilter,
  options: SelectOptions,
  rows: number,
): Promise<Key | undefined> {
  const { rows: found } = await connection.query(selectNthKey(kind, filter, options, rows));
  const [row] = found;
  if (row === undefined) return undefined;
  return { number: Number(row["n"]), key: rangeFields(kind, filter).map((_, i) => `${row[`k${i}`]}`) };
}

/** How many rows of the kind make a part, by the first ones as the server sends them. */
export async function rowsOfPart(connection: PostgresConnection, kind: RecordKind, partBytes: number): Promise<number> {
  const columns = storedFields(kind, "postgresql").map((field) => quote(columnOf(field)));
  const { rows } = await connection.query<{ bytes: number | null }>(
    `SELECT avg(octet_length(record_send(ROW(${columns.join(", ")}))))::float8 AS bytes
     FROM (SELECT * FROM ${sqlName(tableOf(kind))} LIMIT ${SAMPLED}) sampled`,
  );
  return Math.max(1, Math.min(MOST_ROWS, Math.ceil(partBytes / (rows[0]?.bytes ?? 1))));
}

async function* cutPlaces(
  connection: PostgresConnection,
  kind: RecordKind,
  filter: TenantFilter,
  { select: options, partBytes }: CutOptions,
): AsyncGenerator<PartRows> {
  const { largeObject } = kind.postgres;
  // As they are stored: nothing is unpacked to be measured.
  const sizes = storedFields(kind, "postgresql").map(
    (field) => `coalesce(pg_column_size(${quote(columnOf(field))}), 0)`,
  );
  if (largeObject !== undefined)
    sizes.push(`CASE WHEN ${quote(largeObject.oidColumn)} IS NULL THEN 0 ELSE ${LARGE_OBJECT_BYTES} END`);
  const select = selectPlaces(kind, filter, options, `, ${sizes.join(" + ")} AS bytes`);
  await connection.query(`DECLARE llmspell_parts NO SCROLL CURSOR FOR ${select}`);
  let places: Place[] = [];
  let filled = 0;
  for (;;) {
    const { rows } = await connection.query<Place & { bytes: number } & Record<string, unknown>>(
      `FETCH ${MOST_PLACES} FROM llmspell_parts`,
    );
    for (const { tableoid, ctid, bytes } of rows) {
      places.push({ tableoid, ctid });
      filled += Number(bytes);
      if (filled < partBytes && places.length < MOST_PLACES) continue;
      yield { places };
      [places, filled] = [[], 0];
    }
    if (rows.length < MOST_PLACES) break;
  }
  await connection.query("CLOSE llmspell_parts");
  if (places.length > 0) yield { places };
}
