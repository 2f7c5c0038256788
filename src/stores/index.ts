/**
 * Stores: STORE texts, which store a command means, and the source and sink of each. What differs from backend to backend is
 * asked of the list (backend-registry.ts); `list` is another one, for a backend that only one program has.
 * Over 300 lines: what a command or a program may call a store.
 */
import { fstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  BACKEND_NAMES,
  BACKEND_NAMES_HINT,
  type Config,
  DEFAULT_BACKEND,
  parseBackendName,
  STORE_NAME,
} from "../config/index.js";
import { StorageError } from "../errors.js";
import { expandPath } from "../folders.js";
import type { IdMap } from "../records/ids/id-map.js";
import { redactUnknown } from "../redaction.js";
import type { Sink } from "../sinks/sink.js";
import type { BackendName, Source } from "../sources/source.js";
import { accessWarning } from "./access.js";
import type {
  AnyLocation,
  Backend,
  Configured,
  DatabaseParts,
  SessionOptions,
  SinkOptions,
  SourceOptions,
} from "./backend.js";
import { backends } from "./backend-registry.js";
import type { StoreLocation } from "./location.js";

export type { AnyLocation, Backend, DocumentPlanner, SinkOptions, SourceOptions, StoreFacts } from "./backend.js";
export { backends } from "./backend-registry.js";
export { documentLocation, isPipe, streamLocation } from "./document.js";
export type { StoreLocation } from "./location.js";

type Backends = readonly Backend[];

/** A store that a command acts on, and what chose it when no flag did. */
export interface StoreChoice {
  readonly location: StoreLocation;
  readonly chosenBecause: string | undefined;
  /** What says where the backend's store is; undefined where the command line does. */
  readonly because: string | undefined;
}

/** The backend of a store. E_USAGE for a location of none. */
export function backendOf(location: AnyLocation, list: Backends = backends): Backend {
  const found = list.find(({ type }) => type === location.type);
  if (found !== undefined) return found;
  throw new StorageError("E_USAGE", `no backend has stores of the type ${redactUnknown(String(location.type))}`, {
    hint: `The types are ${list.map(({ type }) => type).join(", ")}.`,
  });
}

/** Reads a STORE text. `config` is asked for the bare words only. E_USAGE, E_CONFIG. */
export function parseStore(text: string, config: () => Config): StoreLocation;
export function parseStore(text: string, config: () => Config, list: Backends): AnyLocation;
export function parseStore(text: string, config: () => Config, list: Backends = backends): AnyLocation {
  const configured = parseBackendName(text);
  if (configured !== undefined) return configuredStore(configured, config(), list).location;
  return isNameOnly(text, list) && hasNamed(text, config())
    ? namedStore(text, config(), list)
    : parseLocation(text, list);
}

/** Whether nothing but the configuration could say what the text means. */
function isNameOnly(text: string, list: Backends): boolean {
  return STORE_NAME.test(text) && list.every(({ locations }) => locations.parse(text) === undefined);
}

function hasNamed(name: string, { stores = {} }: Config): boolean {
  return Object.hasOwn(stores, name);
}

/** The store that the configuration calls so (`[stores.NAME]`). E_CONFIG where there is none. */
export function namedStore(name: string, { stores = {} }: Config, list: Backends = backends): AnyLocation {
  const found = Object.hasOwn(stores, name) ? stores[name] : undefined;
  const text = found?.text;
  if (text !== undefined) return parseLocation(text, list);
  throw new StorageError("E_CONFIG", `the configuration has no store ${redactUnknown(name)}`, {
    hint:
      found === undefined
        ? `[stores.${redactUnknown(name)}] of config.toml says url = "postgresql://…", or url_env = "VARIABLE".`
        : `${found.because}, but it is not there.`,
  });
}

