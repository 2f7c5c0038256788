/** What one import into an SQLite database shares: the transaction, triggers set aside, indexes of its own, rowids. */
import { setImmediate as nextTick } from "node:timers/promises";
import type { Catalog, RecordKind } from "../../../catalog/index.js";
import { StorageError } from "../../../errors.js";
import type { PruneScope, RunContext } from "../../../records/run-context.js";
import { type Database, isVec0, loadVectorExtension } from "../open.js";
import { defineFunctions } from "../reading/order-terms.js";
import { columnsOf, mainTable, neededColumns, quoted, requireRowids, rowidOf } from "../table.js";
import { refuseDamagedVec0 } from "../vectors/vec0-check.js";
import { blockOf, lastOfBlock } from "../vectors/vector-rowids.js";
import { type DeferredIndexes, deferIndexes } from "./deferred-indexes.js";
import { dropTriggers } from "./triggers.js";

export interface LoadOptions {
  readonly onConflict: "update" | "skip" | "error";
  readonly onOrphan: "error" | "drop";
  /** The shape of embedding tables that are not there yet. */
  readonly vectorsAs: "blob" | "vec0";
  readonly prune?: PruneScope | undefined;
}

/** The name that our indexes and temporary tables begin with. */
const PREFIX = "llmspell_load_";

export class Load {
  readonly database: Database;
  readonly catalog: Catalog;
  readonly context: RunContext;
  readonly options: LoadOptions;
  /** Embeddings that were written as float32 though llmspell takes them for JSON: they hold what JSON has no number for. */
  unreadableEmbeddings = 0;
  private readonly indexes: string[] = [];
  /** By table. */
  private readonly deferred = new Map<string, DeferredIndexes>();
  private indexesDeferred = 0;
  private indexesMade = 0;
  private triggers: string[] = [];
  private names = 0;
  /** The last one of each dimension that was given out. */
  private readonly vectorRowids = new Map<number, bigint>();

  /** In a transaction that may write. E_NOT_MIGRATED. */
  constructor(database: Database, catalog: Catalog, context: RunContext, options: LoadOptions) {
    this.database = database;
    this.catalog = catalog;
    this.context = context;
    this.options = options;
    defineFunctions(database);
    for (const kind of catalog.kinds) requireMigrated(database, kind);
    this.dropTriggers();
  }

  /** A name that nothing else in the database has. */
  name(what: string): string {
    return `${PREFIX}${what}_${++this.names}`;
  }

  /** An index for the time of the load. */
  createIndex(table: string, expressions: readonly string[], unique: boolean): void {
    const name = this.name("index");
    this.database.exec(`CREATE ${unique ? "UNIQUE " : ""}INDEX ${name} ON ${quoted(table)}(${expressions.join(", ")})`);
    this.indexes.push(name);
  }

  /** The applications' triggers must not fire on an import. */
  private dropTriggers(): void {
    const tables = new Set<string>();
    for (const kind of this.catalog.kinds) {
      tables.add(mainTable(kind));
      if (kind.sqlite.layout === "vector") tables.add(kind.sqlite.embeddingTable);
    }
    this.triggers = dropTriggers(this.database, tables);
  }

  /** For a table without rows: its indexes are made at the end, or when `makeIndexes` is called. */
  deferIndexes(kind: RecordKind): void {
    const table = mainTable(kind);
    if (this.deferred.has(table)) return;
    const indexes = deferIndexes(this.database, kind);
    this.deferred.set(table, indexes);
    this.indexesDeferred += indexes.sql.length;
  }

  deferredIndexes(kind: RecordKind): DeferredIndexes | undefined {
    return this.deferred.get(mainTable(kind));
  }

  async makeIndexes(table: string): Promise<void> {
    for (const sql of this.deferred.get(table)?.sql ?? []) {
      this.indexesMade++;
      const name = /INDEX (?:IF NOT EXISTS )?(\w+)/i.exec(sql)?.[1] ?? table;
      this.context.activity?.({
        phase: "indexes",
        index: { name, number: this.indexesMade, of: this.indexesDeferred },
      });
      // The driver is synchronous, and an index may take seconds: let signals and timers in.
      await nextTick();
      this.context.signal.throwIfAborted();
      this.database.exec(sql);
    }
    this.deferred.delete(table);
  }

