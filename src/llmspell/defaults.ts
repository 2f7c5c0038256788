/**
 * The public parts for programs that move llmspell's records: the engine's, which know no record kind by themselves, with
 * llmspell's catalog where the caller gives none.
 */
import {
  type ConnectOptions,
  connectPostgres as connect,
  type PostgresConnection,
  type PostgresTarget,
} from "../backends/postgres/session/connection.js";
import type { Catalog } from "../catalog/index.js";
import { type PipelineOptions, type PipelineResult, runPipeline as run } from "../pipeline.js";
import * as directorySinks from "../sinks/document-directory.js";
import * as documentSinks from "../sinks/json-document.js";
import * as postgresSinks from "../sinks/postgres.js";
import type { Sink } from "../sinks/sink.js";
import * as sqliteSinks from "../sinks/sqlite.js";
import * as directorySources from "../sources/document-directory.js";
import * as documentSources from "../sources/json-document.js";
import * as postgresSources from "../sources/postgres.js";
import type { Source } from "../sources/source.js";
import * as sqliteSources from "../sources/sqlite.js";
import * as specs from "../transforms/spec.js";
import type { Transform } from "../transforms/transform.js";
import { catalog as llmspell } from "./catalog/index.js";
import { llmspellDocuments } from "./documents/exporters.js";
import { refuseUnknownPartOptions } from "./part-options.js";
import { llmspellPostgres } from "./postgres/application.js";
import { llmspellSqlite } from "./sqlite/application.js";

/** Without what is llmspell's own in such a store, which these give. `catalog`: default llmspell's. */
type Defaulted<Options extends object> = Omit<Options, "catalog" | "application"> & {
  readonly catalog?: Catalog | undefined;
};

export type SqliteSourceOptions = Defaulted<sqliteSources.SqliteSourceOptions>;
export type PostgresSourceOptions = Defaulted<postgresSources.PostgresSourceOptions>;
export type DocumentSourceOptions = Defaulted<documentSources.DocumentSourceOptions>;
export type DirectorySourceOptions = Defaulted<directorySources.DirectorySourceOptions>;
export type SqliteSinkOptions = Defaulted<sqliteSinks.SqliteSinkOptions>;
export type PostgresSinkOptions = Defaulted<postgresSinks.PostgresSinkOptions>;
export type DocumentSinkOptions = Defaulted<documentSinks.DocumentSinkOptions>;
export type DirectorySinkOptions = Defaulted<directorySinks.DirectorySinkOptions>;

export function createSqliteSource(options: SqliteSourceOptions): Source {
  refuseUnknownPartOptions("createSqliteSource", options);
  return sourceOf(options, (catalog) =>
    sqliteSources.createSqliteSource({ application: llmspellSqlite, ...options, catalog }),
  );
}

export function createPostgresSource(options: PostgresSourceOptions): Source {
  refuseUnknownPartOptions("createPostgresSource", options);
  return sourceOf(options, (catalog) =>
    postgresSources.createPostgresSource({ application: llmspellPostgres, ...options, catalog }),
  );
}

export function createDocumentSource(options: DocumentSourceOptions): Source {
  refuseUnknownPartOptions("createDocumentSource", options);
  return sourceOf(options, (catalog) =>
    documentSources.createDocumentSource({ application: llmspellDocuments, ...options, catalog }),
  );
}

export function createDirectorySource(options: DirectorySourceOptions): Source {
  refuseUnknownPartOptions("createDirectorySource", options);
  return sourceOf(options, (catalog) =>
    directorySources.createDirectorySource({ application: llmspellDocuments, ...options, catalog }),
  );
}

export function createSqliteSink(options: SqliteSinkOptions): Sink {
  refuseUnknownPartOptions("createSqliteSink", options);
  return sinkOf(sqliteSinks.createSqliteSink(options));
}

export function createPostgresSink(given: PostgresSinkOptions): Sink {
  refuseUnknownPartOptions("createPostgresSink", given);
  const { catalog, ...options } = given;
  const own = catalog === undefined ? {} : { catalog };
  return sinkOf(postgresSinks.createPostgresSink({ application: llmspellPostgres, ...options, ...own }));
}

export function createDocumentSink(given: DocumentSinkOptions): Sink {
  refuseUnknownPartOptions("createDocumentSink", given);
  const { catalog, ...options } = given;
  const own = catalog === undefined ? {} : { catalog };
  return sinkOf(documentSinks.createDocumentSink({ application: llmspellDocuments, ...options, ...own }));
}

export function createDirectorySink(given: DirectorySinkOptions): Sink {
  refuseUnknownPartOptions("createDirectorySink", given);
  const { catalog, ...options } = given;
  const own = catalog === undefined ? {} : { catalog };
  return sinkOf(directorySinks.createDirectorySink({ ...options, ...own }));
}

/** Runs source -> transforms -> sink. Where neither the source nor the caller names a catalog, it is llmspell's. */
export async function runPipeline(options: PipelineOptions): Promise<PipelineResult> {
  refuseUnknownPartOptions("runPipeline", options);
  return run({ ...options, catalog: options.catalog ?? llmspell });
}

/** A session with a server, or with an embedded database: see the backend's. */
export async function connectPostgres(
  target: PostgresTarget,
  options: ConnectOptions = {},
): Promise<PostgresConnection> {
  refuseUnknownPartOptions("connectPostgres", options);
  return connect(target, options);
}

/** The transforms of a list of steps: see the engine's. */
export function createTransforms(
  steps: readonly (Transform | specs.TransformSpec)[],
  settings: Defaulted<specs.TransformSettings> = {},
): Promise<Transform[]> {
  return specs.createTransforms(steps, { ...settings, catalog: settings.catalog ?? llmspell });
}

/** A source that was given no catalog names none either: what stands behind it has its own default. Nor does a header tell a document's time. */
function sourceOf(options: { readonly catalog?: Catalog | undefined }, create: (catalog: Catalog) => Source): Source {
  const source = create(options.catalog ?? llmspell);
  if (options.catalog !== undefined) return source;
  const open = source.open.bind(source);
  source.open = async (context, selection) => {
    const { catalog: _llmspell, exportedAt: _time, ...header } = await open(context, selection);
    return header;
  };
  return source;
}

function sinkOf(sink: Sink): Sink {
  const open = sink.open.bind(sink);
  sink.open = (header, context) => open({ ...header, catalog: header.catalog ?? llmspell }, context);
  return sink;
}
