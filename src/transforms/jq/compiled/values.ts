/** The JSON values that a program works on. They are never changed: an update makes a new container. */
import { compareNumbers, formatNumber, NumberText } from "./numbers.js";

export type Value = null | boolean | string | number | NumberText | JsonArray | JsonObject;

/** An array; `text`: the JSON text that it was read from. */
export type JsonArray = readonly Value[] & { text?: string };

/** An object, in the order of its keys. */
export class JsonObject {
  constructor(
    protected members: ReadonlyMap<string, Value> | undefined,
    /** The JSON text that it was read from. */
    readonly text?: string,
  ) {}

  map(): ReadonlyMap<string, Value> {
    return this.members as ReadonlyMap<string, Value>;
  }

  get(key: string): Value | undefined {
    return this.map().get(key);
  }

  with(key: string, value: Value): JsonObject {
    return new JsonObject(new Map(this.map()).set(key, value));
  }

  without(keys: readonly string[]): JsonObject {
    const members = new Map(this.map());
    let changed = false;
    for (const key of keys) changed = members.delete(key) || changed;
    return changed ? new JsonObject(members) : this;
  }
}

export type TypeName = "null" | "boolean" | "number" | "string" | "array" | "object";

export function typeOf(value: Value): TypeName {
  switch (typeof value) {
    case "string":
    case "number":
    case "boolean":
      return typeof value as TypeName;
    default:
      if (value === null) return "null";
      if (value instanceof NumberText) return "number";
      return value instanceof JsonObject ? "object" : "array";
  }
}

export function isNumber(value: Value): value is number | NumberText {
  return typeof value === "number" || value instanceof NumberText;
}

export function isTrue(value: Value): boolean {
  return value !== null && value !== false;
}

const RANK: Readonly<Record<TypeName, number>> = { null: 0, boolean: 1, number: 3, string: 4, array: 5, object: 6 };

function rank(value: Value): number {
  return value === true ? 2 : RANK[typeOf(value)];
}

/** By code point, as UTF-8 sorts. */
export function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return left >= 0xd800 && right >= 0xd800 ? lifted(left) - lifted(right) : left - right;
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all others. */
function lifted(unit: number): number {
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

export function sortedKeys(object: JsonObject): string[] {
  return [...object.map().keys()].sort(compareStrings);
}

/** jq's order of all values. */
export function compareValues(a: Value, b: Value): number {
  if (typeof a === "string" && typeof b === "string") return compareStrings(a, b);
  const difference = rank(a) - rank(b);
  if (difference !== 0) return difference;
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b);
  if (a instanceof JsonObject && b instanceof JsonObject) return compareObjects(a, b);
  if (Array.isArray(a) && Array.isArray(b)) return compareArrays(a, b);
  return 0;
}

function compareArrays(a: JsonArray, b: JsonArray): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compareValues(a[i] as Value, b[i] as Value);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareObjects(a: JsonObject, b: JsonObject): number {
  const keys = sortedKeys(a);
  const order = compareArrays(keys, sortedKeys(b));
  if (order !== 0) return order;
  for (const key of keys) {
    const found = compareValues(a.get(key) as Value, b.get(key) as Value);
    if (found !== 0) return found;
  }
  return 0;
}

export function equalValues(a: Value, b: Value): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return compareValues(a, b) === 0;
}

export function quote(text: string): string {
  const quoted = JSON.stringify(text);
  return quoted.includes("\x7f") ? quoted.replaceAll("\x7f", "\\u007f") : quoted;
}

/** Compact JSON as jq prints it. */
export function printValue(value: Value): string {
  return print(value, false);
}

/** The same, but what was read and not changed since has the text that it was read from. */
export function printKept(value: Value): string {
  return print(value, true);
}

function print(value: Value, kept: boolean): string {
  switch (typeof value) {
    case "string":
      return quote(value);
    case "number":
      return formatNumber(value);
    case "boolean":
      return value ? "true" : "false";
    default:
  }
  if (value === null) return "null";
  if (value instanceof NumberText) return kept ? value.source : value.text;
  if (kept && value.text !== undefined) return value.text;
  if (value instanceof JsonObject) {
    const parts: string[] = [];
    for (const [key, member] of value.map()) parts.push(`${quote(key)}:${print(member, kept)}`);
    return `{${parts.join(",")}}`;
  }
  return `[${value.map((item) => print(item, kept)).join(",")}]`;
}
