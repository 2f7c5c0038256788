/** Options of the public parts, by their names: one that is misspelt would be left out without a word. */
import type { ConnectOptions } from "../backends/postgres/session/connection.js";
import { StorageError } from "../errors.js";
import type { PipelineOptions } from "../pipeline.js";
import type {
  DirectorySinkOptions,
  DirectorySourceOptions,
  DocumentSinkOptions,
  DocumentSourceOptions,
  PostgresSinkOptions,
  PostgresSourceOptions,
  SqliteSinkOptions,
  SqliteSourceOptions,
} from "./defaults.js";

/** Every option, as tsc makes sure. */
export type Names<Options> = Readonly<Record<keyof Options, true>>;

/** E_USAGE, naming the options that the function does not have. */
export function refuseUnknownNames(called: string, names: Readonly<Record<string, true>>, options: object): void {
  const unknown = Object.entries(options).filter(([name, value]) => value !== undefined && !Object.hasOwn(names, name));
  if (unknown.length === 0) return;
  throw new StorageError("E_USAGE", `${called} has no option ${unknown.map(([name]) => name).join(", ")}`, {
    hint: `Its options are ${Object.keys(names).join(", ")}.`,
  });
}

const limits = { batchSize: true, batchBytes: true } as const;

const createSqliteSource: Names<SqliteSourceOptions> = {
  path: true,
  catalog: true,
  idOrder: true,
  order: true,
  orderBy: true,
  lockTimeoutSeconds: true,
  snapshot: true,
  partBytes: true,
  rangesFrom: true,
  ...limits,
};
const createPostgresSource: Names<PostgresSourceOptions> = {
  connect: true,
  name: true,
  catalog: true,
  mode: true,
  check: true,
  asOwner: true,
  order: true,
  orderBy: true,
  snapshot: true,
  partBytes: true,
  ...limits,
};
const createDocumentSource: Names<DocumentSourceOptions> = {
  input: true,
  name: true,
  catalog: true,
  verifyManifest: true,
  times: true,
  lines: true,
  digests: true,
  checkDigests: true,
  onManifestError: true,
  onReserialised: true,
  onHead: true,
  onArray: true,
  onBytes: true,
  snapshot: true,
  tellsOrder: true,
  ...limits,
};
const { input: _input, ...ofFiles } = createDocumentSource;
const createDirectorySource: Names<DirectorySourceOptions> = { path: true, files: true, ...ofFiles };
const createSqliteSink: Names<SqliteSinkOptions> = {
  path: true,
  catalog: true,
  onConflict: true,
  onOrphan: true,
  dryRun: true,
  vectorsAs: true,
  lockTimeoutSeconds: true,
  prune: true,
  requireEmpty: true,
  ownFile: true,
};
const createPostgresSink: Names<PostgresSinkOptions> = {
  connect: true,
  name: true,
  catalog: true,
  onConflict: true,
  onOrphan: true,
  dryRun: true,
  tenant: true,
  prune: true,
  requireEmpty: true,
  deferIndexes: true,
  method: true,
};
const createDocumentSink: Names<DocumentSinkOptions> = {
  output: true,
  compress: true,
  vectors: true,
  digestOf: true,
  catalog: true,
  producer: true,
  exportedAt: true,
};
const createDirectorySink: Names<DirectorySinkOptions> = {
  path: true,
  name: true,
  compress: true,
  vectors: true,
  partBytes: true,
  allowEmpty: true,
  digestOf: true,
  catalog: true,
  producer: true,
  exportedAt: true,
};
const runPipeline: Names<PipelineOptions> = {
  source: true,
  sink: true,
  selection: true,
  transforms: true,
  cascade: true,
  limit: true,
  bytesPerSecond: true,
  signal: true,
  onProgress: true,
  onReject: true,
  onWarning: true,
  strict: true,
  prune: true,
  threads: true,
  catalog: true,
};
const connectPostgres: Names<ConnectOptions> = {
  connectionTimeoutSeconds: true,
  signal: true,
  applicationName: true,
  lockTimeoutSeconds: true,
  onWait: true,
  create: true,
};

const NAMES = {
  createSqliteSource,
  createPostgresSource,
  createDocumentSource,
  createDirectorySource,
  createSqliteSink,
  createPostgresSink,
  createDocumentSink,
  createDirectorySink,
  runPipeline,
  connectPostgres,
} as const;

/** E_USAGE, naming the options that the part does not have. */
export function refuseUnknownPartOptions(part: keyof typeof NAMES, options: object): void {
  refuseUnknownNames(part, NAMES[part], options);
}
