/** The public API of llmspell-storage. */
export {
  type ExportOptions,
  exportStore,
  type ImportOptions,
  importStore,
  type KindResult,
  type TransferOptions,
  type TransferResult,
  type TransferTotals,
} from "./api.js";
export {
  type ConnectOptions,
  connectPostgres,
  type PostgresConnection,
  type PostgresConnector,
  type PostgresTarget,
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
export { type MigrateDatabaseOptions, migrateDatabase } from "./databases.js";
export { type RewriteOptions, rewriteDocument } from "./document-rewriting.js";
export {
  type DocumentValidation,
  type Finding,
  type FindingGroup,
  type ValidateOptions,
  validateDocument,
} from "./document-validation.js";
export { ERROR_CODES, type ErrorCode, type ErrorContext, StorageError } from "./errors.js";
export { catalog, type SectionName } from "./llmspell/catalog/index.js";
export type { MigrationReport, MigrationState } from "./llmspell/schema/migration.js";
export { type PipelineOptions, type PipelineResult, type Progress, runPipeline } from "./pipeline.js";
export { type ReadRecordsOptions, readRecords, type StoredRecord } from "./record-iterator.js";
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
export { createDocumentSink, type DocumentSinkOptions } from "./sinks/json-document.js";
export { createPostgresSink, type PostgresSinkOptions } from "./sinks/postgres.js";
export type { Sink, SinkCounts, SinkReport } from "./sinks/sink.js";
export { createSqliteSink, type SqliteSinkOptions } from "./sinks/sqlite.js";
export { createDocumentSource, type DocumentSourceOptions } from "./sources/json-document.js";
export { createPostgresSource, type PostgresSourceOptions } from "./sources/postgres.js";
export type { BackendName, Source, StoreHeader } from "./sources/source.js";
export { createSqliteSource, type SqliteSourceOptions } from "./sources/sqlite.js";
export {
  type Obstacle,
  type StoreFacts,
  type StoreInfo,
  type StoreInfoOptions,
  type StoreSection,
  storeInfo,
} from "./store-info.js";
export type { StoreLocation } from "./stores.js";
export {
  type BatchDefinition,
  defineTransform,
  type PluginContext,
  type PluginRecord,
  type PluginResult,
  type RecordDefinition,
  type TransformDefinition,
} from "./transforms/plugin/definition.js";
export type { TransformSpec } from "./transforms/spec.js";
export { createTenantFilter } from "./transforms/tenant-filter.js";
export type { Transform } from "./transforms/transform.js";
