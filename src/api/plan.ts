/** What an export or an import would do, found without writing anything: `llmspell storage plan`. */
import { tmpdir } from "node:os";
import type { RecordKind } from "../catalog/index.js";
import { StorageError, toStorageError } from "../errors.js";
import { catalog as llmspellCatalog } from "../llmspell/catalog/index.js";
import { createTranslatingSink, parseTranslation } from "../llmspell/translate.js";
import type { LoadPlanner, LoadWay } from "../records/load-plan.js";
import type { RunContext } from "../records/run-context.js";
import type { Sink } from "../sinks/sink.js";
import type { Source } from "../sources/source.js";
import { freeBytesAt } from "../stores/free-space.js";
import {
  type AnyLocation,
  backendOf,
  createSource,
  type DocumentPlanner,
  databaseOf,
  openKeyLedger,
  sessionOptions,
  storeName,
} from "../stores/index.js";
import { PRODUCER } from "../version.js";
import { refuseUnknownOptions } from "./option-names.js";
import type { ExportOptions, ImportOptions } from "./options.js";
import { type PlannedCounts, PlanSink } from "./plan-sink.js";
import { selectPaths, transfer } from "./run.js";
import { addObstacle, type Obstacle } from "./store-info.js";
import {
  type Found,
  findStores,
  invalidUuidPolicy,
  isSink,
  isSource,
  refuseSameStore,
  shared,
  sourceFor,
  tenantBehind,
  transformsOf,
} from "./transfer.js";
import rates from "./transfer-rates.json" with { type: "json" };

export interface PlanOptions extends Omit<ImportOptions, "to" | "from" | "dryRun">, Omit<ExportOptions, "to" | "from"> {
  /** A STORE (docs/command-line.md), or its location. */
  readonly from: ExportOptions["from"] | ImportOptions["from"];
  /** A database, which an import or a migration would fill, or a document. No sink of your own. */
  readonly to: ExportOptions["to"] | ImportOptions["to"];
  /** A full pass of the source, whose records are held against the target's. Default false: estimates. */
  readonly exact?: boolean;
}

/** What would become of one kind's records; undefined: unknown, or not without `exact`. */
export interface PlannedSection extends Omit<LoadWay, "into" | "refusal"> {
  readonly path: string;
  /** The statistics line that counts it, e.g. "Vectors". */
  readonly label: string;
  /** Records that would come to the target. */
  readonly records: number | undefined;
  /** Bytes of their values. */
  readonly bytes: number | undefined;
  /** `records` and `bytes` are. */
  readonly estimated: boolean;
  /** Records of the target before the run. */
  readonly there: number | undefined;
  readonly thereEstimated: boolean;
  readonly new: number | undefined;
  /** The target has all of their values. */
  readonly same: number | undefined;
  readonly changed: number | undefined;
  /** Records of the target that no record of the run meets. */
  readonly onlyThere: number | undefined;
  readonly refused: number | undefined;
  /** Orphans that would be left out. */
  readonly dropped: number | undefined;
  /** Undefined: the target is a document. */
  readonly into: LoadWay["into"] | undefined;
}

/** Room on a file system. Bytes; undefined: unknown. */
export interface PlannedSpace {
  readonly wanted: number | undefined;
  readonly estimated: boolean;
  readonly free: number | undefined;
}

export interface TransferPlan {
  /** Names for messages; never with a password. */
  readonly source: string;
  readonly target: string;
  readonly exact: boolean;
  /** How the source is read, e.g. "COPY"; undefined where there is one way only. */
  readonly reading: string | undefined;
  /** In the catalog's order, those that have records here or there, or of which that is unknown. */
  readonly sections: readonly PlannedSection[];
  /** Records that the source could not give or the target would refuse, with `exact`. */
  readonly obstacles: readonly Obstacle[];
  /** Why the run would not begin or not end, what it meets first at the head. */
  readonly refusals: readonly StorageError[];
  /** What the run would end with; undefined: it would go. */
  readonly refused: StorageError | undefined;
  /** Statements, each a right that the target's role lacks. */
  readonly grants: readonly string[];
  readonly migrations: readonly string[];
  readonly notes: readonly string[];
  /** What the source holds and the run would leave out, a line each (`exact`). */
  readonly leftOut: readonly string[];
  readonly targetSpace: PlannedSpace;
  readonly temporarySpace: PlannedSpace;
  /** From the shipped rates (bench/RESULTS.md), which are of one machine; undefined where the size is unknown. */
  readonly seconds: { readonly least: number; readonly most: number } | undefined;
}

