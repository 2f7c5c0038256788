/** One run from a source to a sink: what is selected, and what became of each kind's records. */
import { type Catalog, isOfSection } from "../catalog/index.js";
import { StorageError } from "../errors.js";
import { catalog as standardCatalog } from "../llmspell/catalog/index.js";
import { runPipeline } from "../pipeline.js";
import type { Selection } from "../records/run-context.js";
import { createIdSink } from "../sinks/ids.js";
import type { Sink, SinkReport } from "../sinks/sink.js";
import type { Source, StoreHeader } from "../sources/source.js";
import { openIdMap } from "../stores/index.js";
import type { RecordThreads } from "../transforms/record-threads.js";
import type { Transform } from "../transforms/transform.js";
import type { TransferDigester } from "../verify/digesting-sink.js";
import { TOOL_VERSIONS } from "../version.js";
import type { TransferOptions } from "./options.js";
import type { KindResult, TransferResult, TransferTotals } from "./results.js";

/** The paths that `include` and `exclude` leave. E_USAGE for a section that no record kind has. */
export function selectPaths(
  catalog: Catalog,
  include: readonly string[] = [],
  exclude: readonly string[] = [],
): ReadonlySet<string> {
  const paths = catalog.kinds.map(({ path }) => path);
  for (const section of [...include, ...exclude]) {
    if (!catalog.kinds.some((kind) => isOfSection(kind, section))) {
      throw new StorageError("E_USAGE", `unknown section: ${section}`, {
        hint: `The sections are ${paths.join(", ")}.`,
      });
    }
  }
  return new Set(
    catalog.kinds
      .filter(
        (kind) =>
          (include.length === 0 || include.some((section) => isOfSection(kind, section))) &&
          !exclude.some((section) => isOfSection(kind, section)),
      )
      .map(({ path }) => path),
  );
}

export async function transfer(
  source: Source,
  sink: Sink,
  options: Omit<TransferOptions, "transforms"> & {
    readonly transforms: readonly Transform[];
    readonly digester: TransferDigester | undefined;
    readonly prune?: { readonly keysStay: boolean } | undefined;
    readonly threads?: RecordThreads | undefined;
  },
  dryRun: boolean,
): Promise<TransferResult> {
  const catalog = options.catalog ?? standardCatalog;
  const { tenants, onStart, limit } = options;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw new StorageError("E_USAGE", "the limit is no positive integer");
  }
  if (tenants?.length === 0 || tenants?.includes("") === true) {
    throw new StorageError("E_USAGE", "the tenant is empty", {
      hint: "Without --tenant (tenants) all tenants' records are taken.",
    });
  }
  const paths = selectPaths(catalog, options.include, options.exclude);
  const selection: Selection = tenants === undefined ? { paths } : { paths, tenants };
  const started = performance.now();
  const startedAt = new Date();
  const policy = options.invalidUuid ?? "keep";
  const idSink = createIdSink(sink, {
    policy,
    count: () => source.countInvalidUuids?.(selection),
    idMap: options.idMap === undefined ? undefined : await openIdMap(options.idMap, policy !== "keep"),
    dryRun,
  });
  const { prune, ...rest } = options;
  const {
    header: { versions, exportedAt: _time, ...header },
    report,
    met,
    read,
    valueBytes,
    rejected,
    cascaded,
    leftOut,
  } = await runPipeline({
    ...rest,
    ...(prune === undefined ? {} : { prune }),
    catalog,
    source: onStart === undefined ? source : announced(source, selection, limit, onStart),
    sink: idSink,
    selection,
    ...(sink.inCatalogOrder === true
      ? { transforms: () => inCatalogOrder(source, options.transforms, catalog, options.signal) }
      : {}),
  });
  for (const section of options.include ?? []) {
    const kinds = catalog.kinds.filter((kind) => isOfSection(kind, section));
    if (kinds.some(({ path }) => (met.get(path) ?? 0) + (rejected.get(path) ?? 0) > 0)) continue;
    options.onWarning?.(`no record of the section ${section} was found`);
  }
  const kinds: KindResult[] = [];
  const totals: { -readonly [Name in keyof TransferTotals]: TransferTotals[Name] } = {
    ...(prune === undefined ? {} : { pruned: 0 }),
    read: 0,
    inserted: 0,
    updated: 0,
    unchanged: 0,
    skipped: 0,
    dropped: 0,
    rejected: 0,
    cascaded: 0,
    valueBytes: 0,
  };
  for (const { path, label } of catalog.kinds) {
    const { inserted = 0, updated = 0, skipped = 0, dropped = 0, pruned = 0 } = report.counts.get(path) ?? {};
    const counts = {
      read: read.get(path) ?? 0,
      inserted,
      updated,
      unchanged: report.unchanged?.get(path) ?? 0,
      skipped,
      dropped,
      rejected: rejected.get(path) ?? 0,
      cascaded: cascaded.get(path) ?? 0,
      valueBytes: valueBytes.get(path) ?? 0,
      ...(prune === undefined ? {} : { pruned }),
    };
    if (Object.values(counts).every((count) => count === 0)) continue;
    kinds.push({ path, label, ...counts });
    for (const name of Object.keys(totals) as (keyof TransferTotals)[])
      totals[name] = (totals[name] ?? 0) + (counts[name] ?? 0);
  }
  return {
    source: source.name,
    target: sink.name,
    header,
    kinds,
    totals,
    ...(report.bytes === undefined ? {} : { bytes: report.bytes }),
    notes: report.notes,
    leftOut,
    ...(options.digester === undefined ? {} : { digests: options.digester.result(report.counts) }),
    dryRun,
    started: startedAt.toISOString(),
    ended: new Date().toISOString(),
    seconds: (performance.now() - started) / 1000,
    versions: versionsOf(versions, report),
  };
}

