/** Reads a PostgreSQL database, on a server or embedded: every table under one snapshot, in the order of the keys. */
import type { PostgresApplication } from "../backends/postgres/application.js";
import { schemasOf, sqlName, tableOf } from "../backends/postgres/database/table-names.js";
import { readVersions } from "../backends/postgres/database/versions.js";
import { leftOut } from "../backends/postgres/reading/left-out.js";
import { requirePrimary } from "../backends/postgres/reading/owner.js";
import type { SharedSnapshot } from "../backends/postgres/reading/parts/shared-snapshot.js";
import { RecordStatement } from "../backends/postgres/reading/record-statement.js";
import { RowSecurity } from "../backends/postgres/reading/row-security.js";
import { allowsCopy, type RowMode } from "../backends/postgres/reading/row-stream.js";
import type { SelectOptions } from "../backends/postgres/reading/select.js";
import { beginSnapshot } from "../backends/postgres/reading/snapshot.js";
import {
  hasNewCollation,
  type PostgresTable,
  readTables,
  requireReadable,
  type WantedTable,
} from "../backends/postgres/reading/tables.js";
import { tenantLiterals } from "../backends/postgres/reading/tenants.js";
import {
  describeUnfinished,
  findUnfinishedRun,
  type UnfinishedRun,
} from "../backends/postgres/runs/ledger/unfinished.js";
import type { PostgresConnection, PostgresConnector } from "../backends/postgres/session/connection.js";
import { UNKNOWN_ENCODING } from "../backends/postgres/session/encodings.js";
import { type Catalog, columnOf, LARGE_VALUE_BYTES, type RecordKind, tenantFieldOf } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { firstKinds } from "../records/first-kinds.js";
import { PART_BYTES } from "../records/parts.js";
import type { BatchLimits, RecordBatch } from "../records/record-batch.js";
import type { OrderBy, RunContext, Selection } from "../records/run-context.js";
import { KindReader } from "./postgres-kinds.js";
import { OtherTables } from "./postgres-other-tables.js";
import { PostgresParts } from "./postgres-parts.js";
import type { PartedSource, Source, StoreHeader } from "./source.js";

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
  /** "table": each kind's records as its table has them. Default "key". */
  readonly order?: "key" | "table";
  /** How the order of keys is had: along an index, by the server's sort, or ("auto", default) by the one that is faster for the table. */
  readonly orderBy?: OrderBy;
  /** Bytes of values that a part is to have. Default 4 MiB. */
  readonly partBytes?: number | undefined;
  /** It is to read the snapshot of another source, which gave it (PartedSource.share). */
  readonly snapshot?: SharedSnapshot | undefined;
  /** The role owns the tables, and forced row-level security binds it: reads all tenants, in one pass each (reading/owner.ts). */
  readonly asOwner?: boolean;
}

/** What PostgreSQL prints of what it is given; a server that only speaks its protocol may print something else. */
const JSONB = {
  given: String.raw`{"bb":1.10,"a" :[-0.0,1e2, 1E-2,"\u0041\/\u0001\n"],"C":{"z":null,"y":true,"y":false},"bb":{}}`,
  printed: String.raw`{"C": {"y": false, "z": null}, "a": [0.0, 100, 0.01, "A/\u0001\n"], "bb": {}}`,
};

/** What a row is taken for where the table was never analyzed. Bytes. */
const UNKNOWN_ROW_BYTES = 16384;

/** @returns a source for one run; it opens its connection in `open` */
export function createPostgresSource(options: PostgresSourceOptions): Source {
  return new PostgresSource(options);
}

class PostgresSource implements Source {
  readonly name: string;
  private readonly catalog: Catalog;
  private readonly others: OtherTables;
  private connection: PostgresConnection | undefined;
  /** The kinds whose tables were looked at. */
  private opened: ReadonlySet<RecordKind> = new Set();
  private tables: ReadonlyMap<string, PostgresTable> = new Map();
  private selectOptions: SelectOptions = { serverEncoding: "UTF8", serverVersion: 0, distrustsTextIndexes: false };
  private mode: RowMode = "copy";
  private rowSecurity: RowSecurity | undefined;
  private user = "";
  private printsJsonb = false;
  /** A load of this database that came to no end. */
  private unfinished: UnfinishedRun | undefined;
  inParts: PartedSource | undefined;
  private detach: () => void = () => {};

