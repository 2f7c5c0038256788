/**
 * The configuration: flags > environment > the configuration files (places.ts) > defaults. It is resolved here, once, into one
 * plain object, before any store is chosen; whoever has it asks nothing more of flags, environment or files.
 */
import { join } from "node:path";
import { workingFolder } from "../folders.js";
import { configFiles, configuredSqlite, namedSqlite, type Place } from "../llmspell/program/places.js";
import { describeStep } from "../transforms/spec.js";
import type { ConfiguredName } from "./backend-names.js";
import { type Layer, readLayer } from "./file.js";
import type { ConfiguredTransforms } from "./transforms.js";

export { BACKEND_NAMES, BACKEND_NAMES_HINT, DEFAULT_BACKEND, parseBackendName } from "./backend-names.js";
export { STORE_NAME } from "./file.js";

/** Seconds to wait for a server that refuses, is starting up, or does not answer. */
export const DEFAULT_CONNECTION_TIMEOUT_SECONDS = 30;

/** Of a step that is announced. */
const STEP_CHARACTERS = 200;

export interface Config {
  /** The backend that `--backend` would name, and what says so; undefined: nothing does. */
  readonly backend: { readonly name: ConfiguredName; readonly reason: string } | undefined;
  readonly sqlite: {
    /** Absolute. E_CONFIG where two are there and nothing chose one. */
    readonly path: string;
    /** What chose the path. */
    readonly because: string;
    /** The shape of new embedding tables. */
    readonly vectors: "blob" | "vec0";
  };
  readonly postgresql: {
    /** Holds the password; undefined: no server is configured. From the environment it is not checked yet. */
    readonly url: string | undefined;
    /** What chose the URL. */
    readonly because: string | undefined;
    readonly connectionTimeoutSeconds: number;
  };
  /** `[stores.NAME]`, by name: the STORE text (which may hold a password), where it is known, and what says so. */
  readonly stores?:
    | Readonly<Record<string, { readonly text: string | undefined; readonly because: string }>>
    | undefined;
  /** Keys of the files that nothing here knows, one message each. */
  readonly warnings: readonly string[];
  /** `[transforms]` of the first file that has it. The library's functions leave it to the command line. */
  readonly transforms?: ConfiguredTransforms | undefined;
  /** The form of embeddings in a document: `--vectors`, or `[transforms]`; undefined: as documents have them. */
  readonly vectors?: "base64" | "json" | undefined;
  /** `--plugin-timeout`, `--jq-timeout`, or `[transforms]`; undefined: the default. */
  readonly pluginTimeoutSeconds?: number | undefined;
  readonly jqTimeoutSeconds?: number | undefined;
  /** What files bring that nobody named: the working directory's, when they name a server or change records. A line each. */
  readonly announcements: readonly string[];
}

/** What the command line says of what the configuration says, too. */
export interface ConfigFlags {
  /** The one file to read. */
  readonly config?: string | undefined;
  readonly vectors?: "base64" | "json" | undefined;
  readonly vectorsAs?: "blob" | "vec0" | undefined;
  readonly pluginTimeout?: number | undefined;
  readonly jqTimeout?: number | undefined;
}

export interface ConfigSources {
  readonly flags?: ConfigFlags;
  /** Default: process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Default: the working directory. */
  readonly directory?: string;
}

/**
 * Whoever enters a folder of somebody else's means none of its settings. Undefined for the user's own file, which is in one of his
 * places or named by --config or LLMSPELL_CONFIG, and for settings that neither change records nor say where they go.
 */
function announcementOf(
  { file, ofFolder, url, sqlite, transforms }: Layer,
  directory: string | undefined,
): string | undefined {
  if (!ofFolder || directory === undefined) return undefined;
  const places = namedSqlite(sqlite, directory);
  const steps = transforms?.steps.map((step) => shortened(describeStep(step))) ?? [];
  const elsewhere = places.filter(({ path }) => !path.startsWith(join(directory, "/")));
  const brings = [
    ...(url === undefined ? [] : [`the server ${new URL(url).host || new URL(url).searchParams.get("host")}`]),
    ...elsewhere.map(({ path }) => `the database ${path}`),
    ...(steps.length === 0 ? [] : [`for ${transforms?.on.join(", ")}: ${steps.join("; ")}`]),
  ];
  return brings.length === 0 ? undefined : `Settings of this folder's ${file}: ${brings.join("; ")}`;
}

function shortened(text: string): string {
  return text.length > STEP_CHARACTERS ? `${text.slice(0, STEP_CHARACTERS)}…` : text;
}

/** Resolves flags, environment and files. E_CONFIG for a file that cannot be read or a value that is not valid. */
export function loadConfig(sources: ConfigSources = {}): Config {
  const { flags = {} } = sources;
  const environment = sources.environment ?? process.env;
  const directory = sources.directory ?? workingFolder();
  const layers = configFiles(environment, directory, flags.config).map(readLayer);
  const databaseUrl = environment["DATABASE_URL"] || undefined;
  // The connection is one file's as a whole: a password of one file never goes to a host that another one names.
  const connected = layers.find((layer) => layer.url !== undefined);
  const url = databaseUrl ?? connected?.url;
  const chosen = layers.find((layer) => layer.backend !== undefined);
  let backend: Config["backend"];
  if (chosen?.backend !== undefined) {
    backend = { name: chosen.backend, reason: `[storage] backend is set in ${chosen.file}` };
  } else if (databaseUrl !== undefined) {
    backend = { name: "postgresql", reason: "DATABASE_URL is set" };
  }
  const sqlite = resolved(() =>
    configuredSqlite(
      environment,
      layers.map((layer) => layer.sqlite),
      directory,
    ),
  );
  const transforms = layers.find((layer) => layer.transforms !== undefined)?.transforms;
  return {
    backend,
    sqlite: {
      get path() {
        return sqlite().path;
      },
      get because() {
        return sqlite().because;
      },
      vectors: flags.vectorsAs ?? layers.find((layer) => layer.vectors !== undefined)?.vectors ?? "blob",
    },
    postgresql: {
      url,
      because:
        databaseUrl === undefined
          ? connected && `[storage.postgresql] is set in ${connected.file}`
          : "DATABASE_URL is set",
      connectionTimeoutSeconds:
        layers.find((layer) => layer.connectionTimeoutSeconds !== undefined)?.connectionTimeoutSeconds ??
        DEFAULT_CONNECTION_TIMEOUT_SECONDS,
    },
    stores: Object.fromEntries(
      layers.toReversed().flatMap(({ stores }) =>
        Object.entries(stores).map(([name, { file, url, variable }]) => [
          name,
          {
            text: url ?? (environment[variable ?? ""] || undefined),
            because: `[stores.${name}] is set in ${file}${variable === undefined ? "" : `, and ${variable} in the environment`}`,
          },
        ]),
      ),
    ),
    warnings: layers.flatMap((layer) => layer.unknown),
    transforms,
    vectors: flags.vectors ?? transforms?.vectors,
    pluginTimeoutSeconds: flags.pluginTimeout ?? transforms?.pluginTimeoutSeconds,
    jqTimeoutSeconds: flags.jqTimeout ?? transforms?.jqTimeoutSeconds,
    announcements: layers.flatMap((layer) => announcementOf(layer, directory) ?? []),
  };
}

/** Resolved now; where that fails, the error is for whoever uses it: another store needs no home folder, and no choice. */
function resolved(find: () => Place): () => Place {
  try {
    const place = find();
    return () => place;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