/** What made a result: the tool, and what its stores said of themselves. */
export function versionsOf(source: StoreHeader["versions"], { target }: SinkReport): TransferResult["versions"] {
  return {
    tool: TOOL_VERSIONS,
    ...(source === undefined ? {} : { source }),
    ...(target === undefined ? {} : { target: target.versions, targetMigrations: target.migrations }),
  };
}

/**
 * A source whose sections come in another order needs a first stage that puts them in order; transforms that give records of other
 * sections than they got, a last one.
 */
async function inCatalogOrder(
  source: Source,
  transforms: readonly Transform[],
  catalog: Catalog,
  signal = new AbortController().signal,
): Promise<readonly Transform[]> {
  const order = await source.sectionOrder?.(catalog, signal);
  const isMixed = transforms.some(({ emits }) => emits !== undefined);
  if (order === undefined && !isMixed) return transforms;
  const { createSectionOrder, orderedSections } = await import("../transforms/section-order.js");
  const first = order === undefined ? undefined : orderedSections(order, catalog);
  return [
    ...(first === undefined ? [] : [first]),
    ...transforms,
    ...(isMixed ? [createSectionOrder(transforms, catalog)] : []),
  ];
}

/** The source, telling `onStart` when it is open. */
function announced(
  source: Source,
  selection: Selection,
  limit: number | undefined,
  onStart: NonNullable<TransferOptions["onStart"]>,
): Source {
  return {
    name: source.name,
    rereadable: source.rereadable ?? true,
    async open(context, selected) {
      const header = await source.open(context, selected);
      const estimate = await source.estimate(selection);
      onStart(
        header,
        estimate && new Map([...estimate].map(([path, count]) => [path, Math.min(count, limit ?? count)])),
      );
      return header;
    },
    estimate: (wanted) => source.estimate(wanted),
    ...(source.partial === undefined ? {} : { partial: () => source.partial?.() }),
    ...(source.order === undefined ? {} : { order: () => source.order?.() }),
    // Known when it is open.
    get inParts() {
      return source.inParts;
    },
    get wholeBecause() {
      return source.wholeBecause;
    },
    read: (wanted, context) => source.read(wanted, context),
    close: () => source.close(),
  };
}
