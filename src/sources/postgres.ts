/** Reads a PostgreSQL database, on a server or embedded: every table under one snapshot, in the order of the keys. */
import type { PostgresApplication } from "../backends/postgres/application.js";
import { schemasOf, sqlName, type TableName, tableOf } from "../backends/postgres/database/table-names.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import { leftOut } from "../backends/postgres/reading/left-out.js";
import { RecordStatement } from "../backends/postgres/reading/record-statement.js";
import { requireAllRows } from "../backends/postgres/reading/row-count.js";
import { bindToTenant } from "../backends/postgres/reading/row-security.js";
import { allowsCopy, type RowMode } from "../backends/postgres/reading/row-stream.js";
import {
  hasValues,
  isKeyedByTenant,
  type SelectOptions,
  selectTenants,
  type TenantFilter,
} from "../backends/postgres/reading/select.js";
import { beginSnapshot } from "../backends/postgres/reading/snapshot.js";
import {
  hasNewCollation,
  type PostgresTable,
  readTables,
  requireReadable,
  type WantedTable,
} from "../backends/postgres/reading/tables.js";
import { sortByBytes, tenantLiterals } from "../backends/postgres/reading/tenants.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { UNKNOWN_ENCODING } from "../backends/postgres/session/encodings.js";
import { type Catalog, columnOf, LARGE_VALUE_BYTES, type RecordKind, tenantFieldOf } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import type { BatchLimits, RecordBatch } from "../records/record-batch.js";
import type { RunContext, Selection } from "../records/run-context.js";
import type { Source, StoreHeader } from "./source.js";

export interface PostgresSourceOptions extends BatchLimits {
  /** Opens the source's own connection; the source closes it. */
  readonly connect: PostgresConnector;
  /** For messages; never holds a password. */
  readonly name: string;
  readonly catalog: Catalog;
  /** What the database has besides the catalog's tables. */
  readonly application?: PostgresApplication;
  /** "auto" (default): COPY, or a cursor where the server refuses COPY or is embedded. Both give the same batches. */
  readonly mode?: "auto" | RowMode;
  /** "count" (default): each table is counted by itself, so that rows which an index lacks are missed. "none": indexes are trusted. */
  readonly check?: "count" | "none";
}

/** More tenants than this are read in one sorted statement rather than one statement each. */
const MOST_TENANT_STATEMENTS = 1000;
/** What a row is taken for where the table was never analyzed. Bytes. */
const UNKNOWN_ROW_BYTES = 16384;

/** @returns a source for one run; it opens its connection in `open` */
export function createPostgresSource(options: PostgresSourceOptions): Source {
  return new PostgresSource(options);
}

class PostgresSource implements Source {
  readonly name: string;
  private readonly catalog: Catalog;
  private readonly otherTables: ReadonlyMap<string, string | undefined>;
  private connection: PostgresConnection | undefined;
  /** The kinds whose tables were looked at. */
  private opened: ReadonlySet<RecordKind> = new Set();
  private tables: ReadonlyMap<string, PostgresTable> = new Map();
  private selectOptions: SelectOptions = { serverEncoding: "UTF8", serverVersion: 0, distrustsTextIndexes: false };
  private mode: RowMode = "copy";
  private user = "";
  private detach: () => void = () => {};

  constructor(private readonly options: PostgresSourceOptions) {
    this.name = options.name;
    this.catalog = options.catalog;
    this.otherTables = options.application?.otherTables ?? new Map();
  }

  get method(): string | undefined {
    return this.connection === undefined ? undefined : this.mode === "copy" ? "COPY" : "cursor";
  }

