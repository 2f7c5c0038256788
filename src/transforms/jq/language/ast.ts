/** A jq program as a tree. `at` is an offset into the program's text. */
export type Ast =
  | { readonly type: "identity" }
  | { readonly type: "recurse" }
  /** `optional`: with a `?` behind it, which spares this access only, not what stands before it. */
  | { readonly type: "index"; readonly of: Ast; readonly key: Ast; readonly optional?: boolean }
  | {
      readonly type: "slice";
      readonly of: Ast;
      readonly from: Ast | undefined;
      readonly to: Ast | undefined;
      readonly optional?: boolean;
    }
  | { readonly type: "iterate"; readonly of: Ast; readonly optional?: boolean }
  /** `null`, `true`, `false`, or a number's text. */
  | { readonly type: "literal"; readonly text: string }
  | { readonly type: "string"; readonly format: string | undefined; readonly parts: readonly (string | Ast)[] }
  | { readonly type: "format"; readonly name: string }
  | { readonly type: "array"; readonly of: Ast | undefined }
  | { readonly type: "object"; readonly entries: readonly ObjectEntry[] }
  | { readonly type: "negate"; readonly of: Ast }
  | { readonly type: "pipe" | "comma"; readonly left: Ast; readonly right: Ast }
  | { readonly type: "binary"; readonly op: string; readonly left: Ast; readonly right: Ast }
  /** `op`: `=`, `|=`, `+=`, …, `//=`. */
  | { readonly type: "assign"; readonly op: string; readonly left: Ast; readonly right: Ast }
  | { readonly type: "if"; readonly condition: Ast; readonly then: Ast; readonly otherwise: Ast | undefined }
  | { readonly type: "try"; readonly body: Ast; readonly handler: Ast | undefined }
  | ({ readonly type: "as"; readonly source: Ast; readonly patterns: readonly Pattern[]; readonly body: Ast } & Spelled)
  | ({ readonly type: "fold"; readonly parts: readonly Ast[]; readonly patterns: readonly Pattern[] } & Spelled)
  | ({ readonly type: "def"; readonly body: Ast; readonly rest: Ast } & Spelled)
  | ({ readonly type: "label"; readonly body: Ast } & Spelled)
  | { readonly type: "break"; readonly name: string }
  | { readonly type: "variable"; readonly name: string }
  | { readonly type: "call"; readonly name: string; readonly args: readonly Ast[]; readonly at: number };

/** The tree does not hold all of it: its text does. */
interface Spelled {
  readonly spelling: string;
}

export interface ObjectEntry {
  readonly key: Ast;
  readonly value: Ast;
}

/** A variable's name, or the programs inside a destructuring pattern. */
export type Pattern = { readonly name: string } | { readonly parts: readonly Ast[] };

export const IDENTITY: Ast = { type: "identity" };

export function text(value: string): Ast {
  return { type: "string", format: undefined, parts: [value] };
}

/** The string of a string without interpolation. */
export function constantText(ast: Ast): string | undefined {
  if (ast.type !== "string" || ast.format !== undefined || ast.parts.some((part) => typeof part !== "string"))
    return undefined;
  return ast.parts.join("");
}

export function pipe(left: Ast, right: Ast): Ast {
  if (left.type === "identity") return right;
  return right.type === "identity" ? left : { type: "pipe", left, right };
}

export function call(name: string, ...args: Ast[]): Ast {
  return { type: "call", name, args, at: 0 };
}

/** The nodes right below. */
export function children(ast: Ast): readonly Ast[] {
  switch (ast.type) {
    case "index":
      return [ast.of, ast.key];
    case "slice":
      return [ast.of, ast.from, ast.to].filter((part) => part !== undefined);
    case "iterate":
    case "negate":
      return [ast.of];
    case "array":
      return ast.of === undefined ? [] : [ast.of];
    case "string":
      return ast.parts.filter((part) => typeof part !== "string");
    case "object":
      return ast.entries.flatMap(({ key, value }) => [key, value]);
    case "pipe":
    case "comma":
    case "binary":
    case "assign":
      return [ast.left, ast.right];
    case "if":
      return [ast.condition, ast.then, ast.otherwise].filter((part) => part !== undefined);
    case "try":
      return ast.handler === undefined ? [ast.body] : [ast.body, ast.handler];
    case "as":
      return [ast.source, ...patternParts(ast.patterns), ast.body];
    case "fold":
      return [...ast.parts, ...patternParts(ast.patterns)];
    case "def":
      return [ast.body, ast.rest];
    case "label":
      return [ast.body];
    case "call":
      return ast.args;
    default:
      return [];
  }
}

function patternParts(patterns: readonly Pattern[]): Ast[] {
  return patterns.flatMap((pattern) => ("parts" in pattern ? pattern.parts : []));
}
