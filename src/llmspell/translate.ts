/**
 * What llmspell 0.14 spells in one way in SQLite and in another in PostgreSQL: the scopes of its vectors, and the tenant of its
 * graph. One to one, so that a way back gives the first spelling.
 */
import type { RecordKind } from "../catalog/index.js";
import { recordChunks } from "../document/writing/record-writer.js";
import { StorageError } from "../errors.js";
import { BatchEditor } from "../records/batch-editor.js";
import type { RecordBatch } from "../records/record-batch.js";
import { recordKey } from "../records/record-key.js";
import type { RunContext } from "../records/run-context.js";
import type { Sink } from "../sinks/sink.js";

type Backend = "sqlite" | "postgresql";

export interface TranslateOptions {
  /** The database that `inner` writes. */
  readonly target: Backend;
  /** Undefined: nothing changes, and notes count the records that would. */
  readonly translate?: Translation | undefined;
}

export interface Translation {
  /** The tenant in PostgreSQL of the graph that llmspell's SQLite keeps under its one tenant; undefined: tenants stay. */
  readonly graphTenant?: string | undefined;
}

/** `llmspell`, or `llmspell:TENANT`. E_USAGE. */
export function parseTranslation(text: string): Translation {
  const [, graphTenant] = /^llmspell(?::(.+))?$/s.exec(text) ?? [];
  if (text === "llmspell" || graphTenant !== undefined) return { graphTenant };
  throw new StorageError("E_USAGE", "--translate takes llmspell, or llmspell:TENANT for its graph", {
    hint: "docs/llmspell.md says what it changes.",
  });
}

/** llmspell's SQLite has its graph under this tenant, whichever one is set. */
const SQLITE_GRAPH_TENANT = "default";

interface Spelling {
  readonly field: string;
  /** What the value becomes; undefined: it stays. */
  to(value: string): string | undefined;
  /** What the value would become on the way back: it must not be there already. */
  back(value: string): string | undefined;
  /** The note where nothing is translated; `count` records would be. */
  note(count: number): string;
}

const scopeInPostgres = (scope: string): string | undefined => {
  if (scope === "__global__") return "global";
  return scope.startsWith("tenant:") ? `custom:${scope}` : undefined;
};

const scopeInSqlite = (scope: string): string | undefined => {
  if (scope === "global") return "__global__";
  return scope.startsWith("custom:tenant:") ? scope.slice("custom:".length) : undefined;
};

const exactly =
  (from: string | undefined, to: string | undefined) =>
  (value: string): string | undefined =>
    value === from && from !== to ? to : undefined;

const NAMES = { sqlite: "SQLite", postgresql: "PostgreSQL" } as const;

/** What differs in the kind's records; undefined: nothing. */
function spellingOf({ path }: RecordKind, target: Backend, graphTenant: string | undefined): Spelling | undefined {
  const toPostgres = target === "postgresql";
  const many = (count: number): string => `${count} ${count === 1 ? "record has" : "records have"}`;
  if (path.startsWith("vector_embeddings.")) {
    const [to, back] = toPostgres ? [scopeInPostgres, scopeInSqlite] : [scopeInSqlite, scopeInPostgres];
    const note = (count: number): string =>
      `${path}: ${many(count)} a scope that llmspell spells otherwise in ${NAMES[target]}; --translate llmspell changes it`;
    return { field: "scope", to, back, note };
  }
  if (!path.startsWith("knowledge_graph.")) return undefined;
  const [from, into] = toPostgres ? [SQLITE_GRAPH_TENANT, graphTenant] : [graphTenant, SQLITE_GRAPH_TENANT];
  const note = (count: number): string =>
    toPostgres
      ? `${path}: ${many(count)} the tenant ${SQLITE_GRAPH_TENANT}, the one of llmspell's graph in SQLite; --translate llmspell:TENANT gives another`
      : `${path}: ${many(count)} another tenant than ${SQLITE_GRAPH_TENANT}, the one that llmspell's graph in SQLite has; --translate llmspell:TENANT changes that tenant`;
  return { field: "tenant_id", to: exactly(from, into), back: exactly(into, from), note };
}

/** Whether the record is one that the note counts, where nothing is translated. */
function wouldChange({ path }: RecordKind, target: Backend, spelling: Spelling, value: string): boolean {
  if (path.startsWith("vector_embeddings.")) return spelling.to(value) !== undefined;
  return (value === SQLITE_GRAPH_TENANT) === (target === "postgresql");
}

/** `inner`, which gets llmspell's values as the other backend spells them. Records whose value the other spelling takes: E_KEY_CONFLICT. */
export function createTranslatingSink(inner: Sink, { target, translate }: TranslateOptions): Sink {
  const editor = new BatchEditor();
  const counts = new Map<string, number>();
  const spellings = new Map<string, Spelling>();
  let context: RunContext;
  let applies = false;

  async function refuse(batch: RecordBatch, row: number, field: string): Promise<void> {
    const error = new StorageError("E_KEY_CONFLICT", `the ${field} is what the other backend's spelling becomes`, {
      section: batch.kind.path,
      key: recordKey(batch, row),
      field,
      hint: "After the way back it would be another one: go without --translate, or give it another value.",
    });
    await context.reject({ kind: batch.kind, error, record: recordChunks(batch, row) });
    editor.drop(row);
  }

  return {
    name: inner.name,
    ...(inner.inCatalogOrder === undefined ? {} : { inCatalogOrder: inner.inCatalogOrder }),
    ...(inner.checksReferences === undefined ? {} : { checksReferences: inner.checksReferences }),
    async open(header, runContext) {
      context = runContext;
      applies = header.backend !== target;
      await inner.open(header, context);
    },
    async write(batch) {
      const { kind, bytes, starts, lengths, width } = batch;
      const spelling = applies
        ? (spellings.get(kind.path) ?? spellingOf(kind, target, translate?.graphTenant))
        : undefined;
      if (spelling === undefined) return inner.write(batch);
      spellings.set(kind.path, spelling);
      const index = kind.fields.findIndex(({ name }) => name === spelling.field);
      editor.begin(batch);
      for (let row = 0, at = index; row < batch.rows; row++, at += width) {
        const start = starts[at] as number;
        const value = bytes.toString("utf8", start, start + (lengths[at] as number));
        if (translate === undefined) {
          if (wouldChange(kind, target, spelling, value)) counts.set(kind.path, (counts.get(kind.path) ?? 0) + 1);
          continue;
        }
        const changed = spelling.to(value);
        if (changed !== undefined) {
          const from = editor.arena.length;
          editor.arena.utf8(changed);
          editor.set(row, index, from);
        } else if (spelling.back(value) !== undefined) await refuse(batch, row, spelling.field);
      }
      const edited = editor.finish();
      if (edited !== undefined) await inner.write(edited);
    },
    async finish(run) {
      const report = await inner.finish(run);
      const notes = [...counts].map(([path, count]) => (spellings.get(path) as Spelling).note(count));
      return { ...report, notes: [...report.notes, ...notes] };
    },
    abort: () => inner.abort(),
  };
}
