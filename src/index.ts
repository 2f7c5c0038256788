/** The public API of llmspell-storage. */

export { type MigrateDatabaseOptions, migrateDatabase } from "./api/databases.js";
export { type RewriteOptions, rewriteDocument } from "./api/document-rewriting.js";
export {
  type DocumentValidation,
  type Finding as DocumentFinding,
  type FindingGroup,
  type ValidateOptions,
  validateDocument,
} from "./api/document-validation.js";
export { planTransfer, verifyStores } from "./api/on-demand.js";
export type { ExportOptions, ImportOptions, TransferOptions } from "./api/options.js";
export type {
  PlannedSection,
  PlannedSpace,
  PlanOptions,
  TransferPlan,
} from "./api/planning/plan-transfer.js";
export { type ReadRecordsOptions, readRecords, type StoredRecord } from "./api/record-iterator.js";
export type { KindResult, TransferResult, TransferTotals } from "./api/results.js";
export { listRuns, type RunsOptions, type UndoRunOptions, undoRun } from "./api/runs/known-runs.js";
export { type DigestStoreOptions, digestStore, type StoreDigest } from "./api/store-digest.js";
export {
  type Obstacle,
  type StoreInfo,
  type StoreInfoOptions,
  type StoreSection,
  storeInfo,
  type TenantRecords,
} from "./api/store-info.js";
export { exportStore, importStore } from "./api/transfer.js";
export type {
  Difference,
  Finding,
  Searches,
  SearchResult,
  SectionVerification,
  StoreFinding,
  VerifyOptions,
  VerifyResult,
} from "./api/verification/verify-stores.js";
export type {
  ConnectOptions,
  PostgresConnection,
  PostgresConnector,
  PostgresTarget,
} from "./backends/postgres/session/connection.js";
export {
  type Catalog,
  createCatalog,
  type Field,
  type FieldType,
  type ForeignKey,
  fieldIndex,
  type LegacyDefault,
  type PostgresMapping,
  type RecordKind,
  type SqliteMapping,
} from "./catalog/index.js";
export { type Codec, codecs } from "./codecs/index.js";
export { ERROR_CODES, type ErrorCode, type ErrorContext, StorageError } from "./errors.js";
export { catalog, type SectionName } from "./llmspell/catalog/index.js";
export {
  connectPostgres,
  createDirectorySink,
  createDirectorySource,
  createDocumentSink,
  createDocumentSource,
  createPostgresSink,
  createPostgresSource,
  createSqliteSink,
  createSqliteSource,
  type DirectorySinkOptions,
  type DirectorySourceOptions,
  type DocumentSinkOptions,
  type DocumentSourceOptions,
  type PostgresSinkOptions,
  type PostgresSourceOptions,
  runPipeline,
  type SqliteSinkOptions,
  type SqliteSourceOptions,
} from "./llmspell/defaults.js";
export type { PluginRecord } from "./llmspell/plugin-record.js";
export type { MigrationReport, MigrationState } from "./llmspell/schema/migration.js";
export type { PipelineOptions, PipelineResult, Progress } from "./pipeline.js";
export {
  BatchBuilder,
  type BatchLimits,
  LARGE_VALUE,
  type LargeValue,
  NULL_VALUE,
  RecordBatch,
} from "./records/record-batch.js";
export { recordKey } from "./records/record-key.js";
export type { Rejection, RunContext, Selection, WantedRecords } from "./records/run-context.js";
export type { Sink, SinkCounts, SinkReport } from "./sinks/sink.js";
export type { BackendName, Source, StoreHeader } from "./sources/source.js";
export type {
  Backend,
  Configured,
  DatabaseParts,
  FromConfig,
  Inspection,
  KnownRun,
  Locations,
  RunParts,
  SinkOptions,
  SourceOptions,
  StoreFacts,
  UndoneRun,
} from "./stores/backend.js";
export { backends, type StoreLocation } from "./stores/index.js";
export {
  type BatchDefinition,
  defineTransform,
  type PluginContext,
  type PluginResult,
  type RecordDefinition,
  type TransformDefinition,
} from "./transforms/plugin/definition.js";
export type { TransformSpec } from "./transforms/spec.js";
export { createTenantFilter } from "./transforms/tenant-filter.js";
export type { Transform } from "./transforms/transform.js";
export type { SectionDigest } from "./verify/digest.js";
export type { TransferDigests } from "./verify/digesting-sink.js";
