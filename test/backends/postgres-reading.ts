/** Runs a PostgreSQL source by itself and gives what came of it. */
import { connectPostgres, type PostgresTarget } from "../../src/backends/postgres/session/connection.js";
import type { StorageError } from "../../src/errors.js";
import { createPostgresSource, type PostgresSourceOptions } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Part } from "../../src/records/parts.js";
import type { RunContext, Selection } from "../../src/records/run-context.js";
import type { PartedSource, StoreHeader } from "../../src/sources/source.js";
import { recordsOf, tokensOf } from "../conformance/memory-store.js";

export interface ReadingOptions extends Partial<Omit<PostgresSourceOptions, "connect" | "name">>, Partial<Selection> {
  /** Default: the rejections are collected. */
  readonly stopAtFirst?: boolean;
  readonly signal?: AbortSignal;
}

export interface Rejected {
  readonly path: string;
  readonly error: StorageError;
  /** The rejected record's JSON text. */
  readonly record: string;
}

export interface Reading {
  readonly header: StoreHeader;
  readonly estimate: ReadonlyMap<string, number> | undefined;
  /** With `partBytes`, what was planned and read one after the other; not counted together. */
  readonly parts: readonly Part[];
  /** Document tokens by field name, in order. */
  readonly records: readonly { readonly path: string; readonly tokens: Record<string, string> }[];
  readonly rejected: readonly Rejected[];
  readonly warnings: readonly string[];
}

export function sourceOf(target: PostgresTarget, options: ReadingOptions = {}) {
  const { stopAtFirst: _, signal, paths: __, tenants: ___, ...rest } = options;
  return createPostgresSource({
    connect: () => connectPostgres(target, signal === undefined ? {} : { signal }),
    name: "the source",
    ...rest,
  });
}

export async function readPostgres(target: PostgresTarget, options: ReadingOptions = {}): Promise<Reading> {
  const source = sourceOf(target, options);
  const rejected: Rejected[] = [];
  const warnings: string[] = [];
  const records: { path: string; tokens: Record<string, string> }[] = [];
  const context: RunContext = {
    signal: options.signal ?? new AbortController().signal,
    async reject({ kind, error, record }) {
      if (options.stopAtFirst === true) throw error;
      const chunks: Uint8Array[] = [];
      for await (const chunk of record ?? []) chunks.push(Buffer.from(chunk));
      rejected.push({ path: kind.path, error, record: Buffer.concat(chunks).toString("utf8") });
    },
    isRejected: () => false,
    leftOut: () => {},
    warn: (message) => void warnings.push(message),
  };
  const selection: Selection = {
    paths: options.paths ?? new Set((options.catalog ?? catalog).kinds.map((kind) => kind.path)),
    ...(options.tenants === undefined ? {} : { tenants: options.tenants }),
  };
  try {
    const header = await source.open(context);
    const estimate = await source.estimate(selection);
    const parts: Part[] = [];
    if (options.partBytes !== undefined)
      for await (const part of (source.inParts as PartedSource).plan(selection, context)) parts.push(part);
    for (const part of options.partBytes === undefined ? [{}] : parts.map((each) => ({ part: each })))
      for await (const batch of source.read({ ...selection, ...part }, context))
        for (const record of await recordsOf(batch)) records.push({ path: batch.kind.path, tokens: tokensOf(record) });
    return { header, estimate, parts, records, rejected, warnings };
  } finally {
    await source.close();
  }
}

/** The tokens of one kind's records. */
export function recordsAt(reading: Reading, path: string): readonly Record<string, string>[] {
  return reading.records.filter((record) => record.path === path).map(({ tokens }) => tokens);
}
