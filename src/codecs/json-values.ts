/** JSON text as JavaScript values and back, losing no digit of a number that is not touched. */
import { randomUUID } from "node:crypto";

// TypeScript's library does not know them yet (Node 22 has them).
interface JsonWithSource {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
  parse(text: string, reviver: Reviver): unknown;
}
type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
const json = JSON as unknown as JsonWithSource;

/** No number without so many digits, or an exponent, is changed by a double. */
const PERHAPS_INEXACT = /[\d.]{16}|\d[eE]/;
const INTEGER = /^-?\d+$/;

/** The value: numbers, where a double is exact; else bigint for an integer, and JSON.rawJSON for a fraction. */
export function parseJson(text: string): unknown {
  if (!PERHAPS_INEXACT.test(text)) return parse(text);
  return parse(text, (_key, value, { source }) => {
    if (typeof value !== "number" || source === undefined || isExact(value, source)) return value;
    return INTEGER.test(source) ? BigInt(source) : json.rawJSON(source);
  });
}

/** The value with every number as it is written. */
function parseSources(text: string): unknown {
  return parse(text, (_key, value, { source }) =>
    typeof value === "number" && source !== undefined ? json.rawJSON(source) : value,
  );
}

/**
 * JSON.parse, for texts that have an escape in a key as well. V8 13.6 (Node 24) gives such a key the name of one in an object
 * that it has seen before, when that begins as the key is written: after `{"\\":1}`, `{"\"":1}` has the key `\`. So in such a
 * text all keys are given names without escapes while it parses, each its own: of a key that stands several times, in whatever
 * spelling, the last counts.
 */
function parse(text: string, reviver?: Reviver): unknown {
  if (!text.includes("\\") || !hasEscapedKey(text)) return parseNative(text, reviver);
  const keys: string[] = [];
  const mark = absentFrom(text);
  const renamed = renameKeys(text, (token) => `"${mark}${keys.push(JSON.parse(token) as string) - 1}"`);
  return withKeys(parseNative(renamed, reviver), mark, keys);
}

function absentFrom(text: string): string {
  const mark = randomUUID();
  return text.includes(mark) ? absentFrom(text) : mark;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = /\s*:/y;

function hasEscapedKey(text: string): boolean {
  for (const { start, end } of keysOf(text)) if (text.slice(start, end).includes("\\")) return true;
  return false;
}

/** The text with other tokens for its keys. */
function renameKeys(text: string, rename: (token: string) => string): string {
  let renamed = "";
  let done = 0;
  for (const { start, end } of keysOf(text)) {
    renamed += text.slice(done, start) + rename(text.slice(start, end));
    done = end;
  }
  return renamed + text.slice(done);
}

/** Where the keys of valid JSON stand, with their quotes. */
function* keysOf(text: string): Generator<{ readonly start: number; readonly end: number }> {
  for (let start = text.indexOf('"'); start !== -1; ) {
    let end = start + 1;
    for (; end < text.length && text.charCodeAt(end) !== QUOTE; end++) if (text.charCodeAt(end) === BACKSLASH) end++;
    end++;
    COLON.lastIndex = end;
    if (COLON.test(text)) yield { start, end };
    start = text.indexOf('"', end);
  }
}

function parseNative(text: string, reviver?: Reviver): unknown {
  return reviver === undefined ? JSON.parse(text) : json.parse(text, reviver);
}

/** The value with `keys` instead of the mark and the number of each. */
function withKeys(value: unknown, mark: string, keys: readonly string[]): unknown {
  if (typeof value !== "object" || value === null || json.isRawJSON(value)) return value;
  if (Array.isArray(value)) return value.map((item) => withKeys(item, mark, keys));
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [keys[Number(key.slice(mark.length))], withKeys(member, mark, keys)]),
  );
}

function isExact(value: number, source: string): boolean {
  const text = Object.is(value, -0) ? "-0" : String(value);
  return text === source || (Number.isFinite(value) && normalized(text) === normalized(source));
}

/** Sign, digits without zeros around them, and the exponent of the last one: the same for the same number. */
function normalized(text: string): string {
  const [, sign, whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const kept = digits.replace(/0+$/, "");
  return kept === ""
    ? `${sign}0`
    : `${sign}${kept}e${Number(exponent) - fraction.length + digits.length - kept.length}`;
}

/**
 * The text of a value that was made from `original` (JSON text), or of a new one: as JSON.stringify has it, but numbers that
 * stand where they stood keep their text. Undefined for what JSON has no text for. Throws a TypeError for NaN and Infinity.
 */
export function printJson(value: unknown, original?: string): string | undefined {
  return print(value, original === undefined ? undefined : parseSources(original));
}

function print(value: unknown, before: unknown): string | undefined {
  switch (typeof value) {
    case "number":
      if (!Number.isFinite(value)) throw new TypeError("JSON has no NaN and no Infinity");
      if (json.isRawJSON(before) && Object.is(Number(before.rawJSON), value)) return before.rawJSON;
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return String(value);
    case "string":
    case "boolean":
      return JSON.stringify(value);
    case "object":
      return value === null ? "null" : printObject(value, before);
    default:
      return undefined;
  }
}

function printObject(value: object, before: unknown): string | undefined {
  if (json.isRawJSON(value)) return value.rawJSON;
  if ("toJSON" in value && typeof value.toJSON === "function") return print(value.toJSON(), undefined);
  if (Array.isArray(value)) {
    const old = Array.isArray(before) ? before : [];
    return `[${Array.from(value, (one, at) => print(one, old[at]) ?? "null").join(",")}]`;
  }
  const members: string[] = [];
  for (const [key, one] of Object.entries(value)) {
    const old =
      typeof before === "object" && before !== null && Object.hasOwn(before, key)
        ? (before as Record<string, unknown>)[key]
        : undefined;
    const text = print(one, old);
    if (text !== undefined) members.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${members.join(",")}}`;
}