/** Reads a STORE text that is no bare word. E_USAGE. */
function parseLocation(text: string, list: Backends): AnyLocation {
  for (const { locations } of list) {
    const location = locations.parse(text);
    if (location !== undefined) return location;
  }
  const forms = list.flatMap(({ locations }) => locations.forms).join(", ");
  throw new StorageError("E_USAGE", `not a store: ${redactUnknown(text)}`, {
    hint: `A store is ${forms}, or ${BACKEND_NAMES.map((name) => `\`${name}\``).join(" or ")} as configured.`,
  });
}

/** What a STORE of a database may be, for messages. */
export function databaseForms(list: Backends = backends): string {
  return list.flatMap(({ database, locations }) => (database === undefined ? [] : locations.forms)).join(", ");
}

type Located = ReturnType<NonNullable<Configured<AnyLocation>["locate"]>>;

/** The store of a backend as configured. E_CONFIG where there is none. */
function configuredStore(name: BackendName, config: Config, list: Backends): Located {
  const located = list.find(({ configured }) => configured?.name === name)?.configured?.locate?.(config);
  if (located !== undefined) return located;
  throw new StorageError("E_CONFIG", `no backend is configured as ${name}`);
}

/** The store that `--backend` and `--database` name; without either, the configured or the default one. */
export function chooseStore(
  flags: { readonly backend?: string | undefined; readonly database?: string | undefined },
  config: Config,
): StoreChoice {
  const backend = flags.backend === undefined ? undefined : parseBackendName(flags.backend);
  if (flags.backend !== undefined && backend === undefined) {
    throw new StorageError("E_USAGE", `unknown backend: ${redactUnknown(flags.backend)}`, {
      hint: BACKEND_NAMES_HINT,
    });
  }
  if (flags.database !== undefined) {
    const location = parseStore(flags.database, () => config);
    const { database, word } = backendOf(location);
    if (database === undefined) {
      throw new StorageError("E_USAGE", "--database names a document, not a database", {
        hint: `\`llmspell storage import --input FILE\` reads a document, \`llmspell storage export --output FILE\` writes one; --database is ${databaseForms()}.`,
      });
    }
    if (backend !== undefined && backends.find(({ configured }) => configured?.name === backend)?.word !== word) {
      throw new StorageError("E_USAGE", `--backend ${flags.backend} and --database name different backends`, {
        hint: "Leave out one of them: --database says which backend it is.",
      });
    }
    return { location, chosenBecause: undefined, because: configuredBecause(flags.database, config) };
  }
  const { name, reason } =
    backend === undefined ? (config.backend ?? DEFAULT_BACKEND) : { name: backend, reason: undefined };
  const { location, because } = configuredStore(name, config, backends);
  return { location: location as StoreLocation, chosenBecause: reason, because };
}

/** What says where a store is that is named by a bare word; undefined for any other text. */
export function configuredBecause(text: string, config: Config): string | undefined {
  const backend = parseBackendName(text);
  if (backend !== undefined) return configuredStore(backend, config, backends).because;
  return isNameOnly(text, backends) && hasNamed(text, config) ? config.stores?.[text]?.because : undefined;
}

/** Whether a run that reads (`source`) or writes (`sink`) the store asks the configuration for what its options leave open. */
export function dependsOnConfig(
  store: string | AnyLocation,
  part: "source" | "sink",
  options: object,
  list: Backends = backends,
): boolean {
  if (typeof store === "string" && (parseBackendName(store) !== undefined || isNameOnly(store, list))) return true;
  const location = typeof store === "string" ? parseLocation(store, list) : store;
  const given: Readonly<Record<string, unknown>> = { ...options };
  return Object.keys(backendOf(location, list).configured?.[part] ?? {}).some((name) => given[name] === undefined);
}

/** The options, with what the configuration says where they leave it open. */
function withConfigured<Options extends SessionOptions>(
  options: Options,
  fromConfig: object | undefined,
  config: Config | undefined,
): Options {
  if (fromConfig === undefined || config === undefined) return options;
  const filled: Record<string, unknown> = { ...(options as object) };
  for (const [name, read] of Object.entries(fromConfig)) filled[name] ??= read(config);
  return filled as Options;
}

/** What a session with the store takes: the options, and the configuration where they leave something open. */
export function sessionOptions(
  location: AnyLocation,
  { signal, connectionTimeoutSeconds }: SessionOptions,
  config: Config | undefined,
  list: Backends = backends,
): SessionOptions {
  return withConfigured({ signal, connectionTimeoutSeconds }, backendOf(location, list).configured?.source, config);
}

/** The store for messages: never with a password. */
export function storeName(location: AnyLocation, list: Backends = backends): string {
  return backendOf(location, list).locations.nameOf(location);
}

