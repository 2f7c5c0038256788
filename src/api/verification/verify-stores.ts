/** Whether two stores hold the same records, and what is wrong in either: `llmspell storage verify`. */
import { type Config, loadConfig } from "../../config/index.js";
import { StorageError, toStorageError } from "../../errors.js";
import { catalog as standardCatalog } from "../../llmspell/catalog/index.js";
import type { Rejection } from "../../records/run-context.js";
import type { Source, StoreHeader } from "../../sources/source.js";
import {
  type AnyLocation,
  type Backend,
  backendOf,
  backends,
  dependsOnConfig,
  hasOwner,
  parseStore,
  sameStore,
  storeName,
  streamLocation,
} from "../../stores/index.js";
import { UnmetTenants } from "../../transforms/effect.js";
import { createTransforms } from "../../transforms/spec.js";
import type { Transform } from "../../transforms/transform.js";
import { joinRecords, OrderError, type Side } from "../../verify/comparison/record-join.js";
import { type Finding, References } from "../../verify/comparison/references.js";
import {
  type Difference,
  randomSeed,
  type SectionVerification,
  Verification,
} from "../../verify/comparison/verification.js";
import { TOOL_VERSIONS } from "../../version.js";
import { refuseUnknownOptions } from "../option-names.js";
import type { ImportOptions } from "../options.js";
import { selectPaths } from "../run.js";
import { requireTenants } from "../store-digest.js";
import { areOne, judge, ownFindings, type StoreFinding } from "./store-findings.js";
import { threadsOf } from "./thread-choice.js";
import {
  isRereadable,
  isSource,
  Reading,
  type Run,
  type Stores,
  TwoSided,
  tenantsBehind,
  type VerifyOptions,
} from "./verify-reading.js";
import { compareSearches, requireSearchable, type Searches, type SearchResult } from "./verify-search.js";

export interface VerifyResult {
  /** Names for messages; never with a password. */
  readonly a: string;
  readonly b: string;
  readonly headers: Readonly<Record<Side, StoreHeader>>;
  /** Every record is there on both sides and identical (canonical bytes). */
  readonly identical: boolean;
  /** What was asked for holds: equal by meaning (`strict`: identical), all readable, and no finding that counts. */
  readonly equal: boolean;
  /** In the catalog's order, those that have records in either store. */
  readonly sections: readonly SectionVerification[];
  readonly findings: readonly StoreFinding[];
  /** What the stores hold outside of records that are read: nothing is said of it. */
  readonly leftOut: Readonly<Record<Side, readonly string[]>>;
  /** Lines for the user of A's records on their way, e.g. that a step changed nothing. */
  readonly notes: readonly string[];
  readonly sample?: { readonly size: number; readonly seed: string };
  readonly searches?: Searches;
  /** UTC, ISO 8601. */
  readonly started: string;
  readonly ended: string;
  readonly seconds: number;
  /** Of this tool, and of databases, e.g. `{ PostgreSQL: "15.4", pgvector: "0.8.0" }`. */
  readonly versions: {
    readonly tool: Readonly<Record<string, string>>;
    readonly a?: Readonly<Record<string, string>>;
    readonly b?: Readonly<Record<string, string>>;
  };
}