  constructor(private readonly options: PostgresSourceOptions) {
    this.name = options.name;
    this.catalog = options.catalog;
    this.others = new OtherTables(options.application);
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
    const names = [...selected.map(wantedTable), ...this.others.warned];
    const { asOwner = false } = this.options;
    if (asOwner) await requirePrimary(connection);
    await beginSnapshot(connection, names, context, asOwner ? "owner" : "read", this.options.snapshot);
    const schemas = schemasOf(this.catalog.kinds);
    const { rows } = await connection.query<{
      encoding: string;
      version: number;
      user: string;
      json: string;
      present: boolean;
    }>(
      `SELECT current_setting('server_encoding') AS encoding, current_setting('server_version_num')::int4 AS version,
              current_user::text AS user, $2::jsonb::text AS json,
              EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1)) AS present`,
      [schemas, JSONB.given],
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
    // Keys are ordered by their bytes in the server's encoding.
    this.printsJsonb = server.encoding === "UTF8" && server.json === JSONB.printed;
    // Such a server would end the statement at the first byte that is no UTF-8; the codecs name the record instead.
    if (server.encoding === UNKNOWN_ENCODING) await connection.query("SET LOCAL client_encoding = 'SQL_ASCII'");
    this.tables = await readTables(connection, names, this.options.application?.tenantSetting);
    this.rowSecurity = new RowSecurity({
      connection,
      tableOf: (name) => this.tables.get(sqlName(name)),
      application: this.options.application,
      user: server.user,
      select: this.selectOptions,
    });
    if (asOwner) await this.rowSecurity.countAsOwner(selected, this.others.warned);
    this.mode = await this.chooseMode(connection);
    this.inParts = asOwner || this.options.order === "table" ? undefined : this.partsOf(connection, this.rowSecurity);
    const migrations = (await this.options.application?.readVersions?.(connection)) ?? [];
    const order = this.options.order === "table" ? { order: this.options.order } : {};
    const versions = await readVersions(connection);
    return { backend: "postgresql", migrations, versions, catalog: this.catalog, ...order };
  }

  get wholeBecause(): string | undefined {
    if (this.inParts !== undefined) return undefined;
    if (this.options.order === "table") return "tables of PostgreSQL are read as they lie (--order table)";
    if (this.options.asOwner === true)
      return "with --as-owner one transaction lifts row-level security, which others do not see";
    return "embedded PostgreSQL has one connection";
  }

  /** An embedded database has one connection. */
  private partsOf(connection: PostgresConnection, rowSecurity: RowSecurity): PartedSource | undefined {
    if (connection.embedded) return undefined;
    return new PostgresParts({
      connection,
      select: this.selectOptions,
      begin: (selection, context) => this.begin(selection, context),
      bytesOf: (kind) => this.tableOf(kind).bytes,
      isBound: (kind) => rowSecurity.binds(kind),
      unchecked: this.options.check === "none",
      partBytes: this.options.partBytes ?? PART_BYTES,
    });
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

  partial(): string | undefined {
    if (this.unfinished !== undefined) return describeUnfinished(this.unfinished);
    return this.options.check === "none"
      ? "rows that a damaged index lacks are not missed (--source-check none)"
      : undefined;
  }

  async *read(selection: Selection, context: RunContext): AsyncGenerator<RecordBatch> {
    const { part } = selection;
    const kinds = await this.begin(
      part === undefined ? selection : { ...selection, paths: new Set([part.path]) },
      context,
    );
    const reader = this.kindReader();
    for (const kind of firstKinds(kinds, selection.first, ({ path }) => path)) {
      if (part?.rows === undefined) yield* reader.read(kind, selection, context);
      else yield* reader.readPart(kind, part.rows, context);
    }
  }

  private kindReader(): KindReader {
    const { check = "count", order = "key", orderBy = "auto" } = this.options;
    return new KindReader({
      ...this.reading(),
      ...{ select: this.selectOptions, check, order, orderBy, bytesOf: (kind) => this.tableOf(kind).bytes },
      statementFor: (kind, context, select, ofPart) => this.statementFor(kind, context, select, ofPart),
    });
  }

  private reading(): { readonly connection: PostgresConnection; readonly rowSecurity: RowSecurity } {
    const { connection, rowSecurity } = this;
    if (connection === undefined || rowSecurity === undefined) throw new Error("the source is not open");
    return { connection, rowSecurity };
  }

  /** Looks at what is there before the first record, and tells of what no record has. Gives the kinds whose tables are there. */
  private async begin(selection: Selection, context: RunContext): Promise<RecordKind[]> {
    const { connection, rowSecurity } = this.reading();
    const selected = this.selectedKinds(selection);
    if (!selected.every((kind) => this.opened.has(kind))) throw new Error("the source was opened for less");
    const kinds = selected.filter((kind) => this.tables.has(sqlName(tableOf(kind))));
    for (const kind of kinds) requireReadable(kind, this.tableOf(kind), this.user);
    const literals = tenantLiterals(connection, selection.tenants);
    await rowSecurity.begin(kinds, selection.tenants);
    if (selection.peek !== true && selection.part === undefined) {
      await this.others.warnOfRows(connection, { tables: this.tables, rowSecurity }, context);
      this.unfinished = await findUnfinishedRun(connection, this.options.application);
      if (this.unfinished !== undefined)
        context.warn(`${describeUnfinished(this.unfinished)}: only some of its records may be here`);
      for (const line of await leftOut(connection, {
        catalog: this.catalog.kinds,
        kinds: selected,
        tenants: literals,
        passesOf: (kind) => rowSecurity.passesOf(kind, rowSecurity.tenantsOf(kind, selection.tenants)),
        others: this.others.all,
      }))
        context.leftOut(line);
    }
    // A tenant that no text of PostgreSQL can be has no records but everybody's.
    return literals?.length === 0 ? kinds.filter((kind) => tenantFieldOf(kind) === undefined) : kinds;
  }

  private selectedKinds(selection: Selection): RecordKind[] {
    return this.catalog.kinds.filter((kind) => selection.paths.has(kind.path));
  }

  private tableOf(kind: RecordKind): PostgresTable {
    return this.tables.get(sqlName(tableOf(kind))) as PostgresTable;
  }

  private statementFor(kind: RecordKind, context: RunContext, select: SelectOptions, ofPart: boolean): RecordStatement {
    const { connection } = this.reading();
    const { bytes, estimatedRows = 0 } = this.tableOf(kind);
    const known = estimatedRows > 0 ? bytes / estimatedRows : UNKNOWN_ROW_BYTES;
    return new RecordStatement(connection, kind, context, {
      ...this.options,
      select,
      ofPart,
      mode: this.mode,
      // Rows of content may each hold a chunk.
      rowBytes: kind.postgres.largeObject === undefined ? known : LARGE_VALUE_BYTES / 4,
      checkUtf8: this.selectOptions.serverEncoding === UNKNOWN_ENCODING,
      printsJsonb: this.printsJsonb,
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