/** Of each section so many records are read for an estimate of their bytes. */
const SAMPLE_RECORDS = 200;
/** What a plan, and the sets of a run, keep of a record. Bytes. */
const LEDGER_BYTES = 64;

/**
 * What exportStore or importStore with the same options would do: counts, way, space, what is missing, what it would be
 * refused for. Reads both stores with a reader's locks and writes nothing. With `onReject` the plan is of a run that goes on
 * past bad records; the function itself is not called. Throws StorageError where a store cannot be looked at.
 */
export async function planTransfer(options: PlanOptions): Promise<TransferPlan> {
  refuseUnknownOptions("planTransfer", options);
  const transforms = await transformsOf(options);
  const found = findStores(options as ImportOptions);
  const { to, config, list } = found;
  if (isSink(to)) throw new StorageError("E_USAGE", "a plan needs a store as its target, not a sink");
  const source = await sourceFor(found.from, to, options, { config, list });
  if (!isSource(found.from)) refuseSameStore(found.from, to, list);
  const planning = { ...options, invalidUuid: invalidUuidPolicy(options, to, list), transforms };
  const database = databaseOf(to, list);
  const target =
    database === undefined ? await documentTarget(to, options, found) : await loadTarget(to, planning, found);
  try {
    const draft =
      options.exact === true ? await exactDraft(source, target, planning) : await quickDraft(source, options);
    return await finishPlan(source, target, draft, options, found);
  } finally {
    await source.close();
    await target.close();
  }
}

