/**
 * The statements that read a kind's table in the order of its key.
 * Over 300 lines: what they have in common is the order, and what of the rows they take.
 */
import {
  columnOf,
  type Field,
  fieldIndex,
  LARGE_VALUE_BYTES,
  type RecordKind,
  storedFields,
  tenantFieldOf,
} from "../../../catalog/index.js";
import { codecOf } from "../../../codecs/index.js";
import { orderByKey, type Way } from "../database/row-order.js";
import { quote, sqlName, tableOf } from "../database/table-names.js";
import { inPasses, type Passes } from "./passes.js";

/** What became of the content of a record that may have it in a large object. */
export const CONTENT_STATUS = { inline: 0, largeObject: 1, missing: 2, forbidden: 3, unread: 4 } as const;

/** Which records a statement gives: one tenant's, several tenants', or all. */
export interface TenantFilter {
  /** SQL literals. */
  readonly tenants?: readonly string[];
  /** The first so many only, and those that meet the condition `wanted`, SQL. */
  readonly limit?: number;
  readonly wanted?: string | undefined;
  /** Of these only those whose keys lie in the range: of the fields that the tenant does not fix, in their order. */
  readonly range?: KeyRange;
  /** Instead of all that: the rows in these places. */
  readonly places?: readonly Place[];
}

/** A stretch of a kind's key order; SQL literals, one for each field. Open where an end is missing. */
export interface KeyRange {
  /** Behind it. */
  readonly above?: readonly string[];
  /** Up to it and with it. */
  readonly upTo?: readonly string[];
}

/** Where a row is, for the length of the snapshot. */
export interface Place {
  readonly tableoid: number;
  /** e.g. "(0,1)" */
  readonly ctid: string;
}

export interface SelectOptions {
  /** As pg_settings has it, e.g. "UTF8". */
  readonly serverEncoding: string;
  /** As server_version_num has it. */
  readonly serverVersion: number;
  /** Text's indexes may miss rows (see hasNewCollation): they are not used. */
  readonly distrustsTextIndexes: boolean;
  /** Default "index". */
  readonly way?: Way | undefined;
  /** Row-level security shows one tenant's rows at a time: of these all are wanted, in one order. */
  readonly passes?: Passes | undefined;
}

/** A kind's columns as a statement gives them. */
export interface Columns {
  /** The fields in the order of the columns. */
  readonly fields: readonly Field[];
  /** Index in `kind.fields` of each. */
  readonly indexes: readonly number[];
  /** Number of columns; with a large field four more follow the fields': status, length, number of the chunk, chunk. */
  readonly count: number;
  /** The last column, an int4: a hash of the row's place, which tells two rows apart whatever they hold. */
  readonly place: number;
}

/** In columns after the fields, of a kind with a large field. Chunks have LARGE_VALUE_BYTES but the last. */
export const CONTENT_COLUMNS = { status: 0, length: 1, number: 2, chunk: 3 } as const;

export function columnsOf(kind: RecordKind): Columns {
  const { largeObject } = kind.postgres;
  const fields = storedFields(kind, "postgresql").filter(
    ({ name }) => name !== largeObject?.field && name !== largeObject?.typeField,
  );
  const place = fields.length + (largeObject === undefined ? 0 : Object.keys(CONTENT_COLUMNS).length);
  return { fields, indexes: fields.map(({ name }) => fieldIndex(kind, name)), count: place + 1, place };
}

const table = (kind: RecordKind): string => sqlName(tableOf(kind));

/** ORDER BY the key, unless rows come as the table has them. */
function orderBy(kind: RecordKind, { serverEncoding, way }: SelectOptions, fixed: ReadonlySet<string>): string {
  return way === "table" ? "" : orderByKey(kind, serverEncoding, fixed);
}

/** The column that says whose a row is; undefined where all rows are everybody's. */
function tenantColumn(kind: RecordKind): string | undefined {
  const field = tenantFieldOf(kind);
  return field === undefined ? undefined : quote(columnOf(field));
}

/** The fields that are the same in all rows that the filter selects. */
function fixedBy(kind: RecordKind, { tenants }: TenantFilter): ReadonlySet<string> {
  const tenant = tenants?.length === 1 ? tenantFieldOf(kind) : undefined;
  return new Set(tenant === undefined ? [] : [tenant.name]);
}

