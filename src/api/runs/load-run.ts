/** Loads a database over several connections: a run, which can be resumed and undone instead of being all or nothing. */
import { hash } from "node:crypto";
import type { Catalog } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import { catalog as llmspellCatalog } from "../../llmspell/catalog/index.js";
import { jobsOf } from "../../parallel/jobs.js";
import type { RecordBatch } from "../../records/record-batch.js";
import type { RunContext, Selection } from "../../records/run-context.js";
import type { InvalidUuidPolicy } from "../../sinks/ids.js";
import type { Sink } from "../../sinks/sink.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import type { AnyLocation, LoadRun, RunParts } from "../../stores/backend.js";
import { databaseOf, sessionOptions } from "../../stores/index.js";
import type { Transform } from "../../transforms/transform.js";
import type { TransferDigester } from "../../verify/digesting-sink.js";
import type { ImportOptions } from "../options.js";
import type { TransferResult } from "../results.js";
import { selectPaths, transfer } from "../run.js";
import type { Found } from "../transfer.js";
import { firstSections } from "./first-sections.js";

export interface Loading extends Pick<Found, "config" | "list"> {
  readonly source: Source;
  readonly to: AnyLocation;
  /** The source's records are a document's: what is wrong with it must be found before the first of them is in the target. */
  readonly isDocument: boolean;
  readonly transforms: readonly Transform[];
  readonly invalidUuid: InvalidUuidPolicy;
  readonly digester: TransferDigester | undefined;
  readonly onSession: ((pid: number) => void) | undefined;
  /** The sink, with what stands before it. */
  readonly before: (sink: Sink) => Sink;
}

/** What does not go with a run, and why (docs/runs.md has the table). */
const REFUSED: readonly (readonly [option: string, given: (options: ImportOptions) => boolean, why: string])[] = [
  ["--dry-run (dryRun)", ({ dryRun }) => dryRun === true, "a run commits part by part"],
  ["--prune (prune)", ({ prune }) => prune === true, "what is removed could not be given back"],
  [
    "--require-empty (requireEmpty)",
    ({ requireEmpty }) => requireEmpty === true,
    "others may write to the tables while it goes on",
  ],
  ["--limit (limit)", ({ limit }) => limit !== undefined, "one job is enough for it"],
  ["--on-error skip (onReject)", ({ onReject }) => onReject !== undefined, "each part is there whole, or not at all"],
  ["--id-map (idMap)", ({ idMap }) => idMap !== undefined, "the map would have to be resumed and undone, too"],
];

/** The part of a backend that loads runs. E_USAGE where it has none, or for options that do not go with a run. */
export function requireRuns(to: AnyLocation, options: ImportOptions, list: Found["list"]): RunParts<AnyLocation> {
  const database = databaseOf(to, list);
  const one = "Without --jobs (jobs) it is one transaction, which takes them all.";
  if (database?.runs === undefined)
    throw new StorageError("E_USAGE", `${database?.title ?? "the target"} is loaded in one transaction`, {
      hint: "There is nothing to resume: runs (--jobs, jobs) are of a PostgreSQL server.",
    });
  for (const [option, given, why] of REFUSED)
    if (given(options))
      throw new StorageError("E_USAGE", `${option} does not go with several jobs: ${why}`, { hint: one });
  return database.runs;
}

/** What the options say of the records, by the name that a message gives it. Digests: the ledger is no place for what masks hide. */
export function settingsOf(
  options: ImportOptions,
  { transforms, invalidUuid }: Pick<Loading, "transforms" | "invalidUuid">,
): Record<string, string> {
  const said: Record<string, unknown> = {
    "--include": options.include,
    "--exclude": options.exclude,
    "--tenant": options.tenants,
    "transform (--jq, --mask, --plugin, --map-tenant)":
      transforms.length === 0 ? undefined : transforms.map(({ name }) => name),
    "--cascade": options.cascade === false ? false : undefined,
    "--on-conflict": options.onConflict === "update" ? undefined : options.onConflict,
    "--invalid-uuid": invalidUuid === "error" ? undefined : invalidUuid,
    "--translate": options.translate,
    "--times": options.times,
  };
  const given = Object.entries(said).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([name, value]) => [name, hash("sha256", JSON.stringify(value)).slice(0, 32)]));
}

