/** Functions of values that jq's builtins are made of (builtins.ts). */
import { forEachMember, getIndex, isIterable, JqError } from "./access.js";
import { literalNumber, numberOf, Undecided } from "./numbers.js";
import { toText } from "./operators.js";
import {
  compareValues,
  equalValues,
  isNumber,
  type JsonArray,
  JsonObject,
  sortedKeys,
  typeOf,
  type Value,
} from "./values.js";

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

export function texts(value: Value, argument: Value, name: string): [string, string] {
  if (typeof value === "string" && typeof argument === "string") return [value, argument];
  throw new JqError(`${name}() requires string inputs`);
}

export function arrayOf(value: Value, verb: string): JsonArray {
  if (Array.isArray(value)) return value as JsonArray;
  throw new JqError(`${typeOf(value)} cannot be ${verb}, as it is not an array`);
}

export function length(value: Value): Value {
  if (value === null) return 0;
  if (typeof value === "string") return codePointCount(value);
  if (isNumber(value)) return Math.abs(numberOf(value));
  if (value instanceof JsonObject) return value.map().size;
  if (Array.isArray(value)) return value.length;
  throw new JqError("boolean has no length");
}

function codePointCount(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) === 0xdc00) count--;
  return count;
}

export function keys(value: Value): Value {
  if (value instanceof JsonObject) return sortedKeys(value);
  if (Array.isArray(value)) return value.map((_, index) => index);
  throw new JqError(`${typeOf(value)} has no keys`);
}

export function has(value: Value, key: Value): Value {
  if (value instanceof JsonObject && typeof key === "string") return value.get(key) !== undefined;
  if (Array.isArray(value) && isNumber(key)) {
    const index = numberOf(key);
    if (!Number.isInteger(index)) throw new Undecided();
    return index >= 0 && index < value.length;
  }
  if (value === null) throw new Undecided();
  throw new JqError(`Cannot check whether ${typeOf(value)} has a ${typeOf(key)} key`);
}

export function toNumber(value: Value): Value {
  if (isNumber(value)) return value;
  if (typeof value !== "string") throw new JqError(`${typeOf(value)} cannot be parsed as a number`);
  // jq's own parser takes "nan", blanks and more.
  if (!JSON_NUMBER.test(value)) throw new Undecided();
  return literalNumber(value);
}

export function contains(value: Value, part: Value): boolean {
  if (value instanceof JsonObject && part instanceof JsonObject) {
    for (const [key, member] of part.map()) {
      const own = value.get(key);
      if (own === undefined || !contains(own, member)) return false;
    }
    return true;
  }
  if (Array.isArray(value) && Array.isArray(part))
    return (part as JsonArray).every((item) => (value as JsonArray).some((own) => contains(own, item)));
  if (typeof value === "string" && typeof part === "string") {
    if (value.includes("\0") || part.includes("\0")) throw new Undecided();
    return value.includes(part);
  }
  return typeOf(value) === typeOf(part) && equalValues(value, part);
}

export function join(value: Value, separator: Value): Value {
  if (typeof separator !== "string") throw new Undecided();
  const parts: string[] = [];
  forEachMember(value, (item) => {
    if (typeof item === "object" && item !== null && !isNumber(item))
      throw new JqError(`string and ${typeOf(item)} cannot be added`);
    parts.push(item === null ? "" : toText(item));
  });
  return parts.join(separator);
}

export function toEntries(value: Value): Value {
  const entries: Value[] = [];
  if (!isIterable(value)) throw new JqError(`${typeOf(value)} has no keys`);
  forEachMember(value, (member, key) => {
    const entry = new Map<string, Value>().set("key", key).set("value", member);
    entries.push(new JsonObject(entry));
  });
  return entries;
}

export function fromEntries(value: Value): Value {
  const members = new Map<string, Value>();
  forEachMember(value, (entry) => {
    const key = getIndex(entry, "key");
    const member = (entry as JsonObject | null)?.get("value");
    // Other spellings and key types.
    if (typeof key !== "string" || member === undefined || member === null || member === false) throw new Undecided();
    members.set(key, member);
  });
  return new JsonObject(members);
}

export function unique(value: Value): Value {
  const sorted = arrayOf(value, "grouped").slice().sort(compareValues);
  return sorted.filter((item, at) => at === 0 || !equalValues(sorted[at - 1] as Value, item));
}

export function mapAscii(pattern: RegExp, change: (text: string) => string) {
  return (value: Value): Value => {
    if (typeof value !== "string") throw new JqError("the input must be a string");
    return value.replace(pattern, change);
  };
}

export const trim =
  (isStart: boolean) =>
  (value: Value, part: Value): Value => {
    if (typeof value !== "string" || typeof part !== "string") return value;
    if (isStart) return value.startsWith(part) ? value.slice(part.length) : value;
    return value.endsWith(part) ? value.slice(0, value.length - part.length) : value;
  };