/** Whether the kind's key begins with the tenant, so that it is read tenant by tenant along the key's index. */
export function isKeyedByTenant(kind: RecordKind): boolean {
  return kind.key.length > 1 && kind.key[0] === tenantFieldOf(kind)?.name;
}

/**
 * Whether to read along the primary key's index: it gives the order of all but text (which it has by the server's
 * collation), and does not serve to find some tenants' records in a table that is not keyed by them.
 */
export function followsIndex(kind: RecordKind, { tenants }: TenantFilter, { way = "index" }: SelectOptions): boolean {
  if (way !== "index") return false;
  const fixed = isKeyedByTenant(kind) && tenants?.length === 1;
  if (tenants !== undefined && !fixed && tenantFieldOf(kind) !== undefined) return false;
  const isCollated = (name: string): boolean =>
    codecOf(kind.fields[fieldIndex(kind, name)] as Field).postgres.collated === true;
  return kind.key.every((name, i) => (i === 0 && fixed) || !isCollated(name));
}

/** An int4; servers before 14 have no hashtid. */
export function placeHash({ serverVersion }: SelectOptions): string {
  const hash = serverVersion >= 140000 ? "hashtid(ctid)" : "hashtext(ctid::text)";
  return `${hash} # tableoid::int4`;
}

/** The name of the place's column in a subquery; none of llmspell's. */
const PLACE = '"llmspell place"';

/** One expression per column of `columnsOf(kind)`, and the rest of the statement from FROM on. */
export interface Select {
  readonly expressions: readonly string[];
  readonly from: string;
}

export function selectRecords(kind: RecordKind, filter: TenantFilter, options: SelectOptions): Select {
  const { fields } = columnsOf(kind);
  const rows = rowsOf(kind, filter, options);
  const { largeObject } = kind.postgres;
  if (largeObject === undefined)
    return {
      expressions: [...fields.map((field) => quote(columnOf(field))), placeHash(options)],
      from: `FROM ${rows}`,
    };

  const data = `r.${quote(columnOf(kind.fields[fieldIndex(kind, largeObject.field)] as Field))}`;
  const oid = `r.${quote(largeObject.oidColumn)}`;
  // The inner order holds, for nested loops keep it, and OFFSET 0 keeps the planner from taking the parts into one.
  const from = `FROM (SELECT *, ${placeHash(options)} AS ${PLACE} FROM ${rows} OFFSET 0) r
    CROSS JOIN LATERAL (SELECT ${contentStatus(data, oid, options)} AS status OFFSET 0) s
    LEFT JOIN LATERAL (
      SELECT CASE WHEN lo_close(fd) >= 0 THEN length END AS length FROM (
        SELECT fd, lo_lseek64(fd, 0, 2) AS length FROM (
          SELECT lo_open(${oid}, ${INV_READ}) AS fd WHERE s.status = ${CONTENT_STATUS.largeObject} OFFSET 0
        ) opened OFFSET 0
      ) measured OFFSET 0
    ) l ON true
    CROSS JOIN LATERAL (SELECT coalesce(l.length, octet_length(${data}), 0)::int8 AS length OFFSET 0) c
    CROSS JOIN LATERAL generate_series(0, (greatest(c.length, 1) - 1) / ${LARGE_VALUE_BYTES}) AS n`;
  return {
    expressions: [
      ...fields.map((field) => `r.${quote(columnOf(field))}`),
      "s.status",
      "c.length",
      "n::int4",
      `CASE WHEN s.status = ${CONTENT_STATUS.largeObject} THEN lo_get(${oid}, n * ${LARGE_VALUE_BYTES}, ${LARGE_VALUE_BYTES})
            WHEN c.length < ${LARGE_VALUE_BYTES} THEN ${data}
            ELSE substring(${data} FROM (n * ${LARGE_VALUE_BYTES})::int4 + 1 FOR ${LARGE_VALUE_BYTES}) END`,
      `r.${PLACE}`,
    ],
    from,
  };
}

