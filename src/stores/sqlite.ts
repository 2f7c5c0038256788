/** SQLite files. */
import { formatBytes } from "../byte-size.js";
import { expandPath } from "../folders.js";
import type { SqliteSourceOptions } from "../sources/sqlite.js";
import type { Backend, Inspection, InspectionOptions } from "./backend.js";

export interface SqliteLocation {
  readonly type: "sqlite";
  readonly path: string;
}

/** What ids become behind a source, as the order of them. */
const ID_ORDER = { keep: "text", error: "uuid", derive: "derived" } as const;

export const sqlite: Backend<SqliteLocation> = {
  type: "sqlite",
  word: "sqlite",
  locations: {
    forms: ["sqlite:PATH", "a file that ends in .db, .sqlite or .sqlite3"],
    shortForms: ["sqlite:PATH", "a file (.db, .sqlite, .sqlite3)"],
    parse(text) {
      if (text.startsWith("sqlite:") && text.length > 7) return { type: "sqlite", path: expandPath(text.slice(7)) };
      const isFile = !text.includes("://") && /\.(db|sqlite|sqlite3)$/i.test(text);
      return isFile ? { type: "sqlite", path: expandPath(text) } : undefined;
    },
    nameOf: ({ path }) => `sqlite:${path}`,
    fileOf: ({ path }) => path,
  },
  configured: {
    name: "sqlite",
    locate: ({ sqlite: { path, because } }) => ({ location: { type: "sqlite", path }, because }),
    sink: { vectorsAs: (config) => config.sqlite.vectors },
  },
  order: "key",
  readsInThread: true,
  database: {
    title: "SQLite",
    spelling: "sqlite",
    ids: "any",
    prunes: true,
    migrateOptions: ["repairRowids"],
    async migrate({ path }, { signal, repairRowids }) {
      const { migrateSqlite } = await import("../llmspell/schema/migrator.js");
      return migrateSqlite(path, { ...(signal === undefined ? {} : { signal }), repairRowids });
    },
    inspect,
    async findings(location, options) {
      const { readSqliteSchema } = await import("../llmspell/schema/migrator.js");
      const { schemaFindings } = await import("./findings.js");
      return readState(location, options, (_state, database) => schemaFindings(readSqliteSchema(database).comparison));
    },
    async search({ path }, kind, { vectors, count }) {
      const [{ openSqliteForReading }, { nearestByVec0 }] = await Promise.all([
        import("../backends/sqlite/open.js"),
        import("../backends/sqlite/reading/nearest-neighbours.js"),
      ]);
      const database = openSqliteForReading(path);
      try {
        return nearestByVec0(database, kind, vectors, count);
      } finally {
        database.close();
      }
    },
    async planLoad({ path }, options) {
      const { planSqliteLoad } = await import("./planning/sqlite-plan.js");
      return planSqliteLoad(path, options);
    },
  },
  async createSource({ path }, { catalog, invalidUuid, lockTimeoutSeconds, order, orderBy, snapshot }) {
    const [{ createSqliteSource }, { llmspellSqlite }] = await Promise.all([
      import("../sources/sqlite.js"),
      import("../llmspell/sqlite/application.js"),
    ]);
    return createSqliteSource({
      application: llmspellSqlite,
      catalog,
      path,
      idOrder: ID_ORDER[invalidUuid ?? "keep"],
      order,
      orderBy,
      lockTimeoutSeconds,
      snapshot: snapshot as SqliteSourceOptions["snapshot"],
    });
  },
  /** The file is created and migrated when the run begins to write. */
  async createSink({ path }, options) {
    const { catalog, onConflict, onOrphan, dryRun, vectorsAs, lockTimeoutSeconds, prune, requireEmpty } = options;
    const [{ createSqliteTarget }, { llmspellSqlite }] = await Promise.all([
      import("./sqlite-target.js"),
      import("../llmspell/sqlite/application.js"),
    ]);
    return createSqliteTarget({
      prune,
      requireEmpty,
      application: llmspellSqlite,
      path,
      catalog,
      onConflict,
      onOrphan,
      dryRun,
      vectorsAs,
      lockTimeoutSeconds,
    });
  },
  async readFacts(location, options) {
    const { bytes, sqliteVersion, embeddings } = await readState(location, options, (state) => state);
    return { sqliteVersion, bytes, embeddings };
  },
};

type SqliteState = Omit<import("../backends/sqlite/inspect.js").SqliteState, "embeddings"> & {
  readonly embeddings: Readonly<Record<string, string>>;
};

/** What the file is, and what `also` reads of it while it is open. */
async function readState<T>(
  { path }: SqliteLocation,
  { catalog }: InspectionOptions,
  also: (state: SqliteState, database: import("../backends/sqlite/open.js").Database) => T,
): Promise<T> {
  const [{ openSqliteForReading }, { inspectSqlite }] = await Promise.all([
    import("../backends/sqlite/open.js"),
    import("../backends/sqlite/inspect.js"),
  ]);
  const database = openSqliteForReading(path);
  try {
    const { embeddings, ...state } = inspectSqlite(database, path, catalog.kinds);
    return also({ ...state, embeddings: Object.fromEntries(embeddings) }, database);
  } finally {
    database.close();
  }
}

async function inspect(location: SqliteLocation, options: InspectionOptions): Promise<Inspection> {
  const { readSqliteSchema } = await import("../llmspell/schema/migrator.js");
  return readState(location, options, (state, database) => {
    const shapes = Object.entries(state.embeddings).map(([table, shape]) => `${table} (${shape})`);
    const facts = [
      `SQLite: ${state.sqliteVersion}; sqlite-vec: ${state.sqliteVecVersion ?? "not available"}`,
      `File: ${formatBytes(state.bytes)}, journal mode ${state.journalMode}`,
      state.tables.length === 0 ? "Schema: none yet" : `Schema: ${state.tables.length} tables`,
      ...(shapes.length === 0 ? [] : [`Embedding tables: ${shapes.join(", ")}`]),
    ];
    return { facts, json: state, ...readSqliteSchema(database) };
  });
}
