/** The configuration: environment > config.toml of the working directory > config.toml of the user > defaults. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import type * as zod from "zod";
import { parseConnectionUrl } from "./backends/postgres/connection-parameters.js";
import {
  type ConfiguredTransforms,
  readTransforms,
  refuseMisspeltTransforms,
  transformsSchema,
} from "./config-transforms.js";
import { StorageError } from "./errors.js";

/** Seconds to wait for a server that refuses, is starting up, or does not answer. */
export const DEFAULT_CONNECTION_TIMEOUT_SECONDS = 30;

export interface Config {
  /** The backend that `--backend` would name, and what says so; undefined: nothing does. */
  readonly backend: { readonly name: "sqlite" | "postgresql"; readonly reason: string } | undefined;
  readonly sqlite: {
    /** Absolute. */
    readonly path: string;
    /** The shape of new embedding tables. */
    readonly vectors: "blob" | "vec0";
  };
  readonly postgresql: {
    /** Holds the password; undefined: no server is configured. From the environment it is not checked yet. */
    readonly url: string | undefined;
    readonly connectionTimeoutSeconds: number;
  };
  /** `[transforms]` of the first file that has it. The library's functions leave it to the command line. */
  readonly transforms?: ConfiguredTransforms | undefined;
}

export interface ConfigSources {
  /** Default: process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Default: the working directory. */
  readonly directory?: string;
}

/** The file belongs to llmspell too, so keys that are not named here are its own business. */
function configFileSchema() {
  // Only where there is a file: it takes 15 MB and a tenth of a second to load.
  const { z } = createRequire(import.meta.url)("zod") as typeof zod;
  const postgresTable = z.object({
    url: z.string().min(1).optional(),
    host: z.string().min(1).optional(),
    port: z.int().min(1).max(65535).optional(),
    database: z.string().min(1).optional(),
    username: z.string().min(1).optional(),
    password: z.string().optional(),
    // A timer's range in milliseconds is 2^31 - 1.
    connection_timeout_seconds: z.number().positive().max(2_147_483).optional(),
  });
  const sqliteTable = z.object({ path: z.string().min(1).optional(), vectors: z.enum(["blob", "vec0"]).optional() });
  return z.object({
    storage: z
      .object({
        backend: z.enum(["sqlite", "postgres", "postgresql"]).optional(),
        sqlite: sqliteTable.optional(),
        postgresql: postgresTable.optional(),
        postgres: postgresTable.optional(),
      })
      .optional(),
    transforms: transformsSchema(z).optional(),
  });
}

type StorageTable = NonNullable<zod.z.infer<ReturnType<typeof configFileSchema>>["storage"]>;
type PostgresTable = NonNullable<StorageTable["postgres"]>;

/** One file's settings. */
interface Layer {
  readonly file: string;
  readonly backend: "sqlite" | "postgresql" | undefined;
  readonly sqlitePath: string | undefined;
  readonly vectors: "blob" | "vec0" | undefined;
  readonly url: string | undefined;
  readonly connectionTimeoutSeconds: number | undefined;
  readonly transforms: ConfiguredTransforms | undefined;
}

/** The backend that a name stands for; `postgres` and `postgresql` are synonyms. Undefined for any other name. */
export function parseBackendName(name: string): "sqlite" | "postgresql" | undefined {
  if (name === "sqlite") return "sqlite";
  return name === "postgres" || name === "postgresql" ? "postgresql" : undefined;
}

/** `~` and `~/…` as the home folder; anything else relative to `directory`. */
export function expandPath(path: string, directory: string = process.cwd()): string {
  if (path === "~" || path.startsWith("~/")) return join(homedir(), path.slice(1));
  return resolve(directory, path);
}

/** Whether the text is a URL that names a PostgreSQL database in one of libpq's forms. */
export function isPostgresUrl(text: string): boolean {
  return parseConnectionUrl(text) !== undefined;
}

function urlFromParts(table: PostgresTable): string | undefined {
  const { host, port, database, username, password } = table;
  if ([host, port, database, username, password].every((part) => part === undefined)) return undefined;
  const user = username === undefined ? "" : encodeURIComponent(username);
  const secret = password === undefined ? "" : `:${encodeURIComponent(password)}`;
  const name = encodeURIComponent(database ?? "llmspell");
  const at = user === "" && secret === "" ? "" : `${user}${secret}@`;
  // A host that is a path is the folder of a Unix socket.
  if (host?.startsWith("/")) {
    return `postgresql://${at}localhost:${port ?? 5432}/${name}?host=${encodeURIComponent(host)}`;
  }
  const bracketed = host?.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  return `postgresql://${at}${bracketed ?? "localhost"}:${port ?? 5432}/${name}`;
}