/** The table and what follows its name. */
function rowsOf(kind: RecordKind, filter: TenantFilter, options: SelectOptions): string {
  const fixed = fixedBy(kind, filter);
  const order = orderBy(kind, options, fixed);
  const { passes } = options;
  if (filter.places !== undefined) {
    const where = ` WHERE ${isIn(filter.places)}`;
    const rows = passes === undefined ? `${table(kind)}${where}` : inPasses(kind, passes, where);
    return `${rows} ${filter.places.length > 1 ? order : ""}`;
  }
  if (passes !== undefined) return `${inPasses(kind, passes)} ${order}${limitOf(filter)}`;
  return `${table(kind)}${limitedTo(kind, filter, ofTenants(kind, filter, options), order)}`;
}

const limitOf = ({ limit }: TenantFilter): string => (limit === undefined ? "" : ` LIMIT ${limit}`);

/** Of the tenants, and of the range of keys. */
function ofTenants(kind: RecordKind, filter: TenantFilter, { distrustsTextIndexes }: SelectOptions): string {
  const { tenants } = filter;
  const column = tenantColumn(kind);
  const conditions = isInRange(kind, filter);
  if (tenants !== undefined && column !== undefined) {
    const tenant = distrustsTextIndexes ? `${column} COLLATE "C"` : column;
    conditions.unshift(`${tenant} ${tenants.length === 1 ? `= ${tenants[0]}` : `IN (${tenants.join(", ")})`}`);
  }
  return conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
}

/** The fields of the key that the filter's tenant does not fix. */
export function rangeFields(kind: RecordKind, filter: TenantFilter): readonly Field[] {
  const fixed = fixedBy(kind, filter);
  return kind.key.filter((name) => !fixed.has(name)).map((name) => kind.fields[fieldIndex(kind, name)] as Field);
}

/** Along an index whose order is that of the key (followsIndex). */
function isInRange(kind: RecordKind, filter: TenantFilter): string[] {
  const { above, upTo } = filter.range ?? {};
  const columns = `(${rangeFields(kind, filter)
    .map((field) => quote(columnOf(field)))
    .join(", ")})`;
  return [
    ...(above === undefined ? [] : [`${columns} > (${above.join(", ")})`]),
    ...(upTo === undefined ? [] : [`${columns} <= (${upTo.join(", ")})`]),
  ];
}

/** The first condition finds the rows, the second one tells partitions apart. */
function isIn(places: readonly Place[]): string {
  const pairs = places.map(({ tableoid, ctid }) => `(${tableoid}::oid, '${ctid}'::tid)`);
  const ctids = places.map(({ ctid }) => `"${ctid}"`);
  return `ctid = ANY('{${ctids.join()}}'::tid[]) AND (tableoid, ctid) IN (VALUES ${pairs.join()})`;
}

/** The places of the records that the filter selects, in the order of `selectRecords`: columns tableoid, ctid, and `more`. */
export function selectPlaces(kind: RecordKind, filter: TenantFilter, options: SelectOptions, more = ""): string {
  return `SELECT tableoid, ctid${more} FROM ${rowsOf(kind, filter, options)}`;
}

/** The last of the first `rows` keys that the filter selects: a text for each of `rangeFields`, and its number (`n`); no row where there are none. */
export function selectNthKey(kind: RecordKind, filter: TenantFilter, options: SelectOptions, rows: number): string {
  const columns = rangeFields(kind, filter).map((field) => quote(columnOf(field)));
  const order = columns.join(", ");
  const texts = columns.map((column, i) => `${column}::text AS k${i}`).join(", ");
  const first = `SELECT ${order} FROM ${table(kind)}${ofTenants(kind, filter, options)} ORDER BY ${order} LIMIT ${rows}`;
  return `SELECT n, ${texts} FROM (SELECT row_number() OVER () AS n, * FROM (${first}) first) numbered ORDER BY n DESC LIMIT 1`;
}

/** Rows of one table by the pages that they are on. */
export interface PageRange {
  /** Qualified and quoted; of a partitioned table a partition. */
  readonly table: string;
  readonly from: number;
  /** The first page beyond. */
  readonly to: number;
}

/** The condition that a row is on one of the pages. */
export function isOn({ from, to }: PageRange): string {
  return `ctid >= '(${from},0)' AND ctid < '(${to},0)'`;
}

