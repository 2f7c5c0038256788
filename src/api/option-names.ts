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

/** E_USAGE, naming the options that the function does not have, and those that are no list. */
export function refuseUnknownOptions(called: keyof typeof NAMES, options: object): void {
  refuseUnknownNames(called, NAMES[called], options);
  const given = options as Readonly<Record<string, unknown>>;
  const wrong = (Object.keys(LISTS) as (keyof typeof LISTS)[]).find(
    (name) => given[name] !== undefined && !Array.isArray(given[name]),
  );
  if (wrong !== undefined && called !== "storeInfo")
    throw new StorageError("E_USAGE", `${called}: ${wrong} is a list, e.g. ${LISTS[wrong]}`);
}