/** See ../on-demand.ts. */
export async function verifyStores(options: VerifyOptions): Promise<VerifyResult> {
  refuseUnknownOptions("verifyStores", options);
  const started = performance.now();
  const list = options.backends ?? backends;
  const given = { a: located(options.a), b: located(options.b) };
  const depends = [given.a, given.b].some(
    (store) => !isSource(store) && dependsOnConfig(store, "source", options, list),
  );
  const config = options.config ?? (depends ? loadConfig() : undefined);
  const parse = (text: string): AnyLocation => parseStore(text, () => config as Config, list);
  const stores: Stores = {
    a: typeof given.a === "string" ? parse(given.a) : given.a,
    b: typeof given.b === "string" ? parse(given.b) : given.b,
  };
  refuseSame(stores, list);
  requireSearchable(stores, options.search);
  if (options.asOwner === true && options.search !== undefined)
    throw new StorageError(
      "E_USAGE",
      "searches are not for --as-owner (asOwner): indexes answer the policies' one tenant",
      {
        hint: "Leave --search out, or compare as a superuser.",
      },
    );
  if (options.asOwner === true && ![stores.a, stores.b].some((store) => !isSource(store) && hasOwner(store, list)))
    throw new StorageError("E_USAGE", "--as-owner (asOwner) is for PostgreSQL, and neither store is such a database");
  const size = sampleSize(options);
  const sample = size === undefined ? undefined : { size, seed: options.seed ?? randomSeed() };
  const transforms = await createTransforms(options.transforms ?? [], {
    ...options,
    catalog: options.catalog ?? standardCatalog,
  });
  const run: Run = {
    options: { ...options, transforms },
    stores,
    sample,
    config,
    list,
    threads: threadsOf(options, stores, list),
  };
  try {
    return await verifyOnce(run, transforms.length === 0, started);
  } catch (error) {
    if (!(error instanceof OrderError)) throw error;
    // A store that is not in its own order: nothing of it is relied on.
    return verifyOnce(run, false, started);
  }
}

