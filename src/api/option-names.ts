/** A program's options are checked like a command line's: one that is misspelt would be left out without a word. */

import { StorageError } from "../errors.js";
import type { MigrateDatabaseOptions } from "./databases.js";
import type { ExportOptions, ImportOptions, TransferOptions } from "./options.js";
import type { PlanOptions } from "./planning/results.js";
import type { ReadRecordsOptions } from "./record-iterator.js";
import type { StoreInfoOptions } from "./store-info.js";

/** Every option, as tsc makes sure. */
type Names<Options> = Readonly<Record<keyof Options, true>>;

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
  allowEmpty: true,
  vectors: true,
  sourceMode: true,
  sourceCheck: true,
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
  dryRun: true,
  verifyManifest: true,
  times: true,
  sourceMode: true,
  sourceCheck: true,
};
const { dryRun: _dryRun, ...planned } = importStore;
const planTransfer: Names<PlanOptions> = {
  ...planned,
  compress: true,
  force: true,
  allowEmpty: true,
  vectors: true,
  exact: true,
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
  connectionTimeoutSeconds: true,
  config: true,
  backends: true,
};

const { invalidUuid: _invalidUuid, idMap: _idMap, ...reading } = transfer;
const readRecords: Names<ReadRecordsOptions> = { ...reading, sourceMode: true, sourceCheck: true };

const NAMES = { exportStore, importStore, migrateDatabase, planTransfer, readRecords, storeInfo } as const;

/** E_USAGE, naming the options that the function does not have. */
export function refuseUnknownOptions(called: keyof typeof NAMES, options: object): void {
  const known = Object.keys(NAMES[called]);
  const unknown = Object.entries(options).filter(([name, value]) => value !== undefined && !known.includes(name));
  if (unknown.length === 0) return;
  throw new StorageError("E_USAGE", `${called} has no option ${unknown.map(([name]) => name).join(", ")}`, {
    hint: `Its options are ${known.join(", ")}.`,
  });
}
