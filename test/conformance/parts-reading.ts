/** Parts as threads and workers read them, for tests: what they hold together, and tables whose keys are skewed. */
import { expect } from "vitest";
import { readRanges } from "../../src/backends/postgres/reading/parts/key-ranges.js";
import { type RecordKind, tenantIndex } from "../../src/catalog/index.js";
import type { Source } from "../../src/index.js";
import { catalog } from "../../src/llmspell/catalog/index.js";
import type { Part, PartTally } from "../../src/records/parts.js";
import type { RunContext, Selection } from "../../src/records/run-context.js";
import type { PartedSource } from "../../src/sources/source.js";
import { scaled } from "../helpers/scale.js";
import { lines } from "./expectations.js";
import { type MemoryRecord, recordsOf } from "./memory-store.js";

export interface PartOptions {
  readonly partBytes?: number;
  readonly snapshot?: object;
}
export type Open = (options: PartOptions) => Source;

export interface Read {
  readonly parts: readonly Part[];
  readonly records: readonly MemoryRecord[];
}

interface Reading {
  /** Done before each part. */
  readonly meanwhile?: () => Promise<void>;
  /** Ranges of keys, as for workers. */
  readonly byKeys?: boolean;
  /** Those of an earlier snapshot, rather than such as are planned now. */
  readonly parts?: readonly Part[];
}

/** As it stands in the ledger of a run, and comes out of it. */
function throughLedger({ path, rows }: Part): Part {
  if (rows === undefined) return { path };
  const found = readRanges(catalog.byPath.get(path) as RecordKind, JSON.stringify(rows));
  expect(found).toEqual(rows);
  return { path, rows: found as object };
}

/** Of a reading that ends at the first bad record. */
const strictContext = (): RunContext => ({
  signal: new AbortController().signal,
  async reject({ error }) {
    throw error;
  },
  isRejected: () => false,
  warn: () => {},
  leftOut: () => {},
});

/** The parts that come behind the first ones of a plan, as a run is planned on that ended while it was planned. */
export async function planBehind(
  open: Open,
  selection: Selection,
  partBytes: number,
  first: readonly Part[],
): Promise<Part[]> {
  const source = open({ partBytes });
  const context = strictContext();
  try {
    await source.open(context, selection);
    const planned = new Map(first.map((part) => [part.path, throughLedger(part).rows]));
    const parts: Part[] = [];
    for await (const part of (source.inParts as PartedSource).planKeys?.(selection, context, partBytes, planned) ?? [])
      parts.push(part);
    return parts;
  } finally {
    await source.close();
  }
}

/** Reads all parts with two other sources in turns, as threads would, and holds what came against the tables. */
export async function readInParts(
  open: Open,
  selection: Selection,
  partBytes: number,
  { meanwhile = async () => {}, byKeys = false, parts: given }: Reading = {},
): Promise<Read> {
  const tallies = new Map<string, { records: number; sum: number; squares: number }>();
  let tally: PartTally | undefined;
  const context: RunContext = {
    ...strictContext(),
    cameOfPart: (came) => {
      tally = came;
    },
  };
  const source = open({ partBytes });
  const others: Source[] = [];
  const records: MemoryRecord[] = [];
  const parts: Part[] = [];
  try {
    await source.open(context, selection);
    const inParts = source.inParts as PartedSource;
    await inParts.share(async (snapshot) => {
      for (const other of others.splice(0)) await other.close();
      for (const _ of [1, 2]) others.push(open({ snapshot }));
      for (const other of others) await other.open(context, selection);
    }, context);
    const planned = byKeys ? inParts.planKeys?.(selection, context, partBytes) : inParts.plan(selection, context);
    for await (const part of given ?? planned ?? []) {
      await meanwhile();
      const other = others[parts.length % 2] as Source;
      parts.push(part);
      tally = undefined;
      // It crosses threads as it is.
      const copy = byKeys ? throughLedger(part) : structuredClone(part);
      for await (const batch of other.read({ ...selection, part: copy }, context))
        records.push(...(await recordsOf(batch)));
      if (byKeys && part.rows === undefined) continue;
      const sum = tallies.get(part.path) ?? { records: 0, sum: 0, squares: 0 };
      const came = tally as PartTally | undefined;
      sum.records += came?.records ?? 0;
      sum.sum = (sum.sum + (came?.sum ?? 0)) | 0;
      sum.squares = (sum.squares + (came?.squares ?? 0)) | 0;
      tallies.set(part.path, sum);
    }
    if (given !== undefined) await inParts.adopt?.({ ...selection, paths: new Set(tallies.keys()) }, context);
    for (const [path, came] of tallies) await inParts.requireAll?.(path, came, selection);
  } finally {
    for (const other of others) await other.close();
    await source.close();
  }
  return { parts, records };
}

