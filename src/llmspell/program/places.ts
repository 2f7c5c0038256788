/** Where llmspell and its guide keep configuration files and SQLite databases. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { StorageError } from "../../errors.js";
import { expandPath, homeFolder } from "../../folders.js";

/** A file, and what says so. */
export interface Place {
  /** Absolute. */
  readonly path: string;
  readonly because: string;
}

export interface ConfigFile {
  readonly file: string;
  /** It is the working directory's, and none of the user's own places: whoever enters a folder means none of its settings. */
  readonly ofFolder: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The keys of one configuration file that name SQLite databases. */
export interface SqliteKeys {
  readonly file: string;
  /** The guide's `[storage.sqlite] path`. */
  readonly path?: string | undefined;
  /** llmspell's `[storage.sqlite] database_path`. */
  readonly databasePath?: string | undefined;
  /** llmspell's `[storage] database_path` and `base_dir`. */
  readonly storageDatabasePath?: string | undefined;
  readonly baseDir?: string | undefined;
  /** llmspell's `[rag.vector_storage] persistence_path`: a file, or the folder of one. */
  readonly persistencePath?: string | undefined;
}

/** llmspell's search order in the working directory, and then in the home folder (llmspell 0.14). */
const LLMSPELL_FILES = ["llmspell.toml", ".llmspell.toml", "config/llmspell.toml", ".config/llmspell.toml"];
const LLMSPELL_HOME_FILES = [".llmspell.toml", ".config/llmspell.toml"];
/** Where llmspell's base folder has its database. */
const IN_BASE = join("data", "llmspell.db");

/**
 * The configuration files that are there, strongest first: the guide's `config.toml` of the working directory, the one file that
 * llmspell itself would take, the user's `llmspell/config.toml`. With `named` (`--config`, LLMSPELL_CONFIG) that file alone. E_CONFIG.
 */
export function configFiles(environment: Environment, directory?: string, named?: string): ConfigFile[] {
  const flagged = named === undefined ? environment["LLMSPELL_CONFIG"] : named;
  if (flagged) {
    const file = expandPath(flagged, directory);
    if (existsSync(file)) return [{ file, ofFolder: false }];
    const by = named === undefined ? "LLMSPELL_CONFIG" : "--config";
    throw new StorageError("E_CONFIG", `the file that ${by} names does not exist: ${file}`);
  }
  const home = homeFolder();
  const userFolder = environment["XDG_CONFIG_HOME"] || (home && join(home, ".config"));
  const inFolder = (folder: string | undefined, names: readonly string[]): string[] =>
    folder ? names.map((name) => join(folder, name)).filter((file) => existsSync(file)) : [];
  const users = inFolder(userFolder, ["llmspell/config.toml"]);
  const homes = inFolder(home, LLMSPELL_HOME_FILES);
  const [llmspells] = [
    ...inFolder(home, [".llmspell/config.toml"]),
    ...inFolder(directory, LLMSPELL_FILES),
    ...homes,
    ...users,
  ];
  const files = new Set([...inFolder(directory, ["config.toml"]), ...(llmspells ? [llmspells] : []), ...users]);
  const own = new Set([...(home ? [join(home, ".llmspell/config.toml")] : []), ...homes, ...users]);
  return [...files].map((file) => ({ file, ofFolder: !own.has(file) }));
}

/**
 * The configured SQLite database. E_CONFIG where two are there and neither flag nor environment nor the guide's key chose: a
 * backup of the stale one would replace the good one.
 */
export function configuredSqlite(
  environment: Environment,
  layers: readonly SqliteKeys[],
  directory: string | undefined,
): Place {
  for (const name of ["LLMSPELL_SQLITE_PATH", "LLMSPELL_STORAGE_DATABASE_PATH"]) {
    const path = environment[name];
    if (path) return { path: expandPath(path, directory), because: `${name} is set` };
  }
  const base = environment["LLMSPELL_STORAGE_BASE_DIR"];
  if (base) return { path: join(expandPath(base, directory), IN_BASE), because: "LLMSPELL_STORAGE_BASE_DIR is set" };
  for (const keys of layers) {
    const named = namedSqlite(keys, directory);
    // It holds vectors only: the rest of the installation is where it is by default.
    const isRagOnly = named.length === 1 && keys.path === undefined && keys.persistencePath !== undefined;
    if (named.length > 0) return theOne(isRagOnly ? [...named, ...defaults(directory)] : named);
  }
  return theOne(defaults(directory));
}

/** The databases that a file names; the guide's key stands for itself. */
export function namedSqlite({ file, ...keys }: SqliteKeys, directory: string | undefined): Place[] {
  if (keys.path !== undefined)
    return [{ path: expandPath(keys.path, directory), because: `[storage.sqlite] path is set in ${file}` }];
  const { databasePath, storageDatabasePath, baseDir, persistencePath } = keys;
  const places: Place[] = [];
  const add = (path: string, key: string): void =>
    void places.push({ path: expandPath(path, directory), because: `${key} is set in ${file}` });
  if (databasePath !== undefined) add(databasePath, "[storage.sqlite] database_path");
  if (storageDatabasePath !== undefined) add(storageDatabasePath, "[storage] database_path");
  else if (baseDir !== undefined) add(join(baseDir, IN_BASE), "[storage] base_dir");
  if (persistencePath !== undefined) places.push(ragDatabase(file, persistencePath, directory));
  return places;
}

/** llmspell takes a folder, or a name without an extension, for the folder of `vectors.db`. */
function ragDatabase(file: string, persistencePath: string, directory: string | undefined): Place {
  const path = expandPath(persistencePath, directory);
  const isFolder = extname(path) === "" || statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  return {
    path: isFolder ? join(path, "vectors.db") : path,
    because: `[rag.vector_storage] persistence_path is set in ${file}`,
  };
}

/** The guide's, llmspell's own, and that of llmspell's `storage` command. E_USAGE where they need a home folder that there is none of. */
function defaults(directory: string | undefined): Place[] {
  const because = "nothing else is configured";
  const local = directory === undefined ? [] : [{ path: join(directory, "storage", "llmspell.db"), because }];
  if (homeFolder() === undefined && local.some(({ path }) => existsSync(path))) return local;
  const homes = ["~/.local/share/llmspell/llmspell.db", join("~/.llmspell", IN_BASE)];
  return [...homes.map((path) => ({ path: expandPath(path), because })), ...local];
}

/** The one that is there, or the first where none is. */
function theOne(places: readonly Place[]): Place {
  const there = new Map<string, Place>();
  for (const place of places) {
    if (!existsSync(place.path)) continue;
    const real = realpathSync(place.path);
    if (!there.has(real)) there.set(real, place);
  }
  const [found = places[0] as Place, ...others] = there.values();
  if (others.length === 0) return found;
  throw new StorageError("E_CONFIG", "more than one SQLite database is there, and nothing says which is meant", {
    detail: [found, ...others].map(({ path, because }) => `${path} (${because})`).join("; "),
    hint: "Name one with --database, LLMSPELL_SQLITE_PATH, or [storage.sqlite] path.",
  });
}
