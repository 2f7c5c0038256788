/** `llmspell storage info`: reads a store as an export would, and says what it found. */
import { statSync } from "node:fs";
import { exportStore, type KindResult } from "../api.js";
import { catalog } from "../catalog/index.js";
import type { Config } from "../config.js";
import { type ErrorCode, EXIT, StorageError } from "../errors.js";
import { leftOutError } from "../pipeline.js";
import type { Rejection } from "../records/run-context.js";
import type { Sink, SinkCounts } from "../sinks/sink.js";
import type { StoreHeader } from "../sources/source.js";
import {
  chooseStore,
  configuredBecause,
  parseStore,
  postgresConnector,
  type StoreLocation,
  storeName,
} from "../stores.js";
import { reportError } from "./error-report.js";
import { createProgressDisplay, formatBytes, formatCount } from "./progress.js";
import {
  announcedConfig,
  announceResolved,
  type CommonFlags,
  outputFor,
  resolvedStore,
  type StoreFlags,
} from "./transfer.js";

export type InfoFlags = CommonFlags & StoreFlags & { readonly strict?: boolean };

/** Gives the exit status. */
export async function runInfo(flags: InfoFlags, signal: AbortSignal, store?: string): Promise<number> {
  const output = outputFor(flags);
  const config = announcedConfig(flags, output);
  if (store !== undefined && (flags.backend !== undefined || flags.database !== undefined)) {
    throw new StorageError("E_USAGE", "name the store once: STORE, --backend or --database");
  }
  const { location, because } =
    store === undefined
      ? chooseStore(flags, config)
      : { location: parseStore(store, () => config), because: configuredBecause(store, config) };
  output.line(
    `Store: ${location.type === "document" && location.path === "-" ? "standard input" : storeName(location)}`,
  );
  announceResolved(resolvedStore(location, because), { flags, output, config });
  const facts = await physicalFacts(location, config, signal);
  for (const { label, text } of facts) output.line(`${label}: ${text}`);

  const progress = await createProgressDisplay(output, flags);
  const { sink, bytes, header } = countingSink();
  const obstacles = new Obstacles();
  const warnings: string[] = [];
  const result = await exportStore({
    from: location,
    to: sink,
    config,
    signal,
    onStart: (_header, estimate) => progress.start(estimate),
    onProgress: (one) => progress.update(one),
    onReject: (rejection) => obstacles.add(rejection),
    onWarning(message) {
      warnings.push(message);
      output.warn(message);
    },
  }).finally(() => progress.stop());

  const { backend, migrations } = header() as StoreHeader;
  output.line(`Source backend: ${backend}`);
  output.line(`Migrations: ${migrations.join(", ")}`);
  output.line(`Records: ${formatCount(result.totals.read)}`);
  for (const line of sectionLines(result.kinds, bytes)) output.line(line);
  for (const line of obstacles.lines(result.leftOut.length === 0)) output.line(line);
  for (const line of leftOutLines(result.leftOut)) output.line(line);
  const refused = flags.strict === true && result.leftOut.length > 0 ? leftOutError(result.leftOut) : undefined;
  output.result({
    store: storeName(location),
    ...Object.fromEntries(facts.map(({ name, value }) => [name, value])),
    sourceBackend: backend,
    migrations,
    records: result.totals.read,
    sections: Object.fromEntries(
      result.kinds.map(({ path, label, read, rejected }) => [
        path,
        { label, records: read, bytes: bytes.get(path) ?? 0, rejected },
      ]),
    ),
    rejected: result.totals.rejected,
    obstacles: obstacles.list(),
    warnings,
    leftOut: result.leftOut,
    ...(refused === undefined ? {} : { error: reportError(refused) }),
  });
  if (refused === undefined) return EXIT.done;
  output.error(refused, true);
  return refused.exitStatus;
}

interface Fact {
  /** In the JSON result. */
  readonly name: string;
  readonly label: string;
  readonly text: string;
  readonly value: unknown;
}

