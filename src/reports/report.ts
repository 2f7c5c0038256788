/** A run as a report: what docs/report.schema.json describes, and the page shows. */
import { hostname } from "node:os";
import type { KindResult, TransferResult } from "../api/results.js";
import type { StoreHeader } from "../sources/source.js";
import { TOOL_VERSIONS } from "../version.js";
import type { MemoryPoint, PhaseTime } from "./run-log.js";

/** The version of the form; it grows by keys only. */
export const REPORT_VERSION = 1;

export interface ReportStore {
  /** Never with a password. */
  readonly name: string;
  /** e.g. `sqlite`; of a document, the backend that its records come from. */
  readonly backend?: string;
  readonly versions?: Readonly<Record<string, string>>;
  readonly migrations?: readonly string[];
}

export interface ReportSection {
  readonly path: string;
  readonly label: string;
  readonly read: number;
  readonly new: number;
  readonly changed: number;
  readonly unchanged: number;
  readonly skipped: number;
  readonly dropped: number;
  readonly cascaded: number;
  readonly rejected: number;
  /** Rows of the target that were removed; there in a run that prunes. */
  readonly pruned?: number;
  readonly valueBytes: number;
  readonly digest?: string;
}

/** Of two stores that were compared, A being the report's `from`. */
export interface ReportComparison {
  readonly sections: readonly ComparedSection[];
  /** The first of each section; no values but those of keys. */
  readonly differences: readonly ReportDifference[];
  /** Fields that one side does not hold, by section, a line each. */
  readonly notCompared: readonly string[];
  /** What is wrong with either store by itself. */
  readonly findings: readonly string[];
  readonly sample?: { readonly size: number; readonly seed: string };
  readonly searches?: ReportSearches;
}

export interface ReportDifference {
  readonly section: string;
  readonly key: string;
  readonly difference: string;
  readonly fields?: readonly string[];
  readonly code?: string;
}

/** Embeddings that were searched for in both stores. */
export interface ReportSearches {
  readonly neighbours: number;
  readonly seed: string;
  readonly results: readonly {
    readonly path: string;
    readonly queries: number;
    readonly same: number;
    /** What indexes find of the exact answers, from 0 to 1. */
    readonly recall: { readonly a?: number | undefined; readonly b?: number | undefined };
  }[];
}

export interface ComparedSection {
  readonly path: string;
  readonly identical: number;
  readonly byMeaning: number;
  readonly different: number;
  readonly onlyInA: number;
  readonly onlyInB: number;
  readonly unreadableInA: number;
  readonly unreadableInB: number;
}

export interface ReportError {
  readonly code: string;
  readonly exitStatus: number;
  readonly message: string;
  readonly section?: string;
  readonly key?: string;
  readonly field?: string;
  readonly causes: readonly string[];
  readonly hint?: string;
  readonly outcomeUnknown?: true;
  readonly unfinishedRun?: number;
}

export interface Report {
  readonly report: "llmspell-storage";
  readonly version: number;
  readonly command: string;
  /** `rejected`: done, but for records that were rejected. `different`: stores that were compared are not the same. */
  readonly status: "done" | "dry run" | "rejected" | "different" | "failed";
  readonly host: string;
  readonly tool: Readonly<Record<string, string>>;
  readonly from: ReportStore;
  readonly to: ReportStore;
  /** UTC, ISO 8601. */
  readonly started: string;
  readonly ended: string;
  readonly seconds: number;
  readonly recordsPerSecond: number;
  readonly bytesPerSecond: number;
  /** What the run was to do: sections, tenants, transforms; as shown to people. */
  readonly settings: Readonly<Record<string, string>>;
  /** Undefined where the run failed. */
  readonly totals?: Omit<ReportSection, "path" | "label">;
  readonly sections: readonly ReportSection[];
  /** Of a verification, which moves no records. */
  readonly comparison?: ReportComparison;
  /** Of the document written, before compression. */
  readonly documentBytes?: number;
  readonly notes: readonly string[];
  readonly leftOut: readonly string[];
  readonly warnings: readonly string[];
  readonly error?: ReportError;
  readonly phases: readonly PhaseTime[];
  readonly memory: readonly MemoryPoint[];
}

/** What is known of a run however it ends. */
export interface RunFacts {
  readonly command: string;
  readonly from: string;
  readonly to: string;
  readonly started: Date;
  readonly settings: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  readonly phases: readonly PhaseTime[];
  readonly memory: readonly MemoryPoint[];
}

/** Of a run that ended with a result; `error`: E_REJECTED. */
export function reportOf(facts: RunFacts, result: TransferResult, error: ReportError | undefined): Report {
  const { versions, header, totals, seconds } = result;
  const digests = sectionDigests(result);
  return {
    ...head(facts),
    status: error !== undefined ? "rejected" : result.dryRun ? "dry run" : "done",
    from: {
      name: result.source === "-" ? facts.from : result.source,
      backend: header.backend,
      ...(versions.source === undefined ? {} : { versions: versions.source }),
      migrations: header.migrations,
    },
    to: {
      name: result.target === "-" ? facts.to : result.target,
      ...(versions.target === undefined ? {} : { versions: versions.target }),
      ...(versions.targetMigrations === undefined ? {} : { migrations: versions.targetMigrations }),
    },
    started: result.started,
    ended: result.ended,
    seconds: Math.round(seconds * 1000) / 1000,
    recordsPerSecond: perSecond(totals.read, seconds),
    bytesPerSecond: perSecond(totals.valueBytes, seconds),
    totals: counts(totals),
    sections: result.kinds.map((kind) => {
      const digest = digests.get(kind.path);
      return { path: kind.path, label: kind.label, ...counts(kind), ...(digest === undefined ? {} : { digest }) };
    }),
    ...(result.bytes === undefined ? {} : { documentBytes: result.bytes }),
    notes: result.notes,
    leftOut: result.leftOut,
    ...(error === undefined ? {} : { error }),
  };
}

