/**
 * Compiles the part of jq whose meaning is certain into closures. Throws NotCompiled for the rest.
 * Over 300 lines: one method per form of the language, behind one switch.
 */

import type { Ast, ObjectEntry } from "../language/ast.js";
import {
  attempted,
  deletePaths,
  forEachMember,
  getIndex,
  getPath,
  getSlice,
  isIterable,
  JqError,
  type Path,
  setPath,
  updateAt,
} from "./access.js";
import { BUILTINS, FORMATS, interpolation } from "./builtins.js";
import {
  type Code,
  type Compiler,
  combine,
  combineTwo,
  type Emit,
  type Env,
  firstOf,
  many,
  NotCompiled,
  type PathCode,
  single,
} from "./code.js";
import { literalNumber } from "./numbers.js";
import { negate, OPERATORS, type Operator } from "./operators.js";
import { compilePaths, staticKeys } from "./paths.js";
import { isTrue, JsonObject, typeOf, type Value } from "./values.js";

/** A whole program: the outputs for an input. Throws JqError, or Undecided where real jq has to be asked. */
export type Program = (value: Value, emit: Emit) => void;

/** `now`: seconds since the epoch. */
export function compileProgram(ast: Ast, now: number): Program {
  const compiler = new ProgramCompiler(now);
  const code = compiler.values(ast);
  const env: Env = new Array(compiler.slots).fill(null);
  const { one } = code;
  return one === undefined ? (value, emit) => code.each(value, env, emit) : (value, emit) => emit(one(value, env));
}

class ProgramCompiler implements Compiler {
  slots = 0;
  private readonly scope = new Map<string, number>();
  constructor(readonly now: number) {}

  withVariable<T>(name: string, compile: () => T): { slot: number; result: T } {
    const outer = this.scope.get(name);
    const slot = this.slots++;
    this.scope.set(name, slot);
    const result = compile();
    if (outer === undefined) this.scope.delete(name);
    else this.scope.set(name, outer);
    return { slot, result };
  }

  paths(ast: Ast): PathCode {
    return compilePaths(ast, this);
  }

  values(ast: Ast): Code {
    switch (ast.type) {
      case "identity":
        return single((value) => value);
      case "recurse":
        return many(recurse);
      case "literal":
        return constant(literal(ast.text));
      case "string":
        return this.string(ast.format, ast.parts);
      case "format":
        return single(formatOf(ast.name));
      case "index":
        return this.index(ast.of, ast.key, ast.optional === true);
      case "slice":
        return this.slice(ast.of, ast.from, ast.to, ast.optional === true);
      case "iterate":
        return this.iterate(ast.of, ast.optional === true);
      case "array":
        return this.array(ast.of);
      case "object":
        return this.object(ast.entries);
      case "negate":
        return mapped(this.values(ast.of), negate);
      case "pipe":
        return this.pipe(ast.left, ast.right);
      case "comma":
        return this.comma(ast.left, ast.right);
      case "binary":
        return this.binary(ast.op, ast.left, ast.right);
      case "assign":
        return this.assign(ast.op, ast.left, ast.right);
      case "if":
        return this.conditional(ast.condition, ast.then, ast.otherwise ?? { type: "identity" });
      case "try":
        return this.attempt(ast.body, ast.handler);
      case "as": {
        const [pattern] = ast.patterns;
        if (ast.patterns.length !== 1 || pattern === undefined || !("name" in pattern))
          throw new NotCompiled("destructuring");
        const source = this.values(ast.source);
        const { slot, result } = this.withVariable(pattern.name, () => this.values(ast.body));
        return bound(source, slot, result);
      }
      case "variable": {
        const slot = this.scope.get(ast.name);
        if (slot === undefined) throw new NotCompiled(`$${ast.name}`);
        return single((_value, env) => env[slot] as Value);
      }
      case "call":
        return this.call(ast.name, ast.args);
      default:
        throw new NotCompiled(ast.type === "fold" ? "reduce and foreach" : ast.type);
    }
  }

  private call(name: string, args: readonly Ast[]): Code {
    if (name === "del" && args.length === 1) return this.deletion(args[0] as Ast);
    const key = `${name}/${args.length}`;
    const builtin = Object.hasOwn(BUILTINS, key) ? BUILTINS[key] : undefined;
    if (builtin === undefined) throw new NotCompiled(key);
    return builtin(args, this);
  }

  private string(format: string | undefined, parts: readonly (string | Ast)[]): Code {
    for (const part of parts)
      if (typeof part === "string" && !part.isWellFormed()) throw new NotCompiled("a lone surrogate");
    if (parts.every((part) => typeof part === "string")) return constant(parts.join(""));
    const pieces = parts.map((part) => (typeof part === "string" ? part : this.values(part)));
    return interpolation(pieces, formatOf(format ?? "@text"));
  }

