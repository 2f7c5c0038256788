/** Gives what jq passed on the text that it had before: jq prints numbers and strings in its own way. */
import { NumberText, Undecided } from "../compiled/numbers.js";
import { JsonObject, printValue, type Value } from "../compiled/values.js";

/**
 * `output` with the values of `source` where they are the same. `identity` is what jq made of `source` without doing anything
 * to it: where the output is equal to that, at the same place, it is the source's value; a number that moved is found by its
 * text, which no calculation gives (unless it gives the very same number).
 */
export function restoreTexts(output: Value, identity: Value, source: Value): Value {
  let numbers: ReadonlyMap<string, NumberText> | undefined;
  const restore = (value: Value, same: Value | undefined, from: Value | undefined): Value => {
    if (same !== undefined && from !== undefined && isSameText(value, same)) return from;
    if (value instanceof JsonObject) {
      const members = new Map<string, Value>();
      const before = same instanceof JsonObject && from instanceof JsonObject ? { same, from } : undefined;
      for (const [key, member] of value.map())
        members.set(key, restore(member, before?.same.get(key), before?.from.get(key)));
      return new JsonObject(members);
    }
    if (Array.isArray(value)) {
      const before = Array.isArray(same) && Array.isArray(from) ? { same, from } : undefined;
      return (value as readonly Value[]).map((item, at) => restore(item, before?.same[at], before?.from[at]));
    }
    if (!(value instanceof NumberText)) return value;
    numbers ??= numbersOf(source);
    return numbers.get(value.source) ?? value;
  };
  return restore(output, identity, source);
}

function isSameText(value: Value, other: Value): boolean {
  if (typeof value !== "object" || value === null) return value === other;
  if (value instanceof NumberText) return other instanceof NumberText && value.source === other.source;
  // Both were read from what jq printed.
  return typeof other === "object" && other !== null && "text" in other && value.text === other.text;
}

/** The numbers of a value that jq prints differently, by how it prints them; not those that it prints alike. */
function numbersOf(source: Value): ReadonlyMap<string, NumberText> {
  const numbers = new Map<string, NumberText>();
  const ambiguous = new Set<string>();
  const visit = (value: Value): void => {
    if (value instanceof NumberText) {
      const text = canonical(value);
      if (text === undefined) return;
      const known = numbers.get(text);
      if (known !== undefined && known.source !== value.source) ambiguous.add(text);
      numbers.set(text, value);
    } else if (value instanceof JsonObject) for (const member of value.map().values()) visit(member);
    else if (Array.isArray(value)) for (const item of value as readonly Value[]) visit(item);
  };
  visit(source);
  for (const text of ambiguous) numbers.delete(text);
  return numbers;
}

function canonical(value: NumberText): string | undefined {
  try {
    return printValue(value);
  } catch (error) {
    if (error instanceof Undecided) return undefined;
    throw error;
  }
}
