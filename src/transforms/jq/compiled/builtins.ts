/** The functions that are compiled. */

import { type Ast, call, constantText, IDENTITY, pipe } from "../language/ast.js";
import { forEachMember, getIndex, isIterable, JqError } from "./access.js";
import { type Code, type Compiler, combine, combineTwo, firstOf, many, NotCompiled, single } from "./code.js";
import { literalNumber, numberOf, Undecided } from "./numbers.js";
import { add, splitString, toText } from "./operators.js";
import { compileTest } from "./regular-expressions.js";
import {
  compareValues,
  equalValues,
  isNumber,
  isTrue,
  type JsonArray,
  JsonObject,
  printValue,
  sortedKeys,
  typeOf,
  type Value,
} from "./values.js";

type Builtin = (args: readonly Ast[], compiler: Compiler) => Code;

const of = (make: (value: Value) => Value): Builtin => {
  const code = single(make);
  return () => code;
};

const of1 =
  (make: (value: Value, argument: Value) => Value): Builtin =>
  ([argument], compiler) =>
    combineTwo(
      single((value) => value),
      compiler.values(argument as Ast),
      make,
    );

const ofType = (test: (value: Value) => boolean): Builtin => {
  const code = many((value, _env, emit) => {
    if (test(value)) emit(value);
  });
  return () => code;
};

/** In terms of others. */
const defined =
  (define: (...args: Ast[]) => Ast): Builtin =>
  (args, compiler) =>
    compiler.values(define(...args));

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const ITERATE: Ast = { type: "iterate", of: IDENTITY };

function texts(value: Value, argument: Value, name: string): [string, string] {
  if (typeof value === "string" && typeof argument === "string") return [value, argument];
  throw new JqError(`${name}() requires string inputs`);
}

function arrayOf(value: Value, verb: string): JsonArray {
  if (Array.isArray(value)) return value as JsonArray;
  throw new JqError(`${typeOf(value)} cannot be ${verb}, as it is not an array`);
}