async function verifyOnce(run: Run, keepsKeys: boolean, started: number): Promise<VerifyResult> {
  const { options, sample } = run;
  const { catalog = standardCatalog, strict = false, transforms } = options;
  const leaving = new AbortController();
  const signal = AbortSignal.any([leaving.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const verification = new Verification({
    catalog,
    showValues: options.showValues ?? false,
    tellsMeaning: strict,
    keepsAll: options.onDifferences !== undefined,
  });
  const paths = new Set([...selectPaths(catalog, options.include, options.exclude), ...emitted(transforms)]);
  if (paths.size === 0) throw new StorageError("E_USAGE", "no section is left to compare");
  const references = { a: new References(catalog, paths), b: new References(catalog, paths) };
  const progress = new TwoSided(options);
  const tenants = options.tenants && tenantsBehind(options.tenants, transforms);
  const unmet = tenants && new UnmetTenants(tenants);
  const reject = (side: Side, rejection: Rejection): Promise<void> => {
    references[side].miss(rejection.kind);
    return verification.reject(side, rejection);
  };
  const readings = {
    a: new Reading("a", run, { signal, reject, progress, paths }),
    b: new Reading("b", run, { signal, reject, progress, paths }),
  };
  try {
    await joinRecords(
      {
        catalog,
        signal,
        batches: { a: readings.a.batches(), b: readings.b.batches() },
        ordered: { a: isOrdered(run, "a") && keepsKeys, b: isOrdered(run, "b") },
        sample,
        onBatch(side, batch) {
          unmet?.see(batch);
          return references[side].see(batch);
        },
        onRead: () => progress.tell("comparing"),
      },
      verification,
    );
    const recordFindings = { a: await references.a.findings(), b: await references.b.findings() };
    const findings = {
      a: [...recordFindings.a, ...(await ownFindings(run, "a"))],
      b: [...recordFindings.b, ...(await ownFindings(run, "b"))],
    };
    const sections = verification.sections();
    const isRead = sections.every(({ unreadableInA, unreadableInB }) => unreadableInA + unreadableInB === 0);
    // Nothing was compared of these: that they are equal would be no evidence.
    if (unmet !== undefined && isRead) requireTenants(unmet, "neither store has a");
    if (await areOne(run))
      options.onWarning?.("A and B are the same database, by two names: it was compared with itself");
    if (options.search !== undefined) progress.tell("searching");
    const searches =
      options.search === undefined ? undefined : await compareSearches(run, options.search, paths, signal);
    if (searches?.results.length === 0) options.onWarning?.("no embedding was found to search for");
    const judged = judge(findings, strict);
    const headers = { a: readings.a.header as StoreHeader, b: readings.b.header as StoreHeader };
    const seconds = (performance.now() - started) / 1000;
    const identical = sections.every((section) => isSame(section) && section.byMeaning === 0);
    const isEqual = strict ? identical : sections.every(isSame);
    const result: VerifyResult = {
      a: readings.a.name,
      b: readings.b.name,
      headers,
      identical,
      equal:
        isEqual &&
        judged.every(({ counts }) => !counts) &&
        (searches?.results ?? []).every(({ queries, same }) => queries === same),
      sections,
      findings: judged,
      leftOut: { a: readings.a.leftOut, b: readings.b.leftOut },
      notes: readings.a.notes,
      ...(sample === undefined ? {} : { sample }),
      ...(searches === undefined ? {} : { searches }),
      started: new Date(Date.now() - seconds * 1000).toISOString(),
      ended: new Date().toISOString(),
      seconds,
      versions: {
        tool: TOOL_VERSIONS,
        ...(headers.a.versions === undefined ? {} : { a: headers.a.versions }),
        ...(headers.b.versions === undefined ? {} : { b: headers.b.versions }),
      },
    };
    if (options.onDifferences !== undefined)
      for await (const chunk of verification.differences()) await options.onDifferences(chunk);
    return result;
  } catch (error) {
    if (error instanceof OrderError) throw error;
    if (options.signal?.aborted) throw interruption(options.signal);
    // What ended a run says more than that its reader was left.
    throw failureOf(readings) ?? toStorageError(error);
  } finally {
    leaving.abort();
    await Promise.allSettled([readings.a.end(), readings.b.end()]);
    await verification.close();
    await references.a.close();
    await references.b.close();
  }
}

/** With the letter of its store, as warnings have it. */
function failureOf(readings: Readonly<Record<Side, Reading>>): StorageError | undefined {
  const side = readings.a.failure === undefined ? "b" : "a";
  const { failure } = readings[side];
  if (failure !== undefined) failure.message = `${side.toUpperCase()}: ${failure.message}`;
  return failure;
}

function emitted(transforms: readonly Transform[]): string[] {
  return transforms.flatMap(({ emits }) => [...(emits?.to ?? [])]);
}

/** Whether a store gives its records in the order of their keys, and could be read again if it did not. */
function isOrdered({ stores, list }: Run, side: Side): boolean {
  const store = stores[side];
  return !isSource(store) && backendOf(store, list).order === "key" && isRereadable(stores.a) && isRereadable(stores.b);
}

function isSame(section: SectionVerification): boolean {
  const { onlyInA, onlyInB, different, unreadableInA, unreadableInB } = section;
  return onlyInA + onlyInB + different + unreadableInA + unreadableInB === 0;
}

function located(store: ImportOptions["from"]): string | AnyLocation | Source {
  if (typeof store === "string" || isSource(store)) return store;
  return "type" in store ? store : streamLocation(store);
}

function refuseSame({ a, b }: Stores, list: readonly Backend[]): void {
  if (isSource(a) || isSource(b)) return;
  const isStdin = (store: AnyLocation): boolean => store.type === "document" && storeName(store, list) === "-";
  if (isStdin(a) && isStdin(b)) throw new StorageError("E_USAGE", "both stores are standard input");
  if (sameStore(a, b, list))
    throw new StorageError("E_USAGE", "A and B are the same store", {
      hint: "Name the original and its copy.",
    });
}

function interruption({ reason }: AbortSignal): StorageError {
  if (reason instanceof StorageError) return reason;
  return new StorageError("E_INTERRUPTED", "the run was interrupted", {}, reason);
}

function sampleSize({ sample }: VerifyOptions): number | undefined {
  if (sample === undefined || (Number.isSafeInteger(sample) && sample > 0)) return sample;
  throw new StorageError("E_USAGE", "the sample is no positive integer");
}

export type { Difference, Finding, Searches, SearchResult, SectionVerification, StoreFinding, VerifyOptions };