export async function loadRun(options: ImportOptions, loading: Loading): Promise<TransferResult> {
  const { source, to, config, list, transforms, invalidUuid, before, digester } = loading;
  const runs = requireRuns(to, options, list);
  const paths = selectPaths(options.catalog ?? llmspellCatalog, options.include, options.exclude);
  const {
    resume = false,
    verifyParts,
    indexJobs,
    onConflict,
    onOrphan,
    deferIndexes,
    catalog = llmspellCatalog,
    lockTimeoutSeconds,
  } = options;
  const run = await runs.load(to, {
    ...sessionOptions(to, options, config, list),
    lockTimeoutSeconds,
    onSession: loading.onSession,
    catalog,
    jobs: options.jobs === undefined ? undefined : jobsOf(options.jobs),
    resume,
    paths,
    source: source.name,
    settings: settingsOf(options, loading),
    onConflict,
    verifyParts,
    indexJobs,
    onOrphan,
    deferIndexes,
  });
  // A step may keep what it saw for records that come behind, which it then has to see as ever.
  const sorted = transforms.length === 0 ? catalog : undefined;
  const kept = new KeptSource(source, loading.isDocument && !resume, sorted);
  const { onStart, onProgress, idMap: _idMap, prune: _prune, ...rest } = options;
  const warned = new Set<string>();
  const quiet: typeof rest = {
    ...rest,
    // What both passes have to say is said once.
    onWarning(message) {
      if (!warned.has(message)) options.onWarning?.(message);
      warned.add(message);
    },
  };
  const common = { invalidUuid, transforms };
  try {
    if (resume) {
      kept.again = true;
      onProgress?.({ phase: "planning", path: "", records: 0, pathRecords: 0, bytes: 0 });
      await transfer(kept, before(run.planning()), { ...quiet, ...common, digester: undefined }, false);
      kept.again = false;
    }
    const loading = run.loading();
    return await transfer(
      kept,
      // Digested are records as they come to the target, behind what spells them otherwise.
      before(digester?.sink(loading) ?? loading),
      {
        ...quiet,
        ...common,
        ...(onStart === undefined ? {} : { onStart }),
        ...(onProgress === undefined ? {} : { onProgress: sorted === undefined ? onProgress : asTheyCome(onProgress) }),
        digester,
      },
      false,
    );
  } catch (error) {
    await run.close();
    throw withWayOn(error, run);
  } finally {
    await run.close();
    await kept.release();
  }
}

/** Sections come in another order than the catalog's: which of them one is. */
function asTheyCome(onProgress: NonNullable<ImportOptions["onProgress"]>): typeof onProgress {
  const met = new Set<string>();
  return (progress) => {
    const { section, path } = progress;
    if (section !== undefined) met.add(path);
    onProgress(section === undefined ? progress : { ...progress, section: { ...section, number: met.size } });
  };
}

/** The error of a run that has left something behind says so; it is the same object, which a signal's reason may be. */
export function withWayOn(error: unknown, { unfinished }: Pick<LoadRun, "unfinished">): unknown {
  if (unfinished === undefined || !(error instanceof StorageError) || error.code === "E_RUN_TAKEN") return error;
  const { hint, outcomeUnknown, ...context } = error.context;
  const left =
    `The run ${unfinished} is unfinished, and what it has loaded stays: \`llmspell storage resume\`, with the same options, goes on with it; ` +
    "`llmspell storage undo` takes it back.";
  // The ledger tells what of a run is there; running the import again does not go on with it.
  if (outcomeUnknown) {
    const lost = { ...context, hint: `The server's log says why it went. ${left}`, unfinishedRun: unfinished };
    return new StorageError(error.code, "the connection broke while the server was committing", lost, error.cause);
  }
  // A hint may end with a statement.
  error.context.hint = hint === undefined ? left : `${hint}${/[.?!]$/.test(hint) ? "" : ";"} ${left}`;
  error.context.unfinishedRun = unfinished;
  return error;
}

/** A source that is read twice by two pipelines: the same snapshot, closed once. */
class KeptSource implements Source {
  readonly name: string;
  again = false;
  private header: StoreHeader | undefined;
  private first: Promise<readonly string[] | undefined> | undefined;

  /** `verifies`: all of it is read and checked when it is opened. `sorted`: sections of this catalog come in the order that is best for the target. */
  constructor(
    private readonly inner: Source,
    private readonly verifies: boolean,
    private readonly sorted: Catalog | undefined,
  ) {
    this.name = inner.name;
    if (inner.countInvalidUuids !== undefined)
      this.countInvalidUuids = (selection) => inner.countInvalidUuids?.(selection) as Promise<Map<string, number>>;
  }

  countInvalidUuids?: (selection: Selection) => Promise<ReadonlyMap<string, number>>;

  get method(): string | undefined {
    return this.inner.method;
  }

  get rereadable(): boolean {
    return this.inner.rereadable ?? true;
  }

  async open(context: RunContext, selection?: Selection): Promise<StoreHeader> {
    if (this.header !== undefined) return this.header;
    this.header = await this.inner.open(context, selection);
    if ((this.verifies || this.again) && !this.rereadable)
      throw new StorageError("E_USAGE", "the source can be read only once, which a run is not enough for");
    if (this.verifies && selection !== undefined) {
      context.activity?.({ phase: "planning" });
      const silent = { ...context, ahead: true as const, warn() {}, note() {}, leftOut() {} };
      // Without any of its sections: their bytes are held against the manifest, and nothing is decoded but for digests.
      const check = { ...selection, paths: new Set<string>(), checked: selection.paths, again: true as const };
      for await (const batch of this.inner.read(check, silent)) {
        context.signal.throwIfAborted();
        await batch.large?.discard();
      }
    }
    return this.header;
  }

  estimate(selection: Selection): Promise<ReadonlyMap<string, number> | undefined> {
    return this.inner.estimate(selection);
  }

  async *read(selection: Selection, context: RunContext): AsyncGenerator<RecordBatch> {
    // Both passes read alike.
    this.first ??=
      this.sorted === undefined ? Promise.resolve(undefined) : firstSections(this.inner, selection, this.sorted);
    const wanted = { ...selection, first: await this.first };
    yield* this.inner.read(this.again ? { ...wanted, again: true } : wanted, context);
  }

  partial(): string | undefined {
    return this.inner.partial?.();
  }

  async close(): Promise<void> {}

  release(): Promise<void> {
    return this.inner.close();
  }
}
