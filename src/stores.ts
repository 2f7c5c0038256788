/** STORE texts, and the concrete source and sink behind each. With src/commands the only place that picks them. */
import { statSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import type { PostgresConnector } from "./backends/postgres/session/connection.js";
import type { Catalog } from "./catalog/index.js";
import type { Config } from "./config.js";
import { isPostgresUrl, parseBackendName } from "./config.js";
import { StorageError } from "./errors.js";
import { expandPath } from "./folders.js";
import type { IdMap } from "./records/id-map.js";
import type { PruneScope, TargetScope } from "./records/run-context.js";
import { redact, redactUnknown } from "./redaction.js";
import type { InvalidUuidPolicy } from "./sinks/ids.js";
import type { Sink } from "./sinks/sink.js";
import type { Source } from "./sources/source.js";
import { accessWarning } from "./store-access.js";

/** Where a store is. */
export type StoreLocation =
  | { readonly type: "postgres" /** Holds the password. */; readonly url: string }
  | { readonly type: "pglite"; readonly directory: string }
  | { readonly type: "sqlite"; readonly path: string }
  | { readonly type: "document" /** `-` is standard input or output. */; readonly path: string }
  | { readonly type: "stream"; readonly stream: Readable | Writable };

/** A store that a command acts on, and what chose it when no flag did. */
export interface StoreChoice {
  readonly location: StoreLocation;
  readonly chosenBecause: string | undefined;
  /** What says where the backend's store is; undefined where the command line does. */
  readonly because: string | undefined;
}

const DATABASE_FORMS = "a postgresql:// URL, pglite:DIR, sqlite:PATH, a file that ends in .db, .sqlite or .sqlite3";
const STORE_FORMS = `A store is ${DATABASE_FORMS}, a document (.json, .json.gz, .json.zst, -), or \`sqlite\` or \`postgres\` as configured.`;

function postgresLocation(url: string, origin: string, code: "E_USAGE" | "E_CONFIG"): StoreLocation {
  if (isPostgresUrl(url)) return { type: "postgres", url };
  throw new StorageError(code, `${origin} is no PostgreSQL URL`, {
    hint: "It has the form postgresql://user@host:5432/database, with :password behind the user; percent-encode its special characters (@ is %40, / is %2F, # is %23).",
  });
}

/** The store of a backend as configured. E_CONFIG when PostgreSQL is meant and not configured. */
export function configuredStore(backend: "sqlite" | "postgresql", config: Config): StoreLocation {
  if (backend === "sqlite") return { type: "sqlite", path: config.sqlite.path };
  if (config.postgresql.url === undefined) {
    throw new StorageError("E_CONFIG", "no PostgreSQL connection is configured", {
      hint: "Set DATABASE_URL, or [storage.postgresql] in config.toml, or give --database postgresql://…",
    });
  }
  return postgresLocation(config.postgresql.url, "the configured connection (DATABASE_URL)", "E_CONFIG");
}

/** Reads a STORE text. `config` is asked for the bare words only. E_USAGE, E_CONFIG. */
export function parseStore(text: string, config: () => Config): StoreLocation {
  const backend = parseBackendName(text);
  if (backend !== undefined) return configuredStore(backend, config());
  if (/^postgres(ql)?:/i.test(text)) return postgresLocation(text, "the store", "E_USAGE");
  if (text.startsWith("pglite:") && text.length > 7) return { type: "pglite", directory: expandPath(text.slice(7)) };
  if (text.startsWith("sqlite:") && text.length > 7) return { type: "sqlite", path: expandPath(text.slice(7)) };
  if (text === "-") return { type: "document", path: "-" };
  if (!text.includes("://")) {
    if (/\.(db|sqlite|sqlite3)$/i.test(text)) return { type: "sqlite", path: expandPath(text) };
    if (/\.json(\.gz|\.zst)?$/i.test(text)) return documentLocation(text);
  }
  throw new StorageError("E_USAGE", `not a store: ${redactUnknown(text)}`, { hint: STORE_FORMS });
}

/** A document by its path, whatever it is called; `-` is standard input or output. E_USAGE for a URL. */
export function documentLocation(path: string): StoreLocation {
  if (path.includes("://")) {
    throw new StorageError("E_USAGE", "a URL stands where a document is expected", {
      hint: "--input and --output name a file, or - ; --database names a database, and `storage migrate` copies from one to another.",
    });
  }
  return { type: "document", path: path === "-" ? "-" : expandPath(path) };
}

/** The store that `--backend` and `--database` name; without either, the configured or the default one. */
export function chooseStore(
  flags: { readonly backend?: string | undefined; readonly database?: string | undefined },
  config: Config,
): StoreChoice {
  const backend = flags.backend === undefined ? undefined : parseBackendName(flags.backend);
  if (flags.backend !== undefined && backend === undefined) {
    throw new StorageError("E_USAGE", `unknown backend: ${redactUnknown(flags.backend)}`, {
      hint: "The backends are sqlite and postgres (or postgresql).",
    });
  }
  if (flags.database !== undefined) {
    const location = parseStore(flags.database, () => config);
    if (location.type === "document" || location.type === "stream") {
      throw new StorageError("E_USAGE", "--database names a document, not a database", {
        hint: `\`llmspell storage import --input FILE\` reads a document, \`llmspell storage export --output FILE\` writes one; --database is ${DATABASE_FORMS}.`,
      });
    }
    if (backend !== undefined && backend !== backendOf(location)) {
      throw new StorageError("E_USAGE", `--backend ${flags.backend} and --database name different backends`, {
        hint: "Leave out one of them: --database says which backend it is.",
      });
    }
    const because = configuredBecause(flags.database, config);
    return { location, chosenBecause: undefined, because };
  }
  const chosen = (name: "sqlite" | "postgresql", chosenBecause: string | undefined): StoreChoice => ({
    location: configuredStore(name, config),
    chosenBecause,
    because: configuredBecause(name, config),
  });
  if (backend !== undefined) return chosen(backend, undefined);
  if (config.backend !== undefined) return chosen(config.backend.name, config.backend.reason);
  return chosen("sqlite", "neither DATABASE_URL nor [storage] backend is set");
}

/** What says where a store is that is named by a bare word; undefined for any other text. */
export function configuredBecause(text: string, config: Config): string | undefined {
  const backend = parseBackendName(text);
  if (backend === undefined) return undefined;
  return backend === "sqlite" ? config.sqlite.because : config.postgresql.because;
}

function backendOf(location: StoreLocation): "sqlite" | "postgresql" | undefined {
  if (location.type === "sqlite") return "sqlite";
  return location.type === "postgres" || location.type === "pglite" ? "postgresql" : undefined;
}

/** The store for messages: never with a password. */
export function storeName(location: StoreLocation): string {
  switch (location.type) {
    case "postgres":
      return redact(location.url);
    case "pglite":
      return `pglite:${location.directory}`;
    case "sqlite":
      return `sqlite:${location.path}`;
    case "document":
      return location.path;
    case "stream":
      return "a stream";
  }
}

/** Whether both are the same store, by whatever name of the file. Two URLs that spell one server differently are not recognised. */
export function sameStore(one: StoreLocation, other: StoreLocation): boolean {
  if (one.type === "postgres" && other.type === "postgres") return one.url === other.url;
  const [path, otherPath] = [pathOf(one), pathOf(other)];
  if (path === undefined || otherPath === undefined) return false;
  if (path === otherPath) return true;
  try {
    const [file, otherFile] = [statSync(path, { bigint: true }), statSync(otherPath, { bigint: true })];
    return file.ino === otherFile.ino && file.dev === otherFile.dev;
  } catch {
    return false;
  }
}

function pathOf(location: StoreLocation): string | undefined {
  if (location.type === "pglite") return location.directory;
  if (location.type === "sqlite") return location.path;
  return location.type === "document" && location.path !== "-" ? location.path : undefined;
}

/** The files and folders of stores on this machine; not standard input and output. */
export function filesOf(...stores: readonly StoreLocation[]): string[] {
  return stores.map(pathOf).filter((path) => path !== undefined);
}

/** Lines about those of the stores that other users of this machine can get at. */
export function accessWarnings(...stores: readonly StoreLocation[]): string[] {
  return filesOf(...stores).flatMap((path) => accessWarning(path) ?? []);
}

export interface SourceOptions {
  readonly catalog?: Catalog | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly connectionTimeoutSeconds?: number | undefined;
  readonly sourceMode?: "auto" | "copy" | "cursor" | undefined;
  readonly sourceCheck?: "count" | "none" | undefined;
  /** What ids become behind the source: they sort as that. */
  readonly invalidUuid?: InvalidUuidPolicy | undefined;
  readonly verifyManifest?: boolean | undefined;
  readonly times?: "us" | "s" | undefined;
}

export interface SinkOptions {
  readonly catalog?: Catalog | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly connectionTimeoutSeconds?: number | undefined;
  readonly onConflict?: "update" | "skip" | "error" | undefined;
  readonly onOrphan?: "error" | "drop" | undefined;
  readonly prune?: PruneScope | undefined;
  readonly requireEmpty?: TargetScope | undefined;
  readonly vectorsAs?: "blob" | "vec0" | undefined;
  readonly deferIndexes?: "auto" | "always" | "never" | undefined;
  readonly dryRun?: boolean | undefined;
  /** Row-level security lets a role without BYPASSRLS write one tenant's records, when it says which. */
  readonly tenant?: string | undefined;
  readonly compress?: "auto" | "gzip" | "zstd" | "none" | undefined;
  readonly force?: boolean | undefined;
  readonly allowEmpty?: boolean | undefined;
  readonly vectors?: "base64" | "json" | undefined;
  /** What a document names as its producer. */
  readonly producer: string;
}

const ID_ORDER = { keep: "text", error: "uuid", derive: "derived" } as const;

/** Ids and the UUIDs that stand for them, in a file. `adds`: ids will be added to it. */
export async function openIdMap(path: string, adds: boolean): Promise<IdMap> {
  const { createIdMap } = await import("./backends/sqlite/id-map.js");
  return createIdMap(expandPath(path), { adds });
}

/** Factories load what they need only: a document is read without either driver. */
export async function createSource(location: StoreLocation, options: SourceOptions): Promise<Source> {
  const { catalog, invalidUuid, verifyManifest, times, sourceMode, sourceCheck } = options;
  const shared = catalog === undefined ? {} : { catalog };
  switch (location.type) {
    case "postgres":
    case "pglite": {
      const { createPostgresSource } = await import("./sources/postgres.js");
      const connect = await postgresConnector(location, options);
      return createPostgresSource({
        ...shared,
        connect,
        name: storeName(location),
        ...(sourceMode === undefined ? {} : { mode: sourceMode }),
        ...(sourceCheck === undefined ? {} : { check: sourceCheck }),
      });
    }
    case "sqlite": {
      const { createSqliteSource } = await import("./sources/sqlite.js");
      return createSqliteSource({
        ...shared,
        path: location.path,
        idOrder: ID_ORDER[invalidUuid ?? "keep"],
      });
    }
    case "document":
    case "stream": {
      const { createDocumentSource } = await import("./sources/json-document.js");
      return createDocumentSource({
        ...shared,
        input:
          location.type === "stream"
            ? { stream: location.stream as Readable }
            : location.path === "-"
              ? { stream: process.stdin }
              : { path: location.path },
        name: storeName(location),
        ...(verifyManifest === undefined ? {} : { verifyManifest }),
        ...(times === undefined ? {} : { times }),
      });
    }
  }
}

/** An SQLite target is created and migrated when the run begins to write. */
export async function createSink(location: StoreLocation, options: SinkOptions): Promise<Sink> {
  const { catalog, onConflict, onOrphan, dryRun, vectorsAs, deferIndexes, compress, vectors, producer } = options;
  const { force, allowEmpty, prune, requireEmpty } = options;
  const shared = catalog === undefined ? {} : { catalog };
  const load = {
    ...shared,
    ...(onConflict === undefined ? {} : { onConflict }),
    ...(onOrphan === undefined ? {} : { onOrphan }),
    ...(dryRun === undefined ? {} : { dryRun }),
    ...(prune === undefined ? {} : { prune }),
    ...(requireEmpty === undefined ? {} : { requireEmpty }),
  };
  switch (location.type) {
    case "postgres":
    case "pglite": {
      const { createPostgresSink } = await import("./sinks/postgres.js");
      const connect = await postgresConnector(location, options);
      const { tenant } = options;
      return createPostgresSink({
        ...load,
        connect,
        name: storeName(location),
        ...(tenant === undefined ? {} : { tenant }),
        ...(deferIndexes === undefined ? {} : { deferIndexes }),
      });
    }
    case "sqlite": {
      const { createSqliteTarget } = await import("./sqlite-target.js");
      return createSqliteTarget({ ...load, path: location.path, ...(vectorsAs === undefined ? {} : { vectorsAs }) });
    }
    case "document":
    case "stream": {
      const [{ createDocumentSink }, { openStdout }] = await Promise.all([
        import("./sinks/json-document.js"),
        import("./document/fifo.js"),
      ]);
      return createDocumentSink({
        ...shared,
        producer,
        output:
          location.type === "stream"
            ? { stream: location.stream as Writable }
            : location.path === "-"
              ? { stream: openStdout() }
              : {
                  path: location.path,
                  ...(force === undefined ? {} : { force }),
                  ...(allowEmpty === undefined ? {} : { allowEmpty }),
                },
        ...(compress === undefined ? {} : { compress }),
        ...(vectors === undefined ? {} : { vectors }),
      });
    }
  }
}

/** Opens sessions with the store; `create` makes the folder of an embedded database that is not there. */
export async function postgresConnector(
  location: StoreLocation & { readonly type: "postgres" | "pglite" },
  options: Pick<SourceOptions, "connectionTimeoutSeconds" | "signal"> & { readonly create?: boolean },
): Promise<PostgresConnector> {
  const { connectPostgres } = await import("./backends/postgres/session/connection.js");
  const target = location.type === "postgres" ? { url: location.url } : { pglite: location.directory };
  const { connectionTimeoutSeconds, signal, create } = options;
  return () =>
    connectPostgres(target, {
      ...(connectionTimeoutSeconds === undefined ? {} : { connectionTimeoutSeconds }),
      ...(signal === undefined ? {} : { signal }),
      ...(create === undefined ? {} : { create }),
    });
}