function length(value: Value): Value {
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

function keys(value: Value): Value {
  if (value instanceof JsonObject) return sortedKeys(value);
  if (Array.isArray(value)) return value.map((_, index) => index);
  throw new JqError(`${typeOf(value)} has no keys`);
}

function has(value: Value, key: Value): Value {
  if (value instanceof JsonObject && typeof key === "string") return value.get(key) !== undefined;
  if (Array.isArray(value) && isNumber(key)) {
    const index = numberOf(key);
    if (!Number.isInteger(index)) throw new Undecided();
    return index >= 0 && index < value.length;
  }
  if (value === null) throw new Undecided();
  throw new JqError(`Cannot check whether ${typeOf(value)} has a ${typeOf(key)} key`);
}

function toNumber(value: Value): Value {
  if (isNumber(value)) return value;
  if (typeof value !== "string") throw new JqError(`${typeOf(value)} cannot be parsed as a number`);
  // jq's own parser takes "nan", blanks and more.
  if (!JSON_NUMBER.test(value)) throw new Undecided();
  return literalNumber(value);
}

function contains(value: Value, part: Value): boolean {
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

function join(value: Value, separator: Value): Value {
  if (typeof separator !== "string") throw new Undecided();
  const parts: string[] = [];
  forEachMember(value, (item) => {
    if (typeof item === "object" && item !== null && !isNumber(item))
      throw new JqError(`string and ${typeOf(item)} cannot be added`);
    parts.push(item === null ? "" : toText(item));
  });
  return parts.join(separator);
}

function toEntries(value: Value): Value {
  const entries: Value[] = [];
  if (!isIterable(value)) throw new JqError(`${typeOf(value)} has no keys`);
  forEachMember(value, (member, key) => {
    const entry = new Map<string, Value>().set("key", key).set("value", member);
    entries.push(new JsonObject(entry));
  });
  return entries;
}

function fromEntries(value: Value): Value {
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

function unique(value: Value): Value {
  const sorted = arrayOf(value, "grouped").slice().sort(compareValues);
  return sorted.filter((item, at) => at === 0 || !equalValues(sorted[at - 1] as Value, item));
}

function mapAscii(pattern: RegExp, change: (text: string) => string) {
  return (value: Value): Value => {
    if (typeof value !== "string") throw new JqError("the input must be a string");
    return value.replace(pattern, change);
  };
}

function quantified(isAny: boolean): Builtin {
  return ([argument], compiler) => {
    const code = argument === undefined ? single((value) => value) : compiler.values(argument);
    const decisive = many((value, env, emit) =>
      forEachMember(value, (member) =>
        code.each(member, env, (output) => {
          if (isTrue(output) === isAny) emit(isAny);
        }),
      ),
    );
    return single((value, env) => firstOf(decisive, value, env) ?? !isAny);
  };
}

const test: Builtin = ([pattern, flags]) => {
  const expression = constantText(pattern as Ast);
  const options = flags === undefined ? "" : constantText(flags);
  const found = expression === undefined || options === undefined ? undefined : compileTest(expression, options);
  if (found === undefined) throw new NotCompiled("this regular expression");
  return single(found);
};

const trim =
  (isStart: boolean) =>
  (value: Value, part: Value): Value => {
    if (typeof value !== "string" || typeof part !== "string") return value;
    if (isStart) return value.startsWith(part) ? value.slice(part.length) : value;
    return value.endsWith(part) ? value.slice(0, value.length - part.length) : value;
  };

/** Functions that give their input or nothing. */
export const TYPE_FILTERS: Readonly<Record<string, (value: Value) => boolean>> = {
  values: (value) => value !== null,
  nulls: (value) => value === null,
  strings: (value) => typeof value === "string",
  numbers: isNumber,
  booleans: (value) => typeof value === "boolean",
  objects: (value) => value instanceof JsonObject,
  arrays: Array.isArray,
};

/** By name and number of arguments. */
export const BUILTINS: Readonly<Record<string, Builtin>> = {
  "empty/0": () => many(() => {}),
  "error/0": of(() => {
    throw new JqError("error");
  }),
  "error/1": ([message], compiler) => {
    const shown = constantText(message as Ast) ?? "error";
    const code = compiler.values(message as Ast);
    return many((value, env) =>
      code.each(value, env, () => {
        throw new JqError(shown);
      }),
    );
  },
  "not/0": of((value) => !isTrue(value)),
  "length/0": of(length),
  "keys/0": of(keys),
  "keys_unsorted/0": of((value) => (value instanceof JsonObject ? [...value.map().keys()] : keys(value))),
  "type/0": of(typeOf),
  "tostring/0": of(toText),
  "tonumber/0": of(toNumber),
  "tojson/0": of(printValue),
  "floor/0": of((value) => {
    if (!isNumber(value)) throw new JqError(`${typeOf(value)} number required`);
    return Math.floor(numberOf(value));
  }),
  "add/0": of((value) => {
    let sum: Value = null;
    forEachMember(value, (member) => {
      sum = add(sum, member);
    });
    return sum;
  }),
  "any/0": quantified(true),
  "any/1": quantified(true),
  "all/0": quantified(false),
  "all/1": quantified(false),
  "has/1": of1(has),
  "contains/1": of1((value, part) => {
    const known = typeOf(value) === typeOf(part) && (typeof value !== "boolean" || value === part);
    if (known) return contains(value, part);
    throw new JqError(`${typeOf(value)} and ${typeOf(part)} cannot have their containment checked`);
  }),
  "startswith/1": of1((value, part) => {
    const [text, start] = texts(value, part, "startswith");
    return text.startsWith(start);
  }),
  "endswith/1": of1((value, part) => {
    const [text, end] = texts(value, part, "endswith");
    return text.endsWith(end);
  }),
  "ltrimstr/1": of1(trim(true)),
  "rtrimstr/1": of1(trim(false)),
  "split/1": of1((value, separator) => splitString(...texts(value, separator, "split"))),
  "join/1": of1(join),
  "test/1": test,
  "test/2": test,
  "ascii_downcase/0": of(mapAscii(/[A-Z]+/g, (text) => text.toLowerCase())),
  "ascii_upcase/0": of(mapAscii(/[a-z]+/g, (text) => text.toUpperCase())),
  "to_entries/0": of(toEntries),
  "from_entries/0": of(fromEntries),
  "with_entries/1": defined((entry) => pipe(pipe(call("to_entries"), call("map", entry as Ast)), call("from_entries"))),
  "map/1": defined((member) => ({ type: "array", of: pipe(ITERATE, member as Ast) })),
  "map_values/1": defined((member) => ({ type: "assign", op: "|=", left: ITERATE, right: member as Ast })),
  "first/0": defined(() => ({ type: "index", of: IDENTITY, key: { type: "literal", text: "0" } })),
  "first/1": ([argument], compiler) => {
    const code = compiler.values(argument as Ast);
    if (code.one !== undefined) return code;
    return many((value, env, emit) => {
      const found = firstOf(code, value, env);
      if (found !== undefined) emit(found);
    });
  },
  "select/1": ([condition], compiler) => {
    const code = compiler.values(condition as Ast);
    const { one } = code;
    if (one !== undefined)
      return many((value, env, emit) => {
        if (isTrue(one(value, env))) emit(value);
      });
    return many((value, env, emit) =>
      code.each(value, env, (output) => {
        if (isTrue(output)) emit(value);
      }),
    );
  },
  "recurse/0": defined(() => ({ type: "recurse" })),
  "now/0": (_args, { now }) => single(() => now),
  "sort/0": of((value) => arrayOf(value, "sorted").slice().sort(compareValues)),
  "unique/0": of(unique),
  ...Object.fromEntries(Object.entries(TYPE_FILTERS).map(([name, filter]) => [`${name}/0`, ofType(filter)])),
};

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** `@name` of a value. */
export const FORMATS: Readonly<Record<string, (value: Value) => string>> = {
  "@text": toText,
  "@json": printValue,
  "@base64": (value) => Buffer.from(toText(value), "utf8").toString("base64"),
  "@base64d": (value) => {
    const text = toText(value);
    if (!BASE64.test(text)) throw new Undecided();
    const bytes = Buffer.from(text, "base64");
    const decoded = bytes.toString("utf8");
    // What is no UTF-8 becomes U+FFFD, in ways of each program's own.
    if (decoded.includes("\ufffd")) throw new Undecided();
    return decoded;
  },
};

/** The text of a string with values inside. */
export function interpolation(pieces: readonly (string | Code)[], format: (value: Value) => string): Code {
  const codes = pieces.filter((piece) => typeof piece !== "string").reverse();
  return combine(codes, (values) => {
    let at = values.length;
    return pieces.map((piece) => (typeof piece === "string" ? piece : format(values[--at] as Value))).join("");
  });
}