  private index(of: Ast, keyAst: Ast, optional: boolean): Code {
    const from = this.values(of);
    const key = this.values(keyAst);
    const name = keyAst.type === "string" && key.one !== undefined ? constantOf(keyAst) : undefined;
    const { one } = from;
    if (optional)
      return many((value, env, emit) =>
        key.each(value, env, (wanted) =>
          from.each(value, env, (found) => {
            const member = attempted(() => getIndex(found, wanted));
            if (member !== undefined) emit(member);
          }),
        ),
      );
    if (name === undefined) return combineTwo(from, key, getIndex);
    const get = (value: Value): Value =>
      value instanceof JsonObject ? (value.get(name) ?? null) : getIndex(value, name);
    if (of.type === "identity") return single(get);
    return one === undefined ? mapped(from, get) : single((value, env) => get(one(value, env)));
  }

  private slice(of: Ast, from: Ast | undefined, to: Ast | undefined, optional: boolean): Code {
    const missing = constant(null);
    const codes = [
      to === undefined ? missing : this.values(to),
      from === undefined ? missing : this.values(from),
      this.values(of),
    ];
    if (codes.some((code) => code.one === undefined)) throw new NotCompiled("a slice of many outputs");
    const slice = combine(codes, ([end, start, value]) => [value as Value, start as Value, end as Value]);
    return many((value, env, emit) =>
      slice.each(value, env, (parts) => {
        const [found, start, end] = parts as [Value, Value, Value];
        const part = optional ? attempted(() => getSlice(found, start, end)) : getSlice(found, start, end);
        if (part !== undefined) emit(part);
      }),
    );
  }

  private iterate(of: Ast, optional: boolean): Code {
    const code = this.values(of);
    return many((value, env, emit) =>
      code.each(value, env, (output) => {
        if (!optional || isIterable(output)) forEachMember(output, (member) => emit(member));
      }),
    );
  }

  private array(of: Ast | undefined): Code {
    if (of === undefined) return constant([]);
    const code = this.values(of);
    return single((value, env) => {
      const items: Value[] = [];
      code.each(value, env, (output) => items.push(output));
      return items;
    });
  }

  private object(entries: readonly ObjectEntry[]): Code {
    const codes = entries.flatMap(({ key, value }) => [this.values(key), this.values(value)]);
    return combine(codes, (values) => {
      const members = new Map<string, Value>();
      for (let at = 0; at < values.length; at += 2) {
        const key = values[at] as Value;
        if (typeof key !== "string") throw new JqError(`Cannot use ${typeOf(key)} as object key`);
        members.set(key, values[at + 1] as Value);
      }
      return new JsonObject(members);
    });
  }

  private pipe(leftAst: Ast, rightAst: Ast): Code {
    const left = this.values(leftAst);
    const right = this.values(rightAst);
    const leftOne = left.one;
    const rightOne = right.one;
    if (leftOne !== undefined && rightOne !== undefined)
      return single((value, env) => rightOne(leftOne(value, env), env));
    return many((value, env, emit) => left.each(value, env, (output) => right.each(output, env, emit)));
  }

  private comma(leftAst: Ast, rightAst: Ast): Code {
    const left = this.values(leftAst);
    const right = this.values(rightAst);
    return many((value, env, emit) => {
      left.each(value, env, emit);
      right.each(value, env, emit);
    });
  }

  private binary(op: string, leftAst: Ast, rightAst: Ast): Code {
    const left = this.values(leftAst);
    const right = this.values(rightAst);
    if (op === "and" || op === "or") return logical(left, right, op === "or");
    if (op === "//")
      return many((value, env, emit) => {
        let found = false;
        left.each(value, env, (output) => {
          if (!isTrue(output)) return;
          found = true;
          emit(output);
        });
        if (!found) right.each(value, env, emit);
      });
    return combineTwo(left, right, OPERATORS[op] as Operator);
  }

  private conditional(conditionAst: Ast, thenAst: Ast, otherwiseAst: Ast): Code {
    const condition = this.values(conditionAst);
    const then = this.values(thenAst);
    const otherwise = this.values(otherwiseAst);
    const { one } = condition;
    const thenOne = then.one;
    const otherwiseOne = otherwise.one;
    if (one !== undefined && thenOne !== undefined && otherwiseOne !== undefined)
      return single((value, env) => (isTrue(one(value, env)) ? thenOne(value, env) : otherwiseOne(value, env)));
    return many((value, env, emit) =>
      condition.each(value, env, (output) => (isTrue(output) ? then : otherwise).each(value, env, emit)),
    );
  }

