/** Accounts for every record of a run: it arrived identically, or it was reported. Anything else is a silent difference. */
import { fieldIndex } from "../../src/catalog/index.js";
import { describeKey } from "../../src/records/record-key.js";
import type { Rejection } from "../../src/records/run-context.js";
import { type MemoryRecord, tokensOf } from "./memory-store.js";

export interface Accounts {
  identical: number;
  values: number;
  /** Rejected records by code. */
  readonly rejected: Map<string, number>;
  /** One line each: what differs without having been reported, or was reported without its whereabouts. */
  readonly silent: string[];
}

export function newAccounts(): Accounts {
  return { identical: 0, values: 0, rejected: new Map(), silent: [] };
}

/** `path key`, as messages name a record. */
export function nameOf(record: MemoryRecord): string {
  return `${record.kind.path} ${describeKey(record.kind, (field) => record.values[field] ?? undefined)}`;
}

/** The key's very bytes: names of long keys are cut. */
function identityOf(record: MemoryRecord): string {
  const key = record.kind.key.map((name) => record.values[fieldIndex(record.kind, name)]?.toString("hex"));
  return `${record.kind.path} ${key.join(" ")}`;
}

/** Adds what became of `expected`. `actual` is what arrived; `rejections` what the run reported. */
export function account(
  accounts: Accounts,
  expected: readonly MemoryRecord[],
  actual: readonly MemoryRecord[],
  rejections: readonly Rejection[],
): void {
  const arrived = new Map(actual.map((record) => [identityOf(record), record]));
  const reported = new Map<string, Rejection>();
  for (const rejection of rejections) {
    const { code, context } = rejection.error;
    if (context.section === undefined || context.key === undefined) {
      accounts.silent.push(`${code} without its section or key: ${rejection.error.message}`);
    }
    accounts.rejected.set(code, (accounts.rejected.get(code) ?? 0) + 1);
    reported.set(`${context.section} ${context.key}`, rejection);
  }
  for (const record of expected) {
    const identity = identityOf(record);
    const other = arrived.get(identity);
    const rejection = reported.get(nameOf(record));
    arrived.delete(identity);
    if (other === undefined) {
      if (rejection === undefined) accounts.silent.push(`${nameOf(record)}: gone`);
      continue;
    }
    if (rejection !== undefined) accounts.silent.push(`${nameOf(record)}: reported, and there all the same`);
    const difference = differenceOf(record, other);
    if (difference === undefined) {
      accounts.identical++;
      accounts.values += record.values.length;
    } else accounts.silent.push(`${nameOf(record)}: ${difference}`);
  }
  for (const record of arrived.values()) accounts.silent.push(`${nameOf(record)}: nobody sent it`);
}

function differenceOf(a: MemoryRecord, b: MemoryRecord): string | undefined {
  const index = a.values.findIndex((value, i) => {
    const other = b.values[i] ?? null;
    return value === null || other === null ? value !== other : !value.equals(other);
  });
  if (index < 0) return undefined;
  const name = a.kind.fields[index]?.name as string;
  return `${name} was ${tokensOf(a)[name]?.slice(0, 300)}, is ${tokensOf(b)[name]?.slice(0, 300)}`;
}

/** Why PostgreSQL cannot hold the record, found without the tool's own checks; undefined when it can. */
export function unstorableInPostgres(
  record: MemoryRecord,
): "E_NUL_CHARACTER" | "E_LONE_SURROGATE" | "E_NOT_FINITE" | undefined {
  for (const [i, { type }] of record.kind.fields.entries()) {
    const value = record.values[i];
    if (!value) continue;
    if (type === "text" && value.includes(0)) return "E_NUL_CHARACTER";
    if (type === "json" || type === "text_array") {
      const strings = stringsOf(JSON.parse(value.toString("utf8")));
      if (strings.some((text) => text.includes("\0"))) return "E_NUL_CHARACTER";
      if (strings.some((text) => !text.isWellFormed())) return "E_LONE_SURROGATE";
    }
    if (type === "vector") {
      for (let at = 0; at < value.length; at += 4) if (!Number.isFinite(value.readFloatLE(at))) return "E_NOT_FINITE";
    }
  }
  return undefined;
}

/** Every string and key in a parsed json value. */
function stringsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(stringsOf);
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([key, member]) => [key, ...stringsOf(member)]);
}