function connectionUrl(file: string, table: PostgresTable | undefined): string | undefined {
  if (table === undefined) return undefined;
  const fromParts = urlFromParts(table);
  if (table.url === undefined) return fromParts;
  if (fromParts !== undefined) {
    throw new StorageError("E_CONFIG", `${file}: [storage.postgresql] has both url and its parts`, {
      hint: "Give either url, or host, port, database, username and password.",
    });
  }
  if (!isPostgresUrl(table.url)) {
    throw new StorageError("E_CONFIG", `${file}: [storage.postgresql] url is no PostgreSQL URL`, {
      hint: "It has the form postgresql://user@host:5432/database, with :password behind the user; percent-encode its special characters (@ is %40, / is %2F, # is %23).",
    });
  }
  return table.url;
}

function readLayer(file: string): Layer {
  let document: Record<string, unknown>;
  try {
    document = parse(readFileSync(file, "utf8"));
  } catch (error) {
    // The parser's further lines quote the file, which may hold a password.
    const detail =
      error instanceof TomlError
        ? `${error.message.split("\n", 1)[0]} (line ${error.line}, column ${error.column})`
        : (error as Error).message;
    throw new StorageError("E_CONFIG", `${file} cannot be read`, { detail });
  }
  const checked = configFileSchema().safeParse(document);
  if (!checked.success) {
    const detail = checked.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
    throw new StorageError("E_CONFIG", `${file} is not valid`, { detail });
  }
  refuseMisspeltTransforms(file, document);
  const { storage, transforms } = checked.data;
  if (storage?.postgres !== undefined && storage.postgresql !== undefined) {
    throw new StorageError("E_CONFIG", `${file} has both [storage.postgresql] and [storage.postgres]`, {
      hint: "They are the same table; keep one.",
    });
  }
  const postgres = storage?.postgresql ?? storage?.postgres;
  return {
    file,
    backend: storage?.backend === undefined ? undefined : parseBackendName(storage.backend),
    sqlitePath: storage?.sqlite?.path,
    vectors: storage?.sqlite?.vectors,
    url: connectionUrl(file, postgres),
    connectionTimeoutSeconds: postgres?.connection_timeout_seconds,
    transforms: transforms === undefined ? undefined : readTransforms(file, transforms),
  };
}

function configFiles(environment: Readonly<Record<string, string | undefined>>, directory: string): string[] {
  const named = environment["LLMSPELL_CONFIG"];
  if (named) {
    const file = expandPath(named, directory);
    if (existsSync(file)) return [file];
    throw new StorageError("E_CONFIG", `the file that LLMSPELL_CONFIG names does not exist: ${file}`);
  }
  const userFolder = environment["XDG_CONFIG_HOME"] || join(homedir(), ".config");
  return [join(directory, "config.toml"), join(userFolder, "llmspell", "config.toml")].filter((file) =>
    existsSync(file),
  );
}

/** Reads environment and files. E_CONFIG for a file that cannot be read or a value that is not valid. */
export function loadConfig(sources: ConfigSources = {}): Config {
  const environment = sources.environment ?? process.env;
  const directory = sources.directory ?? process.cwd();
  const layers = configFiles(environment, directory).map(readLayer);
  const databaseUrl = environment["DATABASE_URL"] || undefined;
  // The connection is one file's as a whole: a password of one file never goes to a host that another one names.
  const url = databaseUrl ?? layers.find((layer) => layer.url !== undefined)?.url;
  const chosen = layers.find((layer) => layer.backend !== undefined);
  let backend: Config["backend"];
  if (chosen?.backend !== undefined) {
    backend = { name: chosen.backend, reason: `[storage] backend is set in ${chosen.file}` };
  } else if (databaseUrl !== undefined) {
    backend = { name: "postgresql", reason: "DATABASE_URL is set" };
  }
  return {
    backend,
    sqlite: {
      path: expandPath(
        environment["LLMSPELL_SQLITE_PATH"] ||
          (layers.find((layer) => layer.sqlitePath !== undefined)?.sqlitePath ?? "~/.local/share/llmspell/llmspell.db"),
        directory,
      ),
      vectors: layers.find((layer) => layer.vectors !== undefined)?.vectors ?? "blob",
    },
    postgresql: {
      url,
      connectionTimeoutSeconds:
        layers.find((layer) => layer.connectionTimeoutSeconds !== undefined)?.connectionTimeoutSeconds ??
        DEFAULT_CONNECTION_TIMEOUT_SECONDS,
    },
    transforms: layers.find((layer) => layer.transforms !== undefined)?.transforms,
  };
}