  private attempt(bodyAst: Ast, handlerAst: Ast | undefined): Code {
    const body = this.values(bodyAst);
    const handler = handlerAst === undefined ? undefined : this.values(handlerAst);
    // Messages hold values and are worded as jq words them.
    const sees = handlerAst !== undefined && handlerAst.type !== "literal" && constantOf(handlerAst) === undefined;
    if (sees && !(handlerAst.type === "call" && handlerAst.name === "empty"))
      throw new NotCompiled("catch that reads the error");
    return many((value, env, emit) => {
      const outputs: Value[] = [];
      let failed = false;
      try {
        body.each(value, env, (output) => outputs.push(output));
      } catch (error) {
        if (!(error instanceof JqError)) throw error;
        failed = true;
      }
      for (const output of outputs) emit(output);
      if (failed) handler?.each(null, env, emit);
    });
  }

  private deletion(ast: Ast): Code {
    const paths = this.paths(ast);
    return single((value, env) => {
      const found: (Path | undefined)[] = [];
      paths(value, undefined, env, (_value, path) => found.push(path));
      return deletePaths(value, found);
    });
  }

  private assign(op: string, left: Ast, right: Ast): Code {
    if (op === "|=") return this.update(left, this.values(right));
    const source = this.values(right);
    const { slot, result } = this.withVariable(" assigned", () => {
      const assigned: Ast = { type: "variable", name: " assigned" };
      if (op === "=") return this.set(left, this.values(assigned));
      const body: Ast = { type: "binary", op: op.slice(0, -1), left: { type: "identity" }, right: assigned };
      return this.update(left, this.values(body));
    });
    return bound(source, slot, result);
  }

  /** `assigned` does not depend on its input. */
  private set(left: Ast, assigned: Code): Code {
    const keys = staticKeys(left);
    const value = assigned.one as (value: Value, env: Env) => Value;
    if (keys !== undefined) return single((root, env) => updateAt(root, keys, 0, () => value(null, env)));
    const paths = this.paths(left);
    return single((root, env) => {
      let result = root;
      paths(root, undefined, env, (_value, path) => {
        result = setPath(result, path, value(null, env));
      });
      return result;
    });
  }

  private update(left: Ast, update: Code): Code {
    const keys = staticKeys(left);
    const { one } = update;
    if (keys !== undefined && one !== undefined)
      return single((root, env) => updateAt(root, keys, 0, (old) => one(old, env)));
    const paths = this.paths(left);
    return single((root, env) => {
      const found: (Path | undefined)[] = [];
      paths(root, undefined, env, (_value, path) => found.push(path));
      const gone: (Path | undefined)[] = [];
      let result = root;
      for (const path of found) {
        const value = firstOf(update, getPath(result, path), env);
        if (value === undefined) gone.push(path);
        else result = setPath(result, path, value);
      }
      return gone.length === 0 ? result : deletePaths(result, gone);
    });
  }
}

function constant(value: Value): Code {
  return single(() => value);
}

function constantOf(ast: Ast): string | undefined {
  if (ast.type !== "string" || ast.parts.some((part) => typeof part !== "string")) return undefined;
  return ast.parts.join("");
}

function literal(source: string): Value {
  if (source === "null") return null;
  if (source === "true" || source === "false") return source === "true";
  // jq writes `.5` and `5.`, JSON does not.
  return literalNumber(source.replace(/^\./, "0.").replace(/\.(?!\d)/, ""));
}

function formatOf(name: string): (value: Value) => string {
  const format = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
  if (format === undefined) throw new NotCompiled(name);
  return format;
}

function mapped(code: Code, make: (value: Value) => Value): Code {
  const { one } = code;
  if (one !== undefined) return single((value, env) => make(one(value, env)));
  return many((value, env, emit) => code.each(value, env, (output) => emit(make(output))));
}

function bound(source: Code, slot: number, body: Code): Code {
  const sourceOne = source.one;
  const bodyOne = body.one;
  if (sourceOne !== undefined && bodyOne !== undefined)
    return single((value, env) => {
      env[slot] = sourceOne(value, env);
      return bodyOne(value, env);
    });
  return many((value, env, emit) =>
    source.each(value, env, (output) => {
      env[slot] = output;
      body.each(value, env, emit);
    }),
  );
}

function logical(left: Code, right: Code, isOr: boolean): Code {
  const leftOne = left.one;
  const rightOne = right.one;
  if (leftOne !== undefined && rightOne !== undefined)
    return single((value, env) => (isTrue(leftOne(value, env)) === isOr ? isOr : isTrue(rightOne(value, env))));
  return many((value, env, emit) =>
    left.each(value, env, (first) => {
      if (isTrue(first) === isOr) emit(isOr);
      else right.each(value, env, (second) => emit(isTrue(second)));
    }),
  );
}

function recurse(value: Value, _env: Env, emit: Emit): void {
  emit(value);
  if (isIterable(value)) forEachMember(value, (member) => recurse(member, _env, emit));
}