  async open(context: RunContext, selection?: Selection): Promise<StoreHeader> {
    context.signal.throwIfAborted();
    const connection = await this.options.connect((waiting) => context.activity?.({ phase: "connecting", waiting }));
    this.connection = connection;
    const onAbort = (): void => void connection.close();
    context.signal.addEventListener("abort", onAbort, { once: true });
    this.detach = () => context.signal.removeEventListener("abort", onAbort);
    context.signal.throwIfAborted();
    const selected = selection === undefined ? this.catalog.kinds : this.selectedKinds(selection);
    this.opened = new Set(selected);
    const names = [...selected.map(wantedTable), ...[...this.warnedOf().keys()].map((table) => this.otherTable(table))];
    await beginSnapshot(connection, names, context);
    const schemas = schemasOf(this.catalog.kinds);
    const { rows } = await connection.query<{ encoding: string; version: number; user: string; present: boolean }>(
      `SELECT current_setting('server_encoding') AS encoding, current_setting('server_version_num')::int4 AS version,
              current_user::text AS user, EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1)) AS present`,
      [schemas],
    );
    const [server] = rows;
    if (server?.present !== true)
      throw new StorageError("E_NOT_MIGRATED", `the database has no schema ${schemas.join(", ")}`, {
        hint: "Check that the URL names the right database; `llmspell database migrate` would make an empty schema.",
      });
    const distrustsTextIndexes = await hasNewCollation(connection, server.version);
    if (distrustsTextIndexes)
      context.warn(
        "the system's collation has changed since the database's indexes were built: they are not used; REINDEX the database",
      );
    this.selectOptions = { serverEncoding: server.encoding, serverVersion: server.version, distrustsTextIndexes };
    this.user = server.user;
    // Such a server would end the statement at the first byte that is no UTF-8; the codecs name the record instead.
    if (server.encoding === UNKNOWN_ENCODING) await connection.query("SET LOCAL client_encoding = 'SQL_ASCII'");
    this.tables = await readTables(connection, names, this.options.application?.tenantSetting);
    this.mode = await this.chooseMode(connection);
    const migrations = (await this.options.application?.readVersions?.(connection)) ?? [];
    return { backend: "postgresql", migrations, versions: await readVersions(connection), catalog: this.catalog };
  }

  private async chooseMode(connection: PostgresConnection): Promise<RowMode> {
    const { mode = "auto" } = this.options;
    if (mode === "cursor" || connection.embedded) return "cursor";
    return mode === "copy" || (await allowsCopy(connection)) ? "copy" : "cursor";
  }

  async estimate(selection: Selection): Promise<ReadonlyMap<string, number> | undefined> {
    if (selection.tenants !== undefined) return undefined;
    const estimates = new Map<string, number>();
    for (const kind of this.selectedKinds(selection)) {
      const rows = this.tables.get(sqlName(tableOf(kind)))?.estimatedRows;
      if (rows !== undefined) estimates.set(kind.path, rows);
    }
    return estimates;
  }

  async *read(selection: Selection, context: RunContext): AsyncGenerator<RecordBatch> {
    const connection = this.connection;
    if (connection === undefined) throw new Error("the source is not open");
    const selected = this.selectedKinds(selection);
    if (!selected.every((kind) => this.opened.has(kind))) throw new Error("the source was opened for less");
    let kinds = selected.filter((kind) => this.tables.has(sqlName(tableOf(kind))));
    for (const kind of kinds) requireReadable(kind, this.tableOf(kind), this.user);
    const literals = tenantLiterals(connection, selection.tenants);
    const { application } = this.options;
    const opened = (kind: RecordKind): PostgresTable => this.tableOf(kind);
    await bindToTenant(connection, {
      kinds,
      tableOf: opened,
      tenants: selection.tenants,
      literals,
      application,
      user: this.user,
    });
    if (selection.peek !== true) {
      await this.warnOfRowsLeftBehind(connection, context);
      const others = [...this.otherTables.keys()].map((table) => this.otherTable(table));
      for (const line of await leftOut(connection, {
        catalog: this.catalog.kinds,
        kinds: selected,
        tenants: literals,
        others,
      }))
        context.leftOut(line);
    }
    // A tenant that no text of PostgreSQL can be has no records but everybody's.
    if (literals?.length === 0) kinds = kinds.filter((kind) => tenantFieldOf(kind) === undefined);
    for (const kind of kinds) {
      const wanted = this.wantedOf(connection, kind, selection);
      if (wanted !== undefined && selection.limit !== undefined)
        yield* this.readWanted(connection, kind, { limit: selection.limit, wanted }, literals, context);
      else yield* this.readKind(connection, kind, selection, literals, context);
    }
  }

  /** The kind's records, or so many of them as the selection needs. */
  private async *readKind(
    connection: PostgresConnection,
    kind: RecordKind,
    { limit, wanted, peek }: Selection,
    literals: readonly string[] | undefined,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const needed = wanted?.has(kind.path) ? undefined : limit;
    const tally = { records: 0, sum: 0 };
    let given = 0;
    const statement = this.statementFor(connection, kind, context);
    for (const tenants of await this.statementsOf(connection, kind, literals)) {
      const left = needed === undefined ? {} : { limit: needed - given };
      if (left.limit === 0) break;
      for await (const batch of statement.read({ ...(tenants && { tenants }), ...left }, tally)) {
        given += batch.rows;
        yield batch;
      }
    }
    await statement.end();
    // What is read ahead comes again.
    if (peek === true || this.options.check === "none") return;
    const filter = {
      ...(literals === undefined ? {} : { tenants: literals }),
      ...(needed === undefined ? {} : { limit: needed }),
    };
    await requireAllRows(connection, kind, filter, this.selectOptions, tally, statement.readablePages);
  }