/** What the store is outside its records. */
async function physicalFacts(location: StoreLocation, config: Config, signal: AbortSignal): Promise<Fact[]> {
  const fact = (name: string, label: string, text: string, value: unknown = text): Fact => ({
    name,
    label,
    text,
    value,
  });
  switch (location.type) {
    case "sqlite": {
      const [{ openSqliteForReading }, { inspectSqlite }] = await Promise.all([
        import("../backends/sqlite/open.js"),
        import("../backends/sqlite/inspect.js"),
      ]);
      const database = openSqliteForReading(location.path);
      try {
        const { bytes, sqliteVersion, embeddings } = inspectSqlite(database, location.path, catalog.kinds);
        const shapes = [...embeddings].map(([table, shape]) => `${table} (${shape})`);
        return [
          fact("sqliteVersion", "SQLite", sqliteVersion),
          fact("bytes", "Size", formatBytes(bytes), bytes),
          fact("embeddings", "Embedding tables", shapes.join(", ") || "none", Object.fromEntries(embeddings)),
        ];
      } finally {
        database.close();
      }
    }
    case "postgres":
    case "pglite": {
      const { inspectPostgres } = await import("../backends/postgres/inspect.js");
      const { connectionTimeoutSeconds } = config.postgresql;
      const connection = await (await postgresConnector(location, { connectionTimeoutSeconds, signal }))();
      try {
        const { serverVersion, extensions, databaseBytes } = await inspectPostgres(connection);
        return [
          fact("serverVersion", "PostgreSQL", serverVersion),
          fact("pgvectorVersion", "pgvector", extensions.get("vector")?.installed ?? "not installed"),
          fact("bytes", "Size", formatBytes(databaseBytes), databaseBytes),
        ];
      } finally {
        await connection.close();
      }
    }
    case "document": {
      const size = location.path === "-" ? undefined : statSync(location.path, { throwIfNoEntry: false })?.size;
      return size === undefined ? [] : [fact("bytes", "Size", formatBytes(size), size)];
    }
    case "stream":
      return [];
  }
}

/** Takes everything and keeps nothing. */
function countingSink(): { sink: Sink; bytes: ReadonlyMap<string, number>; header: () => StoreHeader | undefined } {
  let header: StoreHeader | undefined;
  const counts = new Map<string, SinkCounts>();
  const bytes = new Map<string, number>();
  const sink: Sink = {
    name: "info",
    async open(given) {
      header = given;
    },
    async write(batch) {
      const { path } = batch.kind;
      let size = batch.byteLength;
      for await (const chunk of batch.large?.chunks() ?? []) size += chunk.length;
      bytes.set(path, (bytes.get(path) ?? 0) + size);
      counts.set(path, {
        inserted: (counts.get(path)?.inserted ?? 0) + batch.rows,
        updated: 0,
        skipped: 0,
        dropped: 0,
      });
    },
    async finish() {
      return { counts, notes: [] };
    },
    async abort() {},
  };
  return { sink, bytes, header: () => header };
}

function sectionLines(kinds: readonly KindResult[], bytes: ReadonlyMap<string, number>): string[] {
  const rows = kinds.map(({ path, read }) => [path, formatCount(read), formatBytes(bytes.get(path) ?? 0)] as const);
  const width = (column: 0 | 1 | 2): number => Math.max(0, ...rows.map((row) => row[column].length));
  return rows.map(
    ([path, count, size]) => `  ${path.padEnd(width(0))}  ${count.padStart(width(1))}  ${size.padStart(width(2))}`,
  );
}

function leftOutLines(leftOut: readonly string[]): string[] {
  if (leftOut.length === 0) return [];
  return ["An export would leave out (or, with --strict, stop at):", ...leftOut.map((line) => `  ${line}`)];
}

interface Obstacle {
  readonly code: ErrorCode;
  readonly section: string;
  readonly field: string | undefined;
  readonly firstKey: string | undefined;
  count: number;
}

/** The records that an export could not take, by what is wrong with them. */
class Obstacles {
  private readonly found = new Map<string, Obstacle>();

  add({ kind, error }: Rejection): void {
    const { field, key } = error.context;
    const id = `${kind.path} ${field ?? ""} ${error.code}`;
    const known = this.found.get(id);
    if (known === undefined)
      this.found.set(id, { code: error.code, section: kind.path, field, firstKey: key, count: 1 });
    else known.count++;
  }

  list(): readonly Obstacle[] {
    return [...this.found.values()];
  }

  /** `complete`: nothing else would be left out. */
  lines(complete: boolean): string[] {
    if (this.found.size === 0) return complete ? ["An export would take every record."] : [];
    return [
      "An export would stop at these records (or leave them out, with --on-error skip):",
      ...this.list().map(({ code, section, field, firstKey, count }) => {
        const where = field === undefined ? section : `${section}, field ${field}`;
        return `  ${formatCount(count)} in ${where} [${code}], first: ${firstKey ?? "no key"}`;
      }),
    ];
  }
}
