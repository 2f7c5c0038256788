/** One configuration file: what it may hold, and what it says. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type * as toml from "smol-toml";
import type * as zod from "zod";
import { parseConnectionUrl } from "../backends/postgres/session/connection-parameters.js";
import { StorageError } from "../errors.js";
import type { ConfigFile, SqliteKeys } from "../llmspell/program/places.js";
import { type ConfiguredName, parseBackendName } from "./backend-names.js";
import { type ConfiguredTransforms, readTransforms, refuseMisspeltTransforms, transformsSchema } from "./transforms.js";

const require = createRequire(import.meta.url);

/** The file belongs to llmspell too, so keys that are not named here are its own business. */
function configFileSchema() {
  // Only where there is a file: it takes 15 MB and a tenth of a second to load.
  const { z } = require("zod") as typeof zod;
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
  const path = z.string().min(1).optional();
  const sqliteTable = z.object({ path, database_path: path, vectors: z.enum(["blob", "vec0"]).optional() });
  return z.object({
    storage: z
      .object({
        backend: z.preprocess(lowerCase, z.enum(["sqlite", "postgres", "postgresql"])).optional(),
        base_dir: path,
        database_path: path,
        sqlite: sqliteTable.optional(),
        postgresql: postgresTable.optional(),
        postgres: postgresTable.optional(),
      })
      .optional(),
    rag: z.object({ vector_storage: z.object({ persistence_path: path }).optional() }).optional(),
    transforms: transformsSchema(z).optional(),
    stores: z
      .record(
        z.string().regex(STORE_NAME),
        z.strictObject({ url: z.string().min(1).optional(), url_env: z.string().min(1).optional() }),
      )
      .optional(),
  });
}

/** What `[stores.NAME]` may be called. */
export const STORE_NAME = /^[A-Za-z][\w-]{0,63}$/;

const lowerCase = (value: unknown): unknown => (typeof value === "string" ? value.toLowerCase() : value);

/** What `[storage]` may hold; the last two of the first line and the last of the second are llmspell's and say nothing of where a store is. */
const KNOWN: Readonly<Record<string, ReadonlySet<string>>> = {
  storage: new Set(["backend", "base_dir", "database_path", "sqlite", "postgresql", "postgres", "sessions_dir"]),
  "storage.sqlite": new Set(["path", "database_path", "vectors", "journal_mode"]),
  "storage.postgresql": new Set([
    "url",
    "host",
    "port",
    "database",
    "username",
    "password",
    "connection_timeout_seconds",
  ]),
};

/** Tables of llmspell's own have other names: these were meant to say where a store is. */
const MEANT = /^(stor|stro|sotr)/i;

function unknownKeys(file: string, document: Readonly<Record<string, unknown>>): string[] {
  const storage = (document["storage"] ?? {}) as Readonly<Record<string, unknown>>;
  const tables = {
    storage,
    "storage.sqlite": storage["sqlite"],
    "storage.postgresql": storage["postgresql"] ?? storage["postgres"],
  };
  const misspelt = Object.keys(document).filter((key) => MEANT.test(key) && key !== "storage" && key !== "stores");
  return [
    ...misspelt.map((key) => `${file}: [${key}] is not known here, and ignored; [storage] and [stores.NAME] are`),
    ...Object.entries(tables).flatMap(([table, keys]) =>
      Object.keys(keys ?? {})
        .filter((key) => !KNOWN[table]?.has(key))
        .map((key) => `${file}: [${table}] ${key} is not known here, and ignored`),
    ),
  ];
}

type StorageTable = NonNullable<zod.z.infer<ReturnType<typeof configFileSchema>>["storage"]>;
type PostgresTable = NonNullable<StorageTable["postgres"]>;

/** One file's settings. */
export interface Layer {
  readonly file: string;
  readonly ofFolder: boolean;
  readonly backend: ConfiguredName | undefined;
  readonly sqlite: SqliteKeys;
  readonly unknown: readonly string[];
  readonly vectors: "blob" | "vec0" | undefined;
  readonly url: string | undefined;
  readonly connectionTimeoutSeconds: number | undefined;
  readonly transforms: ConfiguredTransforms | undefined;
  /** By name. */
  readonly stores: Readonly<Record<string, NamedStore>>;
}

/** `[stores.NAME]`: a STORE text, or the variable of the environment that has it. */
export interface NamedStore {
  readonly file: string;
  readonly url: string | undefined;
  readonly variable: string | undefined;
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
  if (parseConnectionUrl(table.url) === undefined) {
    throw new StorageError("E_CONFIG", `${file}: [storage.postgresql] url is no PostgreSQL URL`, {
      hint: "It has the form postgresql://user@host:5432/database, with :password behind the user; percent-encode its special characters (@ is %40, / is %2F, # is %23).",
    });
  }
  return table.url;
}

function namedStore(
  file: string,
  name: string,
  { url, url_env: variable }: { url?: string | undefined; url_env?: string | undefined },
): NamedStore {
  if (parseBackendName(name) !== undefined)
    throw new StorageError(
      "E_CONFIG",
      `${file}: [stores.${name}] has a name that means the configured ${name} already`,
    );
  if ((url === undefined) === (variable === undefined))
    throw new StorageError("E_CONFIG", `${file}: [stores.${name}] needs url or url_env, and not both`, {
      hint: "url is a STORE, such as postgresql://user@host:5432/database; url_env names the environment's variable that has it.",
    });
  return { file, url, variable };
}

/** E_CONFIG for a file that cannot be read or is not valid. */
export function readLayer({ file, ofFolder }: ConfigFile): Layer {
  const { parse, TomlError } = require("smol-toml") as typeof toml;
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
  const { storage, rag, transforms, stores = {} } = checked.data;
  if (storage?.postgres !== undefined && storage.postgresql !== undefined) {
    throw new StorageError("E_CONFIG", `${file} has both [storage.postgresql] and [storage.postgres]`, {
      hint: "They are the same table; keep one.",
    });
  }
  const postgres = storage?.postgresql ?? storage?.postgres;
  return {
    file,
    ofFolder,
    backend: storage?.backend === undefined ? undefined : parseBackendName(storage.backend),
    sqlite: {
      file,
      path: storage?.sqlite?.path,
      databasePath: storage?.sqlite?.database_path,
      storageDatabasePath: storage?.database_path,
      baseDir: storage?.base_dir,
      persistencePath: rag?.vector_storage?.persistence_path,
    },
    unknown: unknownKeys(file, document),
    vectors: storage?.sqlite?.vectors,
    url: connectionUrl(file, postgres),
    connectionTimeoutSeconds: postgres?.connection_timeout_seconds,
    transforms: transforms === undefined ? undefined : readTransforms(file, transforms),
    stores: Object.fromEntries(Object.entries(stores).map(([name, store]) => [name, namedStore(file, name, store)])),
  };
}