/** Of a run that failed: nothing was written. */
export function failureReport(facts: RunFacts, error: ReportError): Report {
  const ended = new Date();
  const seconds = (ended.getTime() - facts.started.getTime()) / 1000;
  return {
    ...head(facts),
    status: error.code === "E_DIFFERENT" ? "different" : "failed",
    from: { name: facts.from },
    to: { name: facts.to },
    started: facts.started.toISOString(),
    ended: ended.toISOString(),
    seconds,
    recordsPerSecond: 0,
    bytesPerSecond: 0,
    sections: [],
    notes: [],
    leftOut: [],
    error,
  };
}

/** What a verification found. */
export interface ComparisonResult {
  readonly a: string;
  readonly b: string;
  readonly headers: Readonly<Record<"a" | "b", StoreHeader>>;
  readonly sections: readonly (ComparedSection & {
    readonly notHeld: readonly string[];
    readonly first: readonly ReportDifference[];
  })[];
  readonly findings: readonly { readonly store: "a" | "b"; readonly message: string; readonly counts: boolean }[];
  readonly sample?: ReportComparison["sample"];
  readonly searches?: ReportSearches;
  readonly leftOut: Readonly<Record<"a" | "b", readonly string[]>>;
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** Of two stores that were compared; `error`: E_DIFFERENT. */
export function comparisonReport(facts: RunFacts, result: ComparisonResult, error: ReportError | undefined): Report {
  const { a, b, headers, seconds, sample, searches } = result;
  const side = (name: "a" | "b", text: string): string => `${name.toUpperCase()}: ${text}`;
  const store = (name: string, { backend, migrations, versions }: StoreHeader): ReportStore => {
    return { name, backend, migrations, ...(versions === undefined ? {} : { versions }) };
  };
  return {
    ...head(facts),
    status: error === undefined ? "done" : "different",
    from: store(a, headers.a),
    to: store(b, headers.b),
    started: facts.started.toISOString(),
    ended: new Date(facts.started.getTime() + seconds * 1000).toISOString(),
    seconds: Math.round(seconds * 1000) / 1000,
    recordsPerSecond: perSecond(comparedRecords(result.sections), seconds),
    bytesPerSecond: 0,
    sections: [],
    comparison: {
      sections: result.sections.map(
        ({ path, identical, byMeaning, different, onlyInA, onlyInB, unreadableInA, unreadableInB }) => {
          return { path, identical, byMeaning, different, onlyInA, onlyInB, unreadableInA, unreadableInB };
        },
      ),
      differences: result.sections.flatMap(({ first }) => first.map(withoutValues)),
      notCompared: result.sections.flatMap(({ path, notHeld }) =>
        notHeld.length === 0 ? [] : [`${path}: ${notHeld.join(", ")}`],
      ),
      findings: result.findings.map(({ store: name, message, counts: isNew }) =>
        side(name, name === "a" || isNew ? message : `${message} (A has that, too)`),
      ),
      ...(sample === undefined ? {} : { sample }),
      ...(searches === undefined ? {} : { searches }),
    },
    notes: result.notes,
    leftOut: (["a", "b"] as const).flatMap((name) => result.leftOut[name].map((line) => side(name, line))),
    ...(error === undefined ? {} : { error }),
  };
}

/** Pairs, and records that are on one side only. */
export function comparedRecords(sections: readonly ComparedSection[]): number {
  return sections.reduce((sum, section) => {
    const { identical, byMeaning, different, onlyInA, onlyInB, unreadableInA, unreadableInB } = section;
    return sum + identical + byMeaning + different + onlyInA + onlyInB + unreadableInA + unreadableInB;
  }, 0);
}

/** A report is for filing: values that --show-values shows are not in it. */
function withoutValues({ section, key, difference, fields, code }: ReportDifference): ReportDifference {
  return {
    section,
    key,
    difference,
    ...(fields === undefined ? {} : { fields }),
    ...(code === undefined ? {} : { code }),
  };
}

function head({ command, settings, warnings, phases, memory }: RunFacts) {
  const constant = { report: "llmspell-storage", version: REPORT_VERSION } as const;
  return { ...constant, command, host: hostname(), tool: TOOL_VERSIONS, settings, warnings, phases, memory };
}

function counts(kind: Omit<KindResult, "path" | "label">): Omit<ReportSection, "path" | "label"> {
  const { read, inserted, updated, unchanged, skipped, dropped, cascaded, rejected, pruned, valueBytes } = kind;
  const changed = updated - unchanged;
  const removed = pruned === undefined ? {} : { pruned };
  return { read, new: inserted, changed, unchanged, skipped, dropped, cascaded, rejected, ...removed, valueBytes };
}

/** Where the run was asked for digests: one for each section whose records all arrived. */
function sectionDigests(result: TransferResult): ReadonlyMap<string, string> {
  const { digests } = result as { readonly digests?: { readonly sections?: readonly SectionDigest[] } };
  return new Map((digests?.sections ?? []).flatMap(({ path, digest }) => (digest ? [[path, digest]] : [])));
}

interface SectionDigest {
  readonly path: string;
  readonly digest?: string;
}

function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? Math.round(count / seconds) : 0;
}