  /** The first records, and those that are wanted beyond them. What is missing could not be counted: indexes are not used. */
  private async *readWanted(
    connection: PostgresConnection,
    kind: RecordKind,
    filter: TenantFilter,
    literals: readonly string[] | undefined,
    context: RunContext,
  ): AsyncGenerator<RecordBatch> {
    const tenants = literals === undefined ? {} : { tenants: literals };
    const statement = this.statementFor(connection, kind, context);
    yield* statement.readWanted({ ...filter, ...tenants }, this.options.check !== "none");
    await statement.end();
  }

  /** The condition for the records that are wanted beyond the first ones; undefined where it cannot be said. */
  private wantedOf(connection: PostgresConnection, kind: RecordKind, { wanted }: Selection): string | undefined {
    const { fields, keys } = wanted?.get(kind.path) ?? {};
    const { serverEncoding, distrustsTextIndexes } = this.selectOptions;
    // Rows of a partitioned table have no place of their own, and bytes that are no UTF-8 no literal.
    if (fields === undefined || keys === undefined || kind.postgres.partitionedBy !== undefined) return undefined;
    if (serverEncoding === UNKNOWN_ENCODING || distrustsTextIndexes) return undefined;
    const literals = keys.map((values) => values.map((value) => connection.client.escapeLiteral(value)));
    return hasValues(kind, fields, literals);
  }

  private selectedKinds(selection: Selection): RecordKind[] {
    return this.catalog.kinds.filter((kind) => selection.paths.has(kind.path));
  }

  private tableOf(kind: RecordKind): PostgresTable {
    return this.tables.get(sqlName(tableOf(kind))) as PostgresTable;
  }

  /** A table of the application's schema. */
  private otherTable(table: string): TableName {
    return { schema: this.options.application?.schema ?? "", table };
  }

  /** Tables that are never exported, and why their rows stay behind. */
  private warnedOf(): Map<string, string> {
    return new Map([...this.otherTables].filter((entry): entry is [string, string] => entry[1] !== undefined));
  }

  private async warnOfRowsLeftBehind(connection: PostgresConnection, context: RunContext): Promise<void> {
    for (const [name, message] of this.warnedOf()) {
      const table = this.tables.get(sqlName(this.otherTable(name)));
      // Where row-level security binds the role, a look could fail and end the snapshot.
      if (table === undefined || !table.readable || table.rowSecurity) continue;
      const { rows } = await connection.query(`SELECT EXISTS (SELECT FROM ${sqlName(this.otherTable(name))}) AS found`);
      if (rows[0]?.["found"] === true) context.warn(message);
    }
  }

  /** The statements that together give the kind's records in order: each one's tenants, undefined for all. */
  private async statementsOf(
    connection: PostgresConnection,
    kind: RecordKind,
    selected: readonly string[] | undefined,
  ): Promise<readonly (readonly string[] | undefined)[]> {
    if (!isKeyedByTenant(kind) || this.selectOptions.distrustsTextIndexes) return [selected];
    if (selected !== undefined) return selected.map((tenant) => [tenant]);
    // A tenant whose bytes are no UTF-8 could not be asked for.
    if (this.selectOptions.serverEncoding === UNKNOWN_ENCODING) return [undefined];
    const sql = selectTenants(kind, MOST_TENANT_STATEMENTS + 1);
    const { rows } = await connection.query<{ tenant: string }>(sql);
    if (rows.length > MOST_TENANT_STATEMENTS) return [undefined];
    return sortByBytes(rows.map(({ tenant }) => tenant)).map((tenant) => [connection.client.escapeLiteral(tenant)]);
  }

  private statementFor(connection: PostgresConnection, kind: RecordKind, context: RunContext): RecordStatement {
    const { bytes, estimatedRows = 0 } = this.tableOf(kind);
    const known = estimatedRows > 0 ? bytes / estimatedRows : UNKNOWN_ROW_BYTES;
    return new RecordStatement(connection, kind, context, {
      ...this.options,
      select: this.selectOptions,
      mode: this.mode,
      // Rows of content may each hold a chunk.
      rowBytes: kind.postgres.largeObject === undefined ? known : LARGE_VALUE_BYTES / 4,
      checkUtf8: this.selectOptions.serverEncoding === UNKNOWN_ENCODING,
    });
  }

  async close(): Promise<void> {
    this.detach();
    // A pooler gives up a session of the server that is left inside of a transaction.
    await this.connection?.query("ROLLBACK").catch(() => {});
    await this.connection?.close();
  }
}

function wantedTable(kind: RecordKind): WantedTable {
  const tenant = tenantFieldOf(kind);
  return { ...tableOf(kind), tenantColumn: tenant === undefined ? undefined : columnOf(tenant) };
}
