/** A program's options are checked like a command line's: one that is misspelt would be left out without a word. */

import { StorageError } from "../errors.js";
import { type Names, refuseUnknownNames } from "../llmspell/part-options.js";
import type { MigrateDatabaseOptions } from "./databases.js";
import type { RewriteOptions } from "./document-rewriting.js";
import type { ValidateOptions } from "./document-validation.js";
import type { ExportOptions, ImportOptions, TransferOptions } from "./options.js";
import type { PlanOptions } from "./planning/results.js";
import type { ReadRecordsOptions } from "./record-iterator.js";
import type { RunsOptions, UndoRunOptions } from "./runs/known-runs.js";
import type { DigestStoreOptions } from "./store-digest.js";
import type { StoreInfoOptions } from "./store-info.js";
import type { VerifyOptions } from "./verification/verify-stores.js";

const transfer: Names<TransferOptions> = {
  include: true,
  exclude: true,
  tenants: true,
  transforms: true,
  pluginTimeoutSeconds: true,
  jqTimeoutSeconds: true,
  cascade: true,
  limit: true,
  signal: true,
  onStart: true,
  onProgress: true,
  onReject: true,
  onWarning: true,
  strict: true,
  invalidUuid: true,
  idMap: true,
  bytesPerSecond: true,
  digests: true,
  connectionTimeoutSeconds: true,
  lockTimeoutSeconds: true,
  catalog: true,
  config: true,
  backends: true,
};
const exportStore: Names<ExportOptions> = {
  from: true,
  to: true,
  ...transfer,
  compress: true,
  force: true,
  partBytes: true,
  allowEmpty: true,
  keep: true,
  vectors: true,
  jobs: true,
  onInfo: true,
  sourceMode: true,
  sourceCheck: true,
  asOwner: true,
  order: true,
  orderBy: true,
};
const importStore: Names<ImportOptions> = {
  from: true,
  to: true,
  ...transfer,
  onConflict: true,
  onOrphan: true,
  vectorsAs: true,
  deferIndexes: true,
  translate: true,
  jobs: true,
  verifyParts: true,
  indexJobs: true,
  onInfo: true,
  resume: true,
  maxLag: true,
  queue: true,
  dryRun: true,
  prune: true,
  requireEmpty: true,
  allowEmpty: true,
  verifyManifest: true,
  times: true,
  sourceMode: true,
  sourceCheck: true,
  asOwner: true,
  order: true,
  orderBy: true,
};
const {
  dryRun: _dryRun,
  prune: _prune,
  requireEmpty: _requireEmpty,
  digests: _plannedDigests,
  jobs: _jobs,
  verifyParts: _verifyParts,
  indexJobs: _indexJobs,
  resume: _resume,
  maxLag: _maxLag,
  bytesPerSecond: _bytesPerSecond,
  queue: _queue,
  ...planned
} = importStore;
const planTransfer: Names<PlanOptions> = {
  ...planned,
  compress: true,
  force: true,
  partBytes: true,
  allowEmpty: true,
  vectors: true,
  onInfo: true,
  exact: true,
  measure: true,
};
const migrateDatabase: Names<MigrateDatabaseOptions> = {
  signal: true,
  onWarning: true,
  repairRowids: true,
  connectionTimeoutSeconds: true,
  config: true,
  backends: true,
};
const storeInfo: Names<StoreInfoOptions> = {
  signal: true,
  onFacts: true,
  onStart: true,
  onProgress: true,
  onWarning: true,
  tenants: true,
  asOwner: true,
  connectionTimeoutSeconds: true,
  lockTimeoutSeconds: true,
  config: true,
  backends: true,
};

const { connectionTimeoutSeconds: _timeout, strict: _strict, ...rewriting } = transfer;
const rewriteDocument: Names<RewriteOptions> = {
  from: true,
  to: true,
  ...rewriting,
  compress: true,
  force: true,
  partBytes: true,
  allowEmpty: true,
  vectors: true,
  jobs: true,
  onInfo: true,
  verifyManifest: true,
  times: true,
};
const validateDocument: Names<ValidateOptions> = {
  for: true,
  verifyManifest: true,
  times: true,
  catalog: true,
  signal: true,
  onStart: true,
  onProgress: true,
  onFinding: true,
  onWarning: true,
};

const { invalidUuid: _invalidUuid, idMap: _idMap, digests: _digests, ...reading } = transfer;
const readRecords: Names<ReadRecordsOptions> = {
  ...reading,
  sourceMode: true,
  sourceCheck: true,
  asOwner: true,
  order: true,
  orderBy: true,
};

const digestStore: Names<DigestStoreOptions> = {
  ...reading,
  invalidUuid: true,
  idMap: true,
  sourceMode: true,
  sourceCheck: true,
  asOwner: true,
  order: true,
  orderBy: true,
  verifyManifest: true,
  times: true,
};

const { limit: _limit, onReject: _onReject, digests: _digested, bytesPerSecond: _rate, ...verifying } = transfer;
const verifyStores: Names<VerifyOptions> = {
  a: true,
  b: true,
  ...verifying,
  verifyManifest: true,
  times: true,
  sourceMode: true,
  sourceCheck: true,
  asOwner: true,
  orderBy: true,
  sample: true,
  seed: true,
  search: true,
  showValues: true,
  jobs: true,
  onDifferences: true,
};

const listRuns: Names<RunsOptions> = { signal: true, connectionTimeoutSeconds: true, config: true, backends: true };
const undoRun: Names<UndoRunOptions> = { ...listRuns, onStep: true, lockTimeoutSeconds: true };

const NAMES = {
  listRuns,
  undoRun,
  exportStore,
  importStore,
  migrateDatabase,
  planTransfer,
  readRecords,
  storeInfo,
  digestStore,
  verifyStores,
  rewriteDocument,
  validateDocument,
} as const;

/** A text in place of a list would be taken letter by letter. */
const LISTS = {
  include: '["sessions"]',
  exclude: '["event_log"]',
  tenants: '["acme"]',
  transforms: '[{ type: "mask", rule: "sessions.session_data.email=redact" }]',
} as const;

/** The stores that a function cannot do without. */
const STORES: Partial<Readonly<Record<keyof typeof NAMES, readonly string[]>>> = {
  exportStore: ["from", "to"],
  importStore: ["from", "to"],
  planTransfer: ["from", "to"],
  rewriteDocument: ["from", "to"],
  verifyStores: ["a", "b"],
};

/** E_USAGE, naming the options that the function does not have, those that are no list, and a store that is not there. */
export function refuseUnknownOptions(called: keyof typeof NAMES, options: object): void {
  // A program in JavaScript may hand over anything.
  if (typeof options !== "object" || options === null)
    throw new StorageError("E_USAGE", `${called} takes an object with its options`);
  refuseUnknownNames(called, NAMES[called], options);
  const given = options as Readonly<Record<string, unknown>>;
  const lists = Object.keys(LISTS) as (keyof typeof LISTS)[];
  const wrong = lists.find((name) => given[name] !== undefined && !Array.isArray(given[name]));
  if (wrong !== undefined && called !== "storeInfo")
    throw new StorageError("E_USAGE", `${called}: ${wrong} is a list, e.g. ${LISTS[wrong]}`);
  for (const name of STORES[called] ?? []) requireStore(called, given[name], name);
}

/** E_USAGE for what cannot be a store: neither a text nor an object. */
export function requireStore(called: string, store: unknown, name = "a store"): void {
  if ((typeof store === "string" && store !== "") || (typeof store === "object" && store !== null)) return;
  throw new StorageError("E_USAGE", `${called} needs ${name}: a STORE text, its location, or a stream`);
}
