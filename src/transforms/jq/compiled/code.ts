/** What a piece of a program is compiled to. */

import type { Ast } from "../language/ast.js";
import type { Path } from "./access.js";
import type { Value } from "./values.js";

/** Values of variables, by slot. */
export type Env = Value[];
export type Emit = (value: Value) => void;

export interface Code {
  /** Where there is always exactly one output, or an error. */
  readonly one?: (value: Value, env: Env) => Value;
  readonly each: (value: Value, env: Env, emit: Emit) => void;
}

/** Outputs with the path at which they stand in the input. */
export type PathCode = (
  value: Value,
  path: Path | undefined,
  env: Env,
  emit: (value: Value, path: Path | undefined) => void,
) => void;

/** The program is left to real jq; the message says which part. */
export class NotCompiled extends Error {}

export interface Compiler {
  values(ast: Ast): Code;
  paths(ast: Ast): PathCode;
  /** Compiles with a variable; gives its slot too. */
  withVariable<T>(name: string, compile: () => T): { slot: number; result: T };
  /** Seconds since the epoch, the same for the whole run. */
  readonly now: number;
}

export function single(one: (value: Value, env: Env) => Value): Code {
  return { one, each: (value, env, emit) => emit(one(value, env)) };
}

export function many(each: Code["each"]): Code {
  return { each };
}

/** `combine` of each output of each, the first argument's outermost. */
export function combine(codes: readonly Code[], make: (values: Value[]) => Value): Code {
  if (codes.every((code) => code.one !== undefined))
    return single((value, env) => make(codes.map((code) => code.one?.(value, env) as Value)));
  return many((value, env, emit) => {
    const values: Value[] = new Array(codes.length);
    const next = (at: number): void => {
      if (at === codes.length) emit(make(values.slice()));
      else
        (codes[at] as Code).each(value, env, (output) => {
          values[at] = output;
          next(at + 1);
        });
    };
    next(0);
  });
}

/** `make` of each output of both; jq's outer loop is the right one. */
export function combineTwo(left: Code, right: Code, make: (left: Value, right: Value) => Value): Code {
  const leftOne = left.one;
  const rightOne = right.one;
  if (leftOne !== undefined && rightOne !== undefined)
    return single((value, env) => {
      const second = rightOne(value, env);
      return make(leftOne(value, env), second);
    });
  return many((value, env, emit) =>
    right.each(value, env, (second) => left.each(value, env, (first) => emit(make(first, second)))),
  );
}

const STOP = new Error("the first output is there");

/** The first output, without asking for more. */
export function firstOf(code: Code, value: Value, env: Env): Value | undefined {
  if (code.one !== undefined) return code.one(value, env);
  let found: Value | undefined;
  try {
    code.each(value, env, (output) => {
      found = output;
      throw STOP;
    });
  } catch (error) {
    if (error !== STOP) throw error;
  }
  return found;
}