interface Target {
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

type Planning = PlanOptions & { readonly transforms: Awaited<ReturnType<typeof transformsOf>> };

async function documentTarget(to: AnyLocation, options: PlanOptions, { config, list }: Found): Promise<Target> {
  const { compress, force, allowEmpty, vectors } = options;
  const backend = backendOf(to, list);
  const { planDocument } = backend;
  if (planDocument === undefined)
    throw new StorageError("E_USAGE", `nothing can be planned for ${storeName(to, list)}`, {
      hint: "A plan's target is a database or a document.",
    });
  const given = { ...shared(options), compress, force, allowEmpty, vectors, producer: PRODUCER };
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

async function loadTarget(to: AnyLocation, options: Planning, { config, list }: Found): Promise<Target> {
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

/** What is known of the records. */
interface Draft {
  readonly records: ReadonlyMap<string, Pick<PlannedCounts, "records" | "bytes"> & { readonly estimated: boolean }>;
  /** By path. */
  readonly planned: ReadonlyMap<string, PlannedCounts>;
  readonly paths: ReadonlySet<string>;
  readonly reading: string | undefined;
  readonly obstacles: readonly Obstacle[];
  readonly refusals: readonly StorageError[];
  readonly leftOut: readonly string[];
}

/** A full pass of the source. */
async function exactDraft(source: Source, target: Target, options: Planning): Promise<Draft> {
  const catalog = options.catalog ?? llmspellCatalog;
  const paths = selectPaths(catalog, options.include, options.exclude);
  const obstacles = new Map<string, Obstacle>();
  const errors: StorageError[] = [];
  const refusals: StorageError[] = [];
  await target.learn(paths, silent(options.signal));
  let result: Awaited<ReturnType<typeof transfer>> | undefined;
  try {
    result = await transfer(
      source,
      target.sink,
      {
        ...options,
        onReject(rejection) {
          if (!obstacles.has(rejection.kind.path)) errors.push(rejection.error);
          addObstacle(obstacles, rejection);
        },
      },
      true,
    );
  } catch (error) {
    // What ends the run as a whole: the source, a transform, a document that is not whole.
    const failure = toStorageError(error);
    if (failure.exitStatus >= 128) throw failure;
    refusals.push(failure);
  }
  for (const { kind, error, count } of target.orphans) {
    errors.push(error);
    obstacles.set(`${kind.path} ${error.context.field} ${error.code}`, {
      code: error.code,
      section: kind.path,
      field: error.context.field,
      firstKey: error.context.key,
      count,
    });
  }
  const [first] = errors;
  if (first !== undefined) {
    const total = [...obstacles.values()].reduce((sum, { count }) => sum + count, 0);
    refusals.push(
      options.onReject === undefined ? first : new StorageError("E_REJECTED", `${total} records would be rejected`),
    );
  }
  if (target.document !== undefined && refusals.length === 0 && result?.totals.read === 0)
    await target.document.requireRecords(options.signal ?? new AbortController().signal).catch((error) => {
      refusals.push(toStorageError(error));
    });
  const planned = target.planSink?.counts ?? new Map();
  const records = new Map(
    target.planSink === undefined
      ? (result?.kinds ?? []).map(({ path, read, valueBytes }) => [
          path,
          { records: read, bytes: valueBytes, estimated: false },
        ])
      : [...planned].map(([path, counts]) => [
          path,
          { records: counts.records, bytes: counts.bytes, estimated: false },
        ]),
  );
  return {
    records,
    planned,
    paths,
    reading: source.method,
    obstacles: [...obstacles.values()],
    refusals,
    leftOut: result?.leftOut ?? [],
  };
}

/** Estimates: the source's own, and a sample for the bytes. */
async function quickDraft(source: Source, options: PlanOptions): Promise<Draft> {
  const catalog = options.catalog ?? llmspellCatalog;
  const paths = selectPaths(catalog, options.include, options.exclude);
  const selection = { paths, ...(options.tenants === undefined ? {} : { tenants: options.tenants }) };
  const context = silent(options.signal);
  await source.open(context, selection);
  const estimate = await source.estimate(selection);
  const records = new Map<string, { records: number; bytes: number; estimated: boolean }>();
  for (const [path, count] of estimate ?? []) {
    let sampled = 0;
    let bytes = 0;
    const wanted = { ...selection, paths: new Set([path]), limit: SAMPLE_RECORDS, peek: true } as const;
    if (count > 0)
      for await (const batch of source.read(wanted, context)) {
        sampled += batch.rows;
        bytes += batch.byteLength;
        for await (const chunk of batch.large?.chunks() ?? []) bytes += chunk.length;
        await batch.large?.discard();
      }
    // A source whose sample is all of it has been counted.
    const all = sampled < SAMPLE_RECORDS;
    const limited = Math.min(all ? sampled : count, options.limit ?? Number.POSITIVE_INFINITY);
    records.set(path, {
      records: limited,
      bytes: sampled === 0 ? 0 : Math.round((bytes / sampled) * limited),
      estimated: !all || (options.transforms?.length ?? 0) > 0,
    });
  }
  return { records, planned: new Map(), paths, reading: source.method, obstacles: [], refusals: [], leftOut: [] };
}

/** Of a look whose bad records are told by the run, or by `exact`. */
function silent(signal: AbortSignal | undefined): RunContext {
  return {
    signal: signal ?? new AbortController().signal,
    reject: async () => {},
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
}

async function finishPlan(
  source: Source,
  target: Target,
  draft: Draft,
  options: PlanOptions,
  { list, from }: Found,
): Promise<TransferPlan> {
  const catalog = options.catalog ?? llmspellCatalog;
  const { planner, document } = target;
  const sections: PlannedSection[] = [];
  const ways: StorageError[] = [];
  for (const kind of catalog.kinds) {
    if (!draft.paths.has(kind.path)) continue;
    const { section, refusal } = await planSection(kind, planner, draft, options);
    if (refusal !== undefined && (section.records ?? 1) > 0) ways.push(refusal);
    if (section.records !== 0 || (section.there ?? 0) > 0) sections.push(section);
  }
  const known = draft.records.size > 0 || options.exact === true;
  const bytes = [...draft.records.values()].reduce((sum, each) => sum + each.bytes, 0);
  const count = [...draft.records.values()].reduce((sum, each) => sum + each.records, 0);
  const estimated = options.exact !== true;
  const wanted = !known ? undefined : document !== undefined && !estimated ? document.bytes() : bytes;
  const targetSpace = {
    wanted,
    estimated: estimated || document === undefined,
    free: (planner ?? document)?.freeBytes,
  };
  const space: StorageError[] = [];
  if (wanted !== undefined && targetSpace.free !== undefined && wanted > targetSpace.free)
    space.push(
      new StorageError("E_DISK_FULL", `${target.name} needs more space than there is`, {
        detail: `${targetSpace.estimated ? "about " : ""}${wanted} bytes wanted, ${targetSpace.free} free`,
      }),
    );
  const begins = planner?.refusals ?? document?.refusals ?? [];
  const refusals = [...begins, ...ways, ...draft.refusals, ...space];
  return {
    source: source.name,
    target: target.name,
    exact: options.exact === true,
    reading: draft.reading,
    sections,
    obstacles: draft.obstacles,
    refusals,
    refused: refusals[0],
    grants: planner?.grants ?? [],
    migrations: planner?.migrations ?? [],
    notes: planner?.notes ?? [],
    leftOut: draft.leftOut,
    targetSpace,
    temporarySpace: { wanted: known ? count * LEDGER_BYTES : undefined, estimated: true, free: freeBytesAt(tmpdir()) },
    seconds: known ? secondsOf(bytes, isSource(from) ? undefined : backendOf(from, list).word, target.word) : undefined,
  };
}

async function planSection(
  kind: RecordKind,
  planner: LoadPlanner | undefined,
  draft: Draft,
  options: PlanOptions,
): Promise<{ section: PlannedSection; refusal: StorageError | undefined }> {
  const { path, label } = kind;
  const exact = options.exact === true;
  const found =
    draft.records.get(path) ??
    (exact || draft.records.size > 0 ? { records: 0, bytes: 0, estimated: false } : undefined);
  const base = {
    path,
    label,
    records: found?.records,
    bytes: found?.bytes,
    estimated: found?.estimated ?? true,
  };
  const nothing = { rebuilds: [], silences: [], locks: [] };
  const unknown = {
    new: undefined,
    same: undefined,
    changed: undefined,
    onlyThere: undefined,
    refused: undefined,
    dropped: undefined,
  };
  if (planner === undefined)
    return {
      section: { ...base, ...unknown, there: undefined, thereEstimated: false, into: undefined, ...nothing },
      refusal: undefined,
    };
  const rows = await planner.rowsOf(kind);
  const there = exact ? await planner.countOf(kind) : rows.count;
  const planned = draft.planned.get(path);
  const met = planned === undefined ? 0 : planned.same + planned.changed;
  const counts = exact
    ? {
        new: planned?.added ?? 0,
        same: planned?.same ?? 0,
        changed: planned?.changed ?? 0,
        onlyThere: there === undefined ? undefined : there - met,
        refused: planned?.refused ?? 0,
        dropped: planned?.dropped ?? 0,
      }
    : rows.empty === true
      ? { ...unknown, new: found?.records, same: 0, changed: 0, onlyThere: 0 }
      : unknown;
  const records = found?.records ?? 0;
  const writes =
    planned === undefined ? records : planned.added + (options.onConflict === "skip" ? 0 : planned.changed);
  const { refusal, ...way } =
    found?.records === 0
      ? { into: undefined, ...nothing, refusal: undefined }
      : { refusal: undefined, ...(await planner.wayOf(kind, { records, writes })) };
  return { section: { ...base, ...counts, there, thereEstimated: !exact && rows.estimated, ...way }, refusal };
}

type Rated = keyof typeof rates.read;

/** The least and the most that reading and writing take, one after the other at worst. */
function secondsOf(bytes: number, from: string | undefined, to: string): TransferPlan["seconds"] {
  const read = rates.read[from as Rated];
  const write = rates.write[to as Rated];
  if (read === undefined || write === undefined) return undefined;
  const [slowRead = 1, fastRead = 1] = read;
  const [slowWrite = 1, fastWrite = 1] = write;
  const megabytes = bytes / 1e6;
  return {
    least: Math.max(megabytes / fastRead, megabytes / fastWrite),
    most: megabytes / slowRead + megabytes / slowWrite,
  };
}
