/**
 * The functions that are compiled.
 * Over 300 lines: a table.
 */

import { type Ast, call, constantText, IDENTITY, pipe } from "../language/ast.js";
import { forEachMember, JqError } from "./access.js";
import { type Code, type Compiler, combine, combineTwo, firstOf, many, NotCompiled, single } from "./code.js";
import { numberOf, Undecided } from "./numbers.js";
import { add, splitString, toText } from "./operators.js";
import { compileTest } from "./regular-expressions.js";
import {
  arrayOf,
  contains,
  fromEntries,
  has,
  join,
  keys,
  length,
  mapAscii,
  texts,
  toEntries,
  toNumber,
  trim,
  unique,
} from "./value-functions.js";
import { compareValues, isNumber, isTrue, JsonObject, printValue, typeOf, type Value } from "./values.js";

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

const ITERATE: Ast = { type: "iterate", of: IDENTITY };

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
