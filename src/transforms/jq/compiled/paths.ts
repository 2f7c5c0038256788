/** Programs as paths: what `del`, `=` and `|=` need of their left side. */

import { type Ast, constantText } from "../language/ast.js";
import { attempted, forEachMember, getIndex, isIterable, JqError } from "./access.js";
import { TYPE_FILTERS } from "./builtins.js";
import { type Compiler, NotCompiled, type PathCode } from "./code.js";
import { isTrue, type Value } from "./values.js";

/** The keys of a plain `.a.b.c`. */
export function staticKeys(ast: Ast): string[] | undefined {
  if (ast.type === "identity") return [];
  if (ast.type !== "index" || ast.optional === true) return undefined;
  const key = constantText(ast.key);
  const keys = key === undefined ? undefined : staticKeys(ast.of);
  return keys === undefined ? undefined : [...keys, key as string];
}

export function compilePaths(ast: Ast, compiler: Compiler): PathCode {
  switch (ast.type) {
    case "identity":
      return (value, path, _env, emit) => emit(value, path);
    case "recurse":
      return (value, path, _env, emit) => recurse(value, path, emit);
    case "index": {
      const of = compiler.paths(ast.of);
      const key = compiler.values(ast.key);
      const optional = ast.optional === true;
      return (value, path, env, emit) =>
        key.each(value, env, (name) =>
          of(value, path, env, (found, at) => {
            const member = optional ? attempted(() => getIndex(found, name)) : getIndex(found, name);
            if (member !== undefined) emit(member, { parent: at, key: name });
          }),
        );
    }
    case "iterate": {
      const of = compiler.paths(ast.of);
      return (value, path, env, emit) =>
        of(value, path, env, (found, at) => {
          if (ast.optional !== true || isIterable(found))
            forEachMember(found, (member, key) => emit(member, { parent: at, key }));
        });
    }
    case "pipe": {
      const left = compiler.paths(ast.left);
      const right = compiler.paths(ast.right);
      return (value, path, env, emit) => left(value, path, env, (found, at) => right(found, at, env, emit));
    }
    case "comma": {
      const left = compiler.paths(ast.left);
      const right = compiler.paths(ast.right);
      return (value, path, env, emit) => {
        left(value, path, env, emit);
        right(value, path, env, emit);
      };
    }
    case "if":
      return conditional(ast, compiler);
    case "try":
      return attempt(ast, compiler);
    case "binary":
      if (ast.op === "//") return alternative(ast.left, ast.right, compiler);
      throw new NotCompiled("a path of an operator");
    case "as":
      return binding(ast, compiler);
    case "call":
      return callPaths(ast.name, ast.args, compiler);
    default:
      throw new NotCompiled(`a path of ${ast.type}`);
  }
}

type Emitted = Parameters<PathCode>[3];
type At = Parameters<PathCode>[1];

function recurse(value: Value, path: At, emit: Emitted): void {
  emit(value, path);
  if (isIterable(value)) forEachMember(value, (member, key) => recurse(member, { parent: path, key }, emit));
}

function conditional(ast: Ast & { type: "if" }, compiler: Compiler): PathCode {
  const condition = compiler.values(ast.condition);
  const then = compiler.paths(ast.then);
  const otherwise = compiler.paths(ast.otherwise ?? { type: "identity" });
  return (value, path, env, emit) =>
    condition.each(value, env, (output) => (isTrue(output) ? then : otherwise)(value, path, env, emit));
}

function attempt(ast: Ast & { type: "try" }, compiler: Compiler): PathCode {
  if (ast.handler !== undefined) throw new NotCompiled("a path of catch");
  const body = compiler.paths(ast.body);
  return (value, path, env, emit) => {
    const found: Parameters<Emitted>[] = [];
    try {
      body(value, path, env, (output, at) => found.push([output, at]));
    } catch (error) {
      if (!(error instanceof JqError)) throw error;
    }
    for (const [output, at] of found) emit(output, at);
  };
}

function alternative(leftAst: Ast, rightAst: Ast, compiler: Compiler): PathCode {
  const left = compiler.paths(leftAst);
  const right = compiler.paths(rightAst);
  return (value, path, env, emit) => {
    let found = false;
    left(value, path, env, (output, at) => {
      if (!isTrue(output)) return;
      found = true;
      emit(output, at);
    });
    if (!found) right(value, path, env, emit);
  };
}

function binding(ast: Ast & { type: "as" }, compiler: Compiler): PathCode {
  const [pattern] = ast.patterns;
  if (ast.patterns.length !== 1 || pattern === undefined || !("name" in pattern))
    throw new NotCompiled("destructuring");
  const source = compiler.values(ast.source);
  const { slot, result } = compiler.withVariable(pattern.name, () => compiler.paths(ast.body));
  return (value, path, env, emit) =>
    source.each(value, env, (output) => {
      env[slot] = output;
      result(value, path, env, emit);
    });
}

function callPaths(name: string, args: readonly Ast[], compiler: Compiler): PathCode {
  const [argument] = args;
  if (name === "select" && args.length === 1) {
    const condition = compiler.values(argument as Ast);
    return (value, path, env, emit) =>
      condition.each(value, env, (output) => {
        if (isTrue(output)) emit(value, path);
      });
  }
  const filter = Object.hasOwn(TYPE_FILTERS, name) && args.length === 0 ? TYPE_FILTERS[name] : undefined;
  if (filter !== undefined)
    return (value, path, _env, emit) => {
      if (filter(value)) emit(value, path);
    };
  if (name === "empty" && args.length === 0) return () => {};
  if (name === "recurse" && args.length === 0) return (value, path, _env, emit) => recurse(value, path, emit);
  throw new NotCompiled(`a path of ${name}`);
}