/** Instead of the table: its rows on the pages, which alone are read where no index is used. */
function rowsOn(kind: RecordKind, filter: TenantFilter, options: SelectOptions, ranges: readonly PageRange[]): string {
  const where = options.passes === undefined ? ofTenants(kind, filter, options) : "";
  const parts = ranges.map(
    (range) =>
      `SELECT tableoid, ctid, * FROM ONLY ${range.table}${where === "" ? " WHERE" : `${where} AND`} ${isOn(range)}`,
  );
  const rows = `(${parts.join(" UNION ALL ")}) pages`;
  return options.passes === undefined ? rows : inPasses(kind, options.passes, "", rows);
}

/** `selectPlaces` of the rows on the pages. */
export function selectPlacesOn(
  kind: RecordKind,
  filter: TenantFilter,
  options: SelectOptions,
  ranges: readonly PageRange[],
): string {
  const fixed = fixedBy(kind, filter);
  return `SELECT tableoid, ctid FROM ${rowsOn(kind, filter, options, ranges)} ${orderBy(kind, options, fixed)}${limitOf(filter)}`;
}

/** One row with the number of the records that the filter selects (`count`) and the sum of their places' hashes (`sum`). */
export function countRecords(
  kind: RecordKind,
  filter: TenantFilter,
  options: SelectOptions,
  ranges?: readonly PageRange[],
): string {
  const { passes } = options;
  if (ranges !== undefined)
    return `SELECT count(*) AS count, coalesce(sum(${placeHash(options)}), 0) AS sum FROM ${rowsOn(kind, filter, options, ranges)}`;
  const rows = passes === undefined ? `${table(kind)}${ofTenants(kind, filter, options)}` : inPasses(kind, passes);
  if (filter.limit !== undefined) return `SELECT count(*) AS count FROM (SELECT FROM ${rows}${limitOf(filter)}) first`;
  return `SELECT count(*) AS count, coalesce(sum(${placeHash(options)}), 0) AS sum FROM ${rows}`;
}

/** What follows the table's name. Wanted rows are fetched by their places, so that neither is the table read nor its contents sorted. */
function limitedTo(kind: RecordKind, { limit, wanted }: TenantFilter, where: string, order: string): string {
  if (limit === undefined) return `${where} ${order}`;
  const first = `${where} ${order} LIMIT ${limit}`;
  if (wanted === undefined) return first;
  const places = (rest: string): string => `ARRAY(SELECT ctid FROM ${table(kind)}${rest})`;
  const named = where === "" ? ` WHERE ${wanted}` : `${where} AND ${wanted}`;
  return ` WHERE ctid = ANY(${places(first)} || ${places(named)}) ${order}`;
}

/** The condition that a record's fields have one of the rows of values, which are SQL literals. */
export function hasValues(kind: RecordKind, names: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "false";
  const columns = names.map((name) => quote(columnOf(kind.fields[fieldIndex(kind, name)] as Field)));
  const types = names.map((name) => {
    const { cast } = codecOf(kind.fields[fieldIndex(kind, name)] as Field).postgres;
    return cast === undefined ? "" : `::${cast}`;
  });
  const values = rows.map((row) => `(${row.map((literal, i) => `${literal}${types[i]}`).join(", ")})`);
  return `(${columns.join(", ")}) IN (VALUES ${values.join(", ")})`;
}

/** libpq/libpq-fs.h */
const INV_READ = 0x40000;

/** Looks before the large object is opened: an error would end the whole statement. */
function contentStatus(data: string, oid: string, { serverVersion }: SelectOptions): string {
  // As pg_largeobject_aclcheck_snapshot decides it; servers from 18 on have a function for that.
  const mayRead =
    serverVersion >= 180000
      ? "has_largeobject_privilege(m.oid, 'SELECT')"
      : `pg_has_role(m.lomowner, 'USAGE') OR EXISTS (
          SELECT FROM aclexplode(m.lomacl) a
          WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))`;
  return `CASE
    WHEN ${oid} IS NULL THEN CASE WHEN ${data} IS NULL THEN ${CONTENT_STATUS.missing} ELSE ${CONTENT_STATUS.inline} END
    ELSE coalesce((
      SELECT CASE WHEN current_setting('lo_compat_privileges')::bool OR ${mayRead}
                  THEN ${CONTENT_STATUS.largeObject} ELSE ${CONTENT_STATUS.forbidden} END
      FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = ${oid}), ${CONTENT_STATUS.missing})
    END`;
}
