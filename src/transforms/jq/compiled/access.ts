/** Reading, setting and deleting at a path, as jq's getpath, setpath and delpaths. */
import { numberOf, Undecided } from "./numbers.js";
import { isNumber, type JsonArray, JsonObject, typeOf, type Value } from "./values.js";

/** The expression fails at this value. The message tells types, never values. */
export class JqError extends Error {}

/** A path; the last key first. */
export interface Path {
  readonly parent: Path | undefined;
  readonly key: Value;
}

/** Beyond these jq has rules of its own. */
const LARGEST_INDEX = 1000000;

function arrayIndex(key: Value): number {
  const index = numberOf(key as number);
  if (!Number.isInteger(index) || Math.abs(index) > LARGEST_INDEX) throw new Undecided();
  return index;
}

/** `.[key]` */
export function getIndex(value: Value, key: Value): Value {
  if (typeof key === "string") {
    if (value instanceof JsonObject) return value.get(key) ?? null;
    if (value === null) return null;
  } else if (isNumber(key)) {
    if (value === null) return null;
    if (Array.isArray(value)) {
      const index = arrayIndex(key);
      return (value[index < 0 ? index + value.length : index] as Value | undefined) ?? null;
    }
  } else if (typeof key === "object") {
    // Indices of a part, slices: seldom, and full of rules.
    throw new Undecided();
  }
  throw new JqError(`Cannot index ${typeOf(value)} with ${typeOf(key)}`);
}

function setIndex(value: Value, key: Value, member: Value): Value {
  if (typeof key === "string") {
    if (value instanceof JsonObject) return value.with(key, member);
    if (value === null) return new JsonObject(new Map([[key, member]]));
  } else if (isNumber(key)) {
    if (value === null || Array.isArray(value)) return setItem((value ?? []) as JsonArray, arrayIndex(key), member);
  } else throw new Undecided();
  throw new JqError(`Cannot index ${typeOf(value)} with ${typeOf(key)}`);
}

function setItem(array: JsonArray, index: number, member: Value): Value {
  const at = index < 0 ? index + array.length : index;
  if (at < 0) throw new JqError("Out of bounds negative array index");
  const items = array.slice();
  while (items.length < at) items.push(null);
  items[at] = member;
  return items;
}

function keysOf(path: Path | undefined): Value[] {
  const keys: Value[] = [];
  for (let step = path; step !== undefined; step = step.parent) keys.push(step.key);
  return keys.reverse();
}

export function getPath(value: Value, path: Path | undefined): Value {
  let found = value;
  for (const key of keysOf(path)) found = getIndex(found, key);
  return found;
}

export function setPath(value: Value, path: Path | undefined, member: Value): Value {
  return updateAt(value, keysOf(path), 0, () => member);
}

/** The value with what is at `keys` replaced by what `update` makes of it. */
export function updateAt(value: Value, keys: readonly Value[], at: number, update: (old: Value) => Value): Value {
  if (at === keys.length) return update(value);
  const key = keys[at] as Value;
  const old = getIndex(value, key);
  const member = updateAt(old, keys, at + 1, update);
  // The same value again leaves the container, and its text, as it is.
  const isThere = old !== null || (value instanceof JsonObject && value.get(key as string) !== undefined);
  return Object.is(member, old) && isThere ? value : setIndex(value, key, member);
}

interface Deletions {
  /** Deleted itself. */
  gone: boolean;
  readonly below: Map<Value, Deletions>;
}

export function deletePaths(value: Value, paths: readonly (Path | undefined)[]): Value {
  const root: Deletions = { gone: false, below: new Map() };
  for (const path of paths) {
    let node = root;
    for (const step of keysOf(path)) {
      const key: Value = isNumber(step) ? arrayIndex(step) : step;
      let next = node.below.get(key);
      if (next === undefined) {
        next = { gone: false, below: new Map() };
        node.below.set(key, next);
      }
      node = next;
    }
    node.gone = true;
  }
  return root.gone ? null : deleteBelow(value, root);
}

function deleteBelow(value: Value, { below }: Deletions): Value {
  if (below.size === 0 || value === null) return value;
  let result: Value = value;
  const gone: Value[] = [];
  for (const [key, deletions] of below) {
    if (deletions.gone) {
      gone.push(key);
      continue;
    }
    const old = getIndex(result, key);
    if (old === null) continue;
    const kept = deleteBelow(old, deletions);
    if (kept !== old) result = setIndex(result, key, kept);
  }
  return gone.length === 0 ? result : deleteKeys(result, gone);
}

function deleteKeys(value: Value, keys: readonly Value[]): Value {
  if (value instanceof JsonObject && keys.every((key) => typeof key === "string"))
    return value.without(keys as readonly string[]);
  if (Array.isArray(value) && keys.every((key) => typeof key === "number")) {
    const { length } = value as JsonArray;
    const gone = new Set(keys.map((key) => ((key as number) < 0 ? (key as number) + length : (key as number))));
    return (value as JsonArray).filter((_, index) => !gone.has(index));
  }
  throw new JqError(`Cannot delete a field of ${typeOf(value)}`);
}

/** Undefined where the access fails. */
export function attempted(access: () => Value): Value | undefined {
  try {
    return access();
  } catch (error) {
    if (error instanceof JqError) return undefined;
    throw error;
  }
}

export function isIterable(value: Value): boolean {
  return value instanceof JsonObject || Array.isArray(value);
}

/** `.[]` */
export function forEachMember(value: Value, visit: (member: Value, key: Value) => void): void {
  if (Array.isArray(value)) {
    const array = value as JsonArray;
    for (let index = 0; index < array.length; index++) visit(array[index] as Value, index);
  } else if (value instanceof JsonObject) {
    for (const [key, member] of value.map()) visit(member, key);
  } else throw new JqError(`Cannot iterate over ${typeOf(value)}`);
}

/** `.[from:to]` */
export function getSlice(value: Value, from: Value, to: Value): Value {
  if (value === null) return null;
  if (typeof value !== "string" && !Array.isArray(value))
    throw new JqError(`Cannot index ${typeOf(value)} with object`);
  if ((from !== null && !isNumber(from)) || (to !== null && !isNumber(to)))
    throw new JqError("Start and end indices of an array slice must be numbers");
  const items = typeof value === "string" ? [...value] : (value as JsonArray);
  const [start, end] = sliceBounds(items.length, from, to);
  const part = items.slice(start, end);
  return typeof value === "string" ? part.join("") : part;
}

function sliceBounds(length: number, from: Value, to: Value): [number, number] {
  const bound = (given: Value, missing: number): number => {
    const number = given === null ? missing : numberOf(given as number);
    if (!Number.isInteger(number)) throw new Undecided();
    return Math.min(length, Math.max(0, number < 0 ? number + length : number));
  };
  const start = bound(from, 0);
  return [start, Math.max(start, bound(to, length))];
}
