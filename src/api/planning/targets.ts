/** What a plan asks of its target: a sink that writes nothing, and what is known besides. */
import type { RecordKind } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { catalog as llmspellCatalog } from "../../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../../llmspell/translate.js";
import type { LoadPlanner } from "../../records/loads/load-plan.js";
import type { RunContext } from "../../records/run-context.js";
import type { Sink } from "../../sinks/sink.js";
import {
  type AnyLocation,
  backendOf,
  createSource,
  type DocumentPlanner,
  databaseOf,
  openKeyLedger,
  sessionOptions,
  storeName,
} from "../../stores/index.js";
import { PRODUCER } from "../../version.js";
import { tenantBehind } from "../target-scope.js";
import { type Found, shared, type transformsOf } from "../transfer.js";
import { PlanSink } from "./plan-sink.js";
import type { PlanOptions } from "./results.js";

export interface Target {
  readonly name: string;
  /** For the shipped rates. */
  readonly word: string;
  readonly planner: LoadPlanner | undefined;
  readonly document: DocumentPlanner | undefined;
  readonly sink: Sink;
  readonly planSink: PlanSink | undefined;
  readonly orphans: { readonly kind: RecordKind; readonly error: StorageError; readonly count: number }[];
  /** Reads the target's own records into the ledger, where nothing else can tell. */
  readonly learn: (paths: ReadonlySet<string>, context: RunContext) => Promise<void>;
  readonly close: () => Promise<void>;
}

export type Planning = PlanOptions & { readonly transforms: Awaited<ReturnType<typeof transformsOf>> };

export async function documentTarget(to: AnyLocation, options: PlanOptions, { config, list }: Found): Promise<Target> {
  const { compress, force, partBytes, allowEmpty, vectors } = options;
  const backend = backendOf(to, list);
  const { planDocument } = backend;
  if (planDocument === undefined)
    throw new StorageError("E_USAGE", `nothing can be planned for ${storeName(to, list)}`, {
      hint: "A plan's target is a database or a document.",
    });
  const given = { ...shared(options), compress, force, partBytes, allowEmpty, vectors, producer: PRODUCER };
  const document = await planDocument.call(backend, to, { ...given, ...sessionOptions(to, options, config, list) });
  return {
    name: storeName(to, list),
    word: backend.word,
    planner: undefined,
    document,
    sink: document.sink,
    planSink: undefined,
    orphans: [],
    learn: async () => {},
    close: () => document.sink.abort(),
  };
}

export async function loadTarget(to: AnyLocation, options: Planning, { config, list }: Found): Promise<Target> {
  const catalog = options.catalog ?? llmspellCatalog;
  const backend = backendOf(to, list);
  const database = databaseOf(to, list);
  if (database?.planLoad === undefined)
    throw new StorageError("E_USAGE", `nothing can be planned for ${storeName(to, list)}`, {
      hint: `The backend ${backend.type} has no planLoad (docs/adding-a-backend.md).`,
    });
  const { onConflict = "update", onOrphan = "error", deferIndexes = "auto", tenants, transforms } = options;
  const planner = await database.planLoad(to, {
    ...sessionOptions(to, options, config, list),
    lockTimeoutSeconds: options.lockTimeoutSeconds,
    catalog,
    signal: options.signal ?? new AbortController().signal,
    onConflict,
    deferIndexes,
    tenant: tenants?.length === 1 ? tenantBehind(tenants[0] as string, transforms) : undefined,
  });
  const ledger = await openKeyLedger();
  const orphans: { kind: RecordKind; error: StorageError; count: number }[] = [];
  const planSink = new PlanSink({
    name: storeName(to, list),
    planner,
    ledger,
    kinds: catalog.kinds,
    onConflict,
    onOrphan,
    onOrphans: (kind, error, count) => orphans.push({ kind, error, count }),
  });
  const translate = options.translate === undefined ? undefined : parseTranslation(options.translate);
  return {
    name: storeName(to, list),
    word: backend.word,
    planner,
    document: undefined,
    sink: createTranslatingSink(planSink, { target: database.spelling, translate }),
    planSink,
    orphans,
    async learn(paths, context) {
      if (planner.meet !== undefined || planner.refusals.length > 0) return;
      // Nothing of a kind that is not there yet.
      const filled = new Set<string>();
      for (const kind of catalog.kinds)
        if ((await planner.rowsOf(kind)).empty === false && isNeeded(kind, paths, catalog.kinds)) filled.add(kind.path);
      if (filled.size === 0) return;
      const source = await createSource(to, { ...shared(options), catalog, sourceCheck: "none" }, { config, list });
      try {
        await source.open(context, { paths: filled });
        for await (const batch of source.read({ paths: filled, peek: true }, context)) await planSink.noteThere(batch);
      } finally {
        await source.close();
      }
    },
    async close() {
      ledger.close();
      await planner.close();
    },
  };
}

/** Whether the kind's rows of the target matter: its records come, or those of its children. */
function isNeeded(kind: RecordKind, paths: ReadonlySet<string>, kinds: readonly RecordKind[]): boolean {
  if (paths.has(kind.path)) return true;
  return kinds.some(
    (child) => paths.has(child.path) && child.foreignKeys.some(({ references }) => references === kind.path),
  );
}
