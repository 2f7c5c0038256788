/**
 * The public parts for programs that move llmspell's records: the engine's, which know no record kind by themselves, with
 * llmspell's catalog where the caller gives none.
 */
import type { Catalog } from "../catalog/index.js";
import { type PipelineOptions, type PipelineResult, runPipeline as run } from "../pipeline.js";
import * as documentSinks from "../sinks/json-document.js";
import * as postgresSinks from "../sinks/postgres.js";
import type { Sink } from "../sinks/sink.js";
import * as sqliteSinks from "../sinks/sqlite.js";
import * as documentSources from "../sources/json-document.js";
import * as postgresSources from "../sources/postgres.js";
import type { Source } from "../sources/source.js";
import * as sqliteSources from "../sources/sqlite.js";
import * as specs from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import { catalog as llmspell } from "./catalog/index.js";
import { llmspellDocuments } from "./documents/exporters.js";
import { llmspellPostgres } from "./postgres/application.js";
import { llmspellSqlite } from "./sqlite/application.js";

/** `catalog`: default llmspell's. */
type Defaulted<Options extends { readonly catalog: Catalog }> = Omit<Options, "catalog"> & {
  readonly catalog?: Catalog | undefined;
};

export type SqliteSourceOptions = Defaulted<sqliteSources.SqliteSourceOptions>;
export type PostgresSourceOptions = Defaulted<postgresSources.PostgresSourceOptions>;
export type DocumentSourceOptions = Defaulted<documentSources.DocumentSourceOptions>;
export type { DocumentSinkOptions } from "../sinks/json-document.js";
export type { PostgresSinkOptions } from "../sinks/postgres.js";
export type { SqliteSinkOptions } from "../sinks/sqlite.js";

export function createSqliteSource(options: SqliteSourceOptions): Source {
  return sourceOf({ application: llmspellSqlite, ...options }, sqliteSources.createSqliteSource);
}

export function createPostgresSource(options: PostgresSourceOptions): Source {
  return sourceOf({ application: llmspellPostgres, ...options }, postgresSources.createPostgresSource);
}

export function createDocumentSource(options: DocumentSourceOptions): Source {
  return sourceOf({ application: llmspellDocuments, ...options }, documentSources.createDocumentSource);
}

export function createSqliteSink(options: sqliteSinks.SqliteSinkOptions): Sink {
  return sinkOf(sqliteSinks.createSqliteSink(options));
}

export function createPostgresSink(options: postgresSinks.PostgresSinkOptions): Sink {
  return sinkOf(postgresSinks.createPostgresSink({ application: llmspellPostgres, ...options }));
}

export function createDocumentSink(options: documentSinks.DocumentSinkOptions): Sink {
  return sinkOf(documentSinks.createDocumentSink({ application: llmspellDocuments, ...options }));
}

/** Runs source -> transforms -> sink. Where neither the source nor the caller names a catalog, it is llmspell's. */
export function runPipeline(options: PipelineOptions): Promise<PipelineResult> {
  return run({ ...options, catalog: options.catalog ?? llmspell });
}

/** The transforms of a list of steps: see the engine's. */
export function createTransforms(
  steps: readonly (Transform | specs.TransformSpec)[],
  settings: Defaulted<specs.TransformSettings> = {},
): Promise<Transform[]> {
  return specs.createTransforms(steps, { ...settings, catalog: settings.catalog ?? llmspell });
}

/** A source that was given no catalog names none either: what stands behind it has its own default. */
function sourceOf<Options extends { readonly catalog: Catalog }>(
  options: Defaulted<Options>,
  create: (options: Options) => Source,
): Source {
  const source = create({ ...options, catalog: options.catalog ?? llmspell } as Options);
  if (options.catalog !== undefined) return source;
  const open = source.open.bind(source);
  source.open = async (context, selection) => {
    const { catalog: _llmspell, ...header } = await open(context, selection);
    return header;
  };
  return source;
}

function sinkOf(sink: Sink): Sink {
  const open = sink.open.bind(sink);
  sink.open = (header, context) => open({ ...header, catalog: header.catalog ?? llmspell }, context);
  return sink;
}
