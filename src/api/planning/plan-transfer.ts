/** What an export or an import would do, found without writing anything: `llmspell storage plan`. */
import { tmpdir } from "node:os";
import type { RecordKind } from "../../catalog/index.js";
import { StorageError, toStorageError } from "../../errors.js";
import { catalog as llmspellCatalog } from "../../llmspell/catalog/index.js";
import type { LoadPlanner } from "../../records/loads/load-plan.js";
import type { Source } from "../../sources/source.js";
import { backendOf, databaseOf } from "../../stores/index.js";
import { freeBytesAt } from "../../stores/planning/free-space.js";
import { refuseUnknownOptions } from "../option-names.js";
import type { ImportOptions } from "../options.js";
import {
  type Found,
  findStores,
  invalidUuidPolicy,
  isSink,
  isSource,
  refuseSameStore,
  sourceFor,
  transformsOf,
} from "../transfer.js";
import { type Draft, exactDraft, quickDraft, silent } from "./drafts.js";
import { measureRates } from "./measuring.js";
import type { MeasuredRates, PlannedSection, PlanOptions, TransferPlan } from "./results.js";
import { documentTarget, loadTarget, type Planning, type Target } from "./targets.js";
import rates from "./transfer-rates.json" with { type: "json" };

export type { MeasuredRates, PlannedSection, PlannedSpace, PlanOptions, TransferPlan } from "./results.js";

/** What a plan, and the sets of a run, keep of a record. Bytes. */
const LEDGER_BYTES = 64;

/** See ../on-demand.ts. */
export async function planTransfer(options: PlanOptions): Promise<TransferPlan> {
  refuseUnknownOptions("planTransfer", options);
  const transforms = await transformsOf(options);
  const found = findStores(options as ImportOptions);
  const { to, config, list } = found;
  requireMeasurable(options, found);
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
    const plan = await finishPlan(source, target, draft, options, found);
    return options.measure === true ? await withMeasuredRates(plan, { target, draft, planning, found }) : plan;
  } catch (error) {
    throw interruptionOf(options.signal) ?? error;
  } finally {
    await source.close();
    await target.close();
  }
}

function interruptionOf(signal: AbortSignal | undefined): StorageError | undefined {
  if (signal?.aborted !== true) return undefined;
  const { reason } = signal;
  return reason instanceof StorageError
    ? reason
    : new StorageError("E_INTERRUPTED", "the run was interrupted", {}, reason);
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
    measured: undefined,
    seconds: known ? secondsOf(bytes, isSource(from) ? undefined : backendOf(from, list).word, target.word) : undefined,
  };
}

/** Of what was measured, up or down. */
const MEASURED_SPREAD = 1.5;

interface Measuring {
  readonly target: Target;
  readonly draft: Draft;
  readonly planning: Planning;
  readonly found: Found;
}

async function withMeasuredRates(plan: TransferPlan, measuring: Measuring): Promise<TransferPlan> {
  const measured = await measuredRates(measuring).catch((error) => {
    const failure = toStorageError(error);
    if (failure.exitStatus >= 128 || measuring.planning.signal?.aborted) throw failure;
    return failure;
  });
  if (measured instanceof StorageError)
    return { ...plan, notes: [...plan.notes, `nothing could be measured: ${measured.message}`] };
  const { seconds } = measured;
  return { ...plan, measured, seconds: { least: seconds / MEASURED_SPREAD, most: seconds * MEASURED_SPREAD } };
}

async function measuredRates({ target, draft, planning, found }: Measuring): Promise<MeasuredRates> {
  const { config, list, to } = found;
  const begin = target.planner?.measure;
  if (begin === undefined || isSource(found.from) || isSink(to))
    throw new StorageError("E_USAGE", "the target has no way to, or the source can be read only once");
  const catalog = planning.catalog ?? llmspellCatalog;
  const source = await sourceFor(found.from, to, planning, { config, list });
  try {
    const measure = await begin();
    try {
      const byKind = databaseOf(found.from, list) !== undefined;
      const { tenants, transforms, signal } = planning;
      return await measureRates({
        source,
        byKind,
        measure,
        catalog,
        draft,
        transforms,
        tenants,
        context: { ...silent(signal), ahead: true },
      });
    } finally {
      await measure.close();
    }
  } finally {
    await source.close();
  }
}

/** E_USAGE where nothing can be measured by what is asked for. */
function requireMeasurable({ measure, exact }: PlanOptions, { from, to, list }: Found): void {
  if (measure !== true) return;
  if (isSink(to) || databaseOf(to, list) === undefined)
    throw new StorageError("E_USAGE", "--measure (measure) is for databases, and the target is a document");
  const isRead = isSource(from) || databaseOf(from, list) === undefined;
  if (isRead && exact !== true)
    throw new StorageError("E_USAGE", "--measure (measure) of a document needs --exact (exact)", {
      hint: "Only a full pass tells how many records it has.",
    });
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