  /** Everything that is not the records is as it was: indexes and triggers back, our own indexes gone. */
  async restore(): Promise<void> {
    for (const name of this.indexes) this.database.exec(`DROP INDEX ${name}`);
    for (const table of [...this.deferred.keys()]) await this.makeIndexes(table);
    for (const sql of this.triggers) this.database.exec(sql);
    this.indexes.length = 0;
    this.triggers = [];
  }

  /** The next rowid of the dimension's block: neither vector_metadata nor its embedding table has it. */
  nextVectorRowid(kind: RecordKind): bigint {
    const { sqlite } = kind;
    if (sqlite.layout !== "vector") throw new Error(`${kind.path} has no embeddings`);
    const rowid = (this.vectorRowids.get(sqlite.dimension) ?? lastOfBlock(this.database, sqlite)) + 1n;
    if (rowid > blockOf(sqlite.dimension).last)
      throw new StorageError("E_TARGET_LIMIT", `the rowids of vectors of ${sqlite.dimension} dimensions are used up`, {
        hint: "Run `llmspell database migrate --repair-rowids`.",
      });
    this.vectorRowids.set(sqlite.dimension, rowid);
    return rowid;
  }

  /** Whether the kind's embedding table is vec0; makes the table when it is not there. */
  embeddingShape(table: string, dimension: number): boolean {
    const shape = isVec0(this.database, table);
    if (shape !== undefined) {
      if (shape) loadVectorExtension(this.database);
      if (shape) refuseDamagedVec0(this.database, table);
      return shape;
    }
    const vec0 = this.options.vectorsAs === "vec0";
    if (vec0) loadVectorExtension(this.database, true);
    this.database.exec(
      vec0
        ? `CREATE VIRTUAL TABLE ${quoted(table)} USING vec0(embedding float[${dimension}])`
        : `CREATE TABLE ${quoted(table)} (rowid INTEGER PRIMARY KEY, embedding BLOB)`,
    );
    return vec0;
  }
}

/** Behind the greatest rowid SQLite takes free ones at random: E_TARGET_LIMIT, because new rows are known by greater ones. */
export function requireFreeRowids(table: string, last: bigint): void {
  if (last < 2n ** 62n) return;
  throw new StorageError("E_TARGET_LIMIT", `the rowids of ${table} are used up`, {
    hint: "Export the database, and import the document into a new one.",
  });
}

/** Metadata and embeddings belong together by rowid: the one that SQLite gives, or writing would part them. E_SCHEMA. */
function requireLinkedRowids(database: Database, kind: RecordKind): void {
  if (kind.sqlite.layout !== "vector") return;
  for (const table of [kind.sqlite.metadataTable, kind.sqlite.embeddingTable]) {
    if (isVec0(database, table) !== false || rowidOf(database, table) === "rowid") continue;
    throw new StorageError("E_SCHEMA", `the column rowid of ${table} is not its INTEGER PRIMARY KEY`, {
      section: kind.path,
      hint: "Export the database, and import the document into a new one.",
    });
  }
}

function requireMigrated(database: Database, kind: RecordKind): void {
  const table = mainTable(kind);
  const present = columnsOf(database, table);
  requireRowids(database, table);
  requireLinkedRowids(database, kind);
  const { plain, exact } = neededColumns(kind);
  const lacking = [...plain, ...exact].find((column) => present?.has(column) !== true);
  if (lacking === undefined) return;
  const detail = present === undefined ? `the table ${table} is missing` : `${table} has no column ${lacking}`;
  throw new StorageError("E_NOT_MIGRATED", "the target's schema is not migrated", {
    section: kind.path,
    detail,
    hint: "Run `llmspell database migrate --backend sqlite`.",
  });
}
