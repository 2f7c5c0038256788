/** Checked by tsc (npm run typecheck): what the public API promises, and what it must refuse. */
import { PassThrough } from "node:stream";
import {
  type Catalog,
  catalog,
  createCatalog,
  createDocumentSource,
  createTenantFilter,
  defineTransform,
  type ERROR_CODES,
  type ErrorCode,
  exportStore,
  importStore,
  type KindResult,
  type PluginRecord,
  type RecordBatch,
  type Rejection,
  type RunContext,
  runPipeline,
  type SectionName,
  type Sink,
  type Source,
  StorageError,
  type StoreHeader,
  type TransferResult,
  type Transform,
} from "../../src/index.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<_Claim extends true>(): void {}

holds<Equal<ReturnType<typeof exportStore>, Promise<TransferResult>>>();
holds<Equal<ReturnType<typeof importStore>, Promise<TransferResult>>>();
holds<Equal<TransferResult["kinds"], readonly KindResult[]>>();
holds<Equal<TransferResult["header"], StoreHeader>>();
holds<Equal<StorageError["code"], ErrorCode>>();
holds<Equal<keyof typeof ERROR_CODES, ErrorCode>>();
holds<Equal<typeof ERROR_CODES.E_ORPHAN.exit, 5>>();
holds<Equal<typeof catalog, Catalog>>();
holds<Equal<ReturnType<Source["read"]>, AsyncIterable<RecordBatch>>>();
holds<Equal<Rejection["error"], StorageError>>();

/** A source, a sink and a transform of one's own need nothing but the contracts. */
const source: Source = {
  name: "mine",
  open: async () => ({ backend: "sqlite", migrations: ["V1"] }),
  estimate: async () => new Map([["sessions", 1]]),
  async *read(selection, context) {
    holds<Equal<typeof context, RunContext>>();
    holds<Equal<typeof selection.paths, ReadonlySet<string>>>();
    yield* [];
  },
  close: async () => {},
};
const sink: Sink = {
  name: "mine",
  open: async (header) => holds<Equal<typeof header, StoreHeader>>(),
  write: async (batch) => holds<Equal<typeof batch, RecordBatch>>(),
  finish: async () => ({
    counts: new Map([["sessions", { inserted: 1, updated: 0, skipped: 0, dropped: 0 }]]),
    notes: [],
  }),
  abort: async () => {},
};
const transform: Transform = { name: "mine", apply: (batches) => batches };

export async function accepted(signal: AbortSignal): Promise<void> {
  await exportStore({ from: "llmspell.db", to: "backup.json.zst", compress: "zstd", force: true, signal });
  await exportStore({ from: { type: "sqlite", path: "llmspell" }, to: new PassThrough() });
  await exportStore({ from: source, to: sink, transforms: [transform, createTenantFilter(["acme"])] });
  await importStore({
    from: new PassThrough(),
    to: "postgresql://localhost/llmspell",
    onConflict: "skip",
    dryRun: true,
  });
  await importStore({
    from: createDocumentSource({ input: { path: "backup.json" } }),
    to: "pglite:dir",
    onReject: ({ kind, error }) => {
      holds<Equal<typeof kind.path, string>>();
      holds<Equal<typeof error, StorageError>>();
    },
    onProgress: ({ path, records }) => {
      holds<Equal<[typeof path, typeof records], [string, number]>>();
    },
  });
  await runPipeline({ source, sink, selection: { paths: new Set(["sessions"]) } });
  createCatalog(catalog.kinds);
  throw new StorageError("E_USAGE", "no", { section: "sessions" });
}

export async function refused(): Promise<void> {
  // @ts-expect-error `to` is missing
  await exportStore({ from: "a.db" });
  // @ts-expect-error an option of imports
  await exportStore({ from: "a.db", to: "b.json", onConflict: "skip" });
  // @ts-expect-error no such policy
  await importStore({ from: "b.json", to: "a.db", onConflict: "replace" });
  // @ts-expect-error an import writes a database
  await importStore({ from: "b.json", to: new PassThrough() });
  // @ts-expect-error no such code
  throw new StorageError("E_NO_SUCH_CODE", "no");
}

/** A plugin's options and state are what its schema and its setup give. */
defineTransform({
  name: "typed",
  options: { parse: (value: unknown): { days: number } => value as { days: number } },
  setup: async ({ options }) => ({ left: options.days }),
  transform(record, { options, state }) {
    holds<Equal<typeof options, { days: number }>>();
    holds<Equal<typeof state, { left: number }>>();
    return state.left-- > 0 ? record : null;
  },
});
defineTransform({ name: "many", batch: true, transform: async (records) => records.filter(({ id }) => id !== "x") });
// @ts-expect-error: a forgotten return
defineTransform({ name: "forgetful", transform(_record) {} });

/** A plugin's record by its section: the catalog's fields. */
type Session = PluginRecord<"sessions">;
holds<Equal<Session["status"], string>>();
holds<Equal<Session["expires_at"], bigint | "infinity" | "-infinity" | null>>();
holds<Equal<Session["artifact_count"], number>>();
holds<Equal<PluginRecord<"vector_embeddings.384">["embedding"], Float32Array>>();
holds<Equal<PluginRecord<"artifacts.content">["data"], Buffer>>();
holds<Equal<PluginRecord<"artifacts.artifacts">["tags"], (string | null)[] | null>>();
holds<"vector_embeddings.3072" | "knowledge_graph.entities" | "hook_history" extends SectionName ? true : false>();
defineTransform({
  name: "typed",
  sections: ["sessions"],
  transform(session: Session) {
    if (session.status === "expired") return null;
    return { ...session, session_data: { ...session.session_data, cache: undefined } };
  },
});
// @ts-expect-error: sessions have no such field
void ((session: Session) => session.state);
// @ts-expect-error: there is no such section
type _Misspelt = PluginRecord<"session">;