/** Whether both are the same store, by whatever name of the file. */
export function sameStore(one: AnyLocation, other: AnyLocation, list: Backends = backends): boolean {
  const { locations } = backendOf(one, list);
  if (one.type === other.type && locations.isSame !== undefined) return locations.isSame(one, other);
  const [path, otherPath] = [fileOf(one, list), fileOf(other, list)];
  if (path === undefined || otherPath === undefined) return false;
  if (path === otherPath) return true;
  try {
    const [file, otherFile] = [statSync(path, { bigint: true }), statSync(otherPath, { bigint: true })];
    return file.ino === otherFile.ino && file.dev === otherFile.dev;
  } catch {
    return false;
  }
}

/** Whether what is written to `to` would replace `from`: the same store, or a file of the directory that `to` is. */
export function replaces(to: AnyLocation, from: AnyLocation, list: Backends = backends): boolean {
  if (sameStore(from, to, list)) return true;
  const [folder, path] = [fileOf(to, list), fileOf(from, list)];
  if (to.type !== "directory" || folder === undefined) return false;
  try {
    if (path !== undefined) return dirname(realpathSync(path)) === realpathSync(folder);
    return "path" in from && from.path === "-" && isStandardInputIn(folder);
  } catch {
    return false;
  }
}

/** Whether standard input is a file of the folder (`< DIR/part.json`). */
function isStandardInputIn(folder: string): boolean {
  const input = fstatSync(0, { bigint: true });
  if (!input.isFile()) return false;
  return readdirSync(folder).some((name) => {
    const { ino, dev } = statSync(join(folder, name), { bigint: true });
    return ino === input.ino && dev === input.dev;
  });
}

function fileOf(location: AnyLocation, list: Backends): string | undefined {
  return backendOf(location, list).locations.fileOf?.(location);
}

/** The files and folders of stores on this machine; not standard input and output. */
export function filesOf(stores: readonly AnyLocation[], list: Backends = backends): string[] {
  return stores.map((location) => fileOf(location, list)).filter((path) => path !== undefined);
}

/** Lines about those of the stores that other users of this machine can get at. */
export function accessWarnings(stores: readonly AnyLocation[], list: Backends = backends): string[] {
  return filesOf(stores, list).flatMap((path) => accessWarning(path) ?? []);
}

/** What is a database's of a store; undefined for a document. */
export function databaseOf(location: AnyLocation, list: Backends = backends): DatabaseParts<AnyLocation> | undefined {
  return backendOf(location, list).database;
}

/** Whether it is a store that `asOwner` is for. */
export function hasOwner(location: AnyLocation, list: Backends = backends): boolean {
  return backendOf(location, list).sourceOptions?.includes("asOwner") === true;
}

/** What a source of the store gets: the options, and the configuration where they leave something open. */
export function sourceOptions(
  location: AnyLocation,
  options: SourceOptions,
  { config, list = backends }: { readonly config?: Config | undefined; readonly list?: Backends | undefined } = {},
): SourceOptions {
  return withConfigured(options, backendOf(location, list).configured?.source, config);
}

/** `config`: for what the options leave open. */
export function createSource(
  location: AnyLocation,
  options: SourceOptions,
  { config, list = backends }: { readonly config?: Config | undefined; readonly list?: Backends | undefined } = {},
): Promise<Source> {
  const backend = backendOf(location, list);
  if (options.asOwner === true && !hasOwner(location, list))
    throw new StorageError("E_USAGE", `--as-owner (asOwner) is for PostgreSQL, not for ${backend.word}`, {
      hint: "Leave it out: nothing is hidden there.",
    });
  return backend.createSource(location, sourceOptions(location, options, { config, list }));
}

/** `config`: for what the options leave open. */
export function createSink(
  location: AnyLocation,
  options: SinkOptions,
  { config, list = backends }: { readonly config?: Config | undefined; readonly list?: Backends | undefined } = {},
): Promise<Sink> {
  const backend = backendOf(location, list);
  return backend.createSink(location, withConfigured(options, backend.configured?.sink, config));
}

/** Ids and the UUIDs that stand for them, in a file. `adds`: ids will be added to it. */
export async function openIdMap(path: string, adds: boolean): Promise<IdMap> {
  const { createIdMap } = await import("../backends/sqlite/id-map.js");
  return createIdMap(expandPath(path), { adds });
}

/** What records a plan has met, in a file that vanishes with it. */
export async function openKeyLedger(): Promise<import("../backends/sqlite/key-ledger.js").KeyLedger> {
  const { KeyLedger } = await import("../backends/sqlite/key-ledger.js");
  return new KeyLedger();
}