export function expectSame(one: readonly MemoryRecord[], other: readonly MemoryRecord[], inAnyOrder = false): void {
  const [first, second] = [lines(one), lines(other)];
  if (inAnyOrder) for (const list of [first, second]) list.sort();
  const at = first.findIndex((line, i) => line !== second[i]);
  expect(at === -1 ? undefined : [first[at], second[at]]).toBe(undefined);
  expect(second.length).toBe(first.length);
}

/** Of some records the tenants, and one that is nobody's. */
export function someTenants(records: readonly MemoryRecord[]): string[] {
  const all = records.map(({ kind, values }) => values[tenantIndex(kind)]?.toString("utf8") ?? "");
  return [...new Set(all.filter((tenant) => tenant !== ""))].filter((_, i) => i % 2 === 0).concat("nobody");
}

/** Tables whose keys are as skewed as they come: rows by tenant. */
export const SHAPES: readonly (readonly [name: string, tenantOf: string])[] = [
  ["one tenant", "'only'"],
  ["thousands of tenants", "'t' || n"],
  ["some hundreds of tenants", "'t' || (n % 300)"],
  ["one large tenant among small ones", "CASE WHEN n % 10 = 0 THEN 'ß' || n ELSE 'Large' END"],
];
export const ROWS = scaled(1500, 20000);

export function rowsOf(tenant: string, backend: "sqlite" | "postgresql"): string {
  const schema = backend === "sqlite" ? "" : "llmspell.";
  const numbers =
    backend === "sqlite"
      ? `(WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < ${ROWS}) SELECT n FROM r)`
      : `(SELECT n FROM generate_series(1, ${ROWS}) AS n) r`;
  const [hex, time] =
    backend === "sqlite"
      ? ["printf('%04x0000-0000-4000-8000-%012x', n * 40503 % 65521, n)", "1767225600 + n % 7"]
      : [
          "(lpad(to_hex(n * 40503 % 65521), 4, '0') || '0000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
          "to_timestamp(1767225600 + n % 7)",
        ];
  const value = backend === "sqlite" ? "CAST('v' AS BLOB)" : "'v'::bytea";
  return `
    INSERT INTO ${schema}kv_store (kv_id, tenant_id, key, value, metadata, created_at, updated_at)
      SELECT ${hex}, ${tenant}, 'k' || n, ${value}, '{}', ${time}, ${time} FROM ${numbers};
    INSERT INTO ${schema}sessions (tenant_id, session_id, session_data, status, created_at, last_accessed_at, artifact_count, updated_at)
      SELECT ${tenant}, ${hex}, '{}', 'active', ${time}, ${time}, 0, ${time} FROM ${numbers};
    INSERT INTO ${schema}workflow_states (tenant_id, workflow_id, workflow_name, state_data, current_step, status, last_updated, created_at)
      SELECT ${tenant}, 'w' || (n * 7919 % 10007) || CASE n % 3 WHEN 0 THEN 'É' WHEN 1 THEN 'e' ELSE 'Z' END, 'w', '{}', 0, 'running', ${time}, ${time} FROM ${numbers};`;
}
