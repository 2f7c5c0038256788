/** What plugins get for json, beside two other parsers. PROPERTY_SEED repeats a run. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { parseJson } from "../../../src/codecs/json-values.js";
import { parseJsonText } from "../../../src/transforms/jq/compiled/json-parser.js";
import { JsonObject, type Value } from "../../../src/transforms/jq/compiled/values.js";

const seed = Number(process.env["PROPERTY_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** One of the spellings of a key: each character as it is, or escaped. */
function spell(key: string, escapes: readonly boolean[]): string {
  const units = Array.from({ length: key.length }, (_, at) => {
    const code = key.charCodeAt(at);
    const isFree = code >= 0x20 && code !== 0x22 && code !== 0x5c;
    return isFree && !escapes[at % escapes.length] ? key[at] : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return `"${units.join("")}"`;
}

const key = fc.constantFrom("a", "b", "ab", "\\", '"', "\\a", "a\n", "", "1", "0", "__proto__", "constructor", "é");
const { text } = fc.letrec<{ text: string; object: string }>((tie) => ({
  text: fc.oneof({ maxDepth: 3 }, fc.constantFrom("1", '"x\\\\"', "null", '"z\\":"'), tie("object")),
  object: fc
    .array(
      fc.tuple(key, fc.array(fc.boolean(), { minLength: 1, maxLength: 3 }), tie("text"), fc.constantFrom("", " ")),
      {
        maxLength: 6,
      },
    )
    .map(
      (members) =>
        `{${members.map(([name, escapes, value, blank]) => `${spell(name, escapes)}${blank}:${value}`).join(",")}}`,
    ),
}));

function plain(value: Value): unknown {
  if (value instanceof JsonObject)
    return Object.fromEntries([...value.map()].map(([name, member]) => [name, plain(member)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** Members in their order: what `toEqual` does not look at. */
const shown = (value: unknown): string =>
  JSON.stringify(value, (_key, one: unknown) =>
    typeof one === "object" && one !== null && !Array.isArray(one) ? Object.entries(one) : one,
  );

it("the last of keys that are the same counts, however each is spelt", () => {
  expect(parseJson('{"a":1,"\\u0061":2,"a":3}')).toEqual({ a: 3 });
  expect(parseJson('{"\\u0061":1,"b":0,"a":2,"\\u0061":3}')).toEqual({ a: 3, b: 0 });
  expect(Object.getOwnPropertyNames(parseJson('{"__proto__":1,"\\u005f_proto__":2}'))).toEqual(["__proto__"]);
});

it("agrees with jq's reader", () => {
  fc.assert(
    fc.property(text, (json) => {
      expect(shown(parseJson(json)), json).toBe(shown(plain(parseJsonText(json))));
    }),
    { seed, numRuns: 3000 },
  );
});
