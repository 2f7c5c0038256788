/** Where in a document a program goes, and what else can be told from its tree. */
import { type Ast, constantText, IDENTITY, pipe, text } from "./language/ast.js";

/** The message says why the program needs the whole document. */
export class NotStreamed extends Error {}

/** One way along a path: keys and `[]` first, any program behind them. */
export type PathStep = { readonly key: string } | { readonly iterate: true } | { readonly ast: Ast };

/** `a.b` for `.a.b`, where it is that simple. */
export function pathText(ast: Ast): string | undefined {
  const ways = waysOf(ast);
  const [way] = ways;
  if (ways.length !== 1 || way === undefined || way.length === 0) return undefined;
  const keys = way.map((step) => ("key" in step ? step.key : undefined));
  return keys.includes(undefined) ? undefined : keys.join(".");
}

/** The ways that a path program goes, one for each alternative of its commas. */
export function waysOf(ast: Ast): PathStep[][] {
  switch (ast.type) {
    case "identity":
      return [[]];
    case "comma":
      return [...waysOf(ast.left), ...waysOf(ast.right)];
    case "pipe":
      return waysOf(ast.left).flatMap((left) => waysOf(ast.right).map((right) => [...left, ...right]));
    case "index": {
      const key = constantText(ast.key);
      if (key === undefined || ast.optional === true) return behind(ast.of, { ast: { ...ast, of: IDENTITY } }, ast.key);
      return waysOf(ast.of).map((way) => [...way, { key }]);
    }
    case "iterate":
      if (ast.optional === true) return behind(ast.of, { ast: { ...ast, of: IDENTITY } });
      return waysOf(ast.of).map((way) => [...way, { iterate: true }]);
    case "slice":
      return behind(ast.of, { ast: { ...ast, of: IDENTITY } }, ast.from, ast.to);
    default:
      return [[{ ast }]];
  }
}

/** An access whose key is a program of the input can be moved behind what it accesses only where the key is closed. */
function behind(of: Ast, step: PathStep, ...keys: readonly (Ast | undefined)[]): PathStep[][] {
  if (!keys.every((key) => key === undefined || isClosed(key)))
    throw new NotStreamed("a key of the path is made from the document");
  return waysOf(of).map((way) => [...way, step]);
}

/** The program of a way, or of the rest of one. */
export function programOf(steps: readonly PathStep[]): Ast {
  let ast: Ast = IDENTITY;
  for (const step of steps) {
    if ("key" in step) ast = { type: "index", of: ast, key: text(step.key) };
    else if ("iterate" in step) ast = { type: "iterate", of: ast };
    else ast = pipe(ast, step.ast);
  }
  return ast;
}

/** Functions of one output. */
const SINGLE = new Set(
  "not length type test startswith endswith contains has now ascii_downcase ascii_upcase tostring tonumber tojson floor".split(
    " ",
  ),
);

/** Gives one value, whatever its input is. */
export function isClosed(ast: Ast): boolean {
  switch (ast.type) {
    case "literal":
      return true;
    case "string":
      return ast.parts.every((part) => typeof part === "string" || isClosed(part));
    case "array":
      return ast.of === undefined || items(ast.of).every(isClosed);
    case "object":
      return ast.entries.every(({ key, value }) => isClosed(key) && isClosed(value));
    case "negate":
      return isClosed(ast.of);
    case "binary":
      return ast.op !== "//" && isClosed(ast.left) && isClosed(ast.right);
    case "pipe":
      return (
        isClosed(ast.left) && ast.right.type === "call" && SINGLE.has(ast.right.name) && ast.right.args.every(isClosed)
      );
    case "call":
      return ast.name === "now" && ast.args.length === 0;
    default:
      return false;
  }
}

function items(ast: Ast): Ast[] {
  return ast.type === "comma" ? [...items(ast.left), ...items(ast.right)] : [ast];
}

/** Gives one value for every input. */
export function isSingle(ast: Ast): boolean {
  switch (ast.type) {
    case "identity":
    case "literal":
      return true;
    case "string":
      return constantText(ast) !== undefined;
    case "index":
      return ast.optional !== true && isSingle(ast.of) && isSingle(ast.key);
    case "binary":
      return ast.op !== "//" && isSingle(ast.left) && isSingle(ast.right);
    case "pipe":
      return isSingle(ast.left) && isSingle(ast.right);
    case "call":
      return SINGLE.has(ast.name) && ast.args.every(isSingle);
    default:
      return false;
  }
}

/** Whether what the paths find is always below the record. */
export function findsNoRecord(paths: Ast): boolean {
  switch (paths.type) {
    case "index":
    case "iterate":
    case "slice":
      return true;
    case "pipe":
      return findsNoRecord(paths.left) || findsNoRecord(paths.right);
    case "comma":
      return findsNoRecord(paths.left) && findsNoRecord(paths.right);
    default:
      return false;
  }
}
