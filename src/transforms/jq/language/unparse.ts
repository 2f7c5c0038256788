/** The text of a program, from its tree. */
import { type Ast, constantText } from "./ast.js";

export function unparse(ast: Ast): string {
  switch (ast.type) {
    case "identity":
      return ".";
    case "recurse":
      return "..";
    case "index":
      return index(ast);
    case "iterate":
      return `${base(ast.of)}[]${mark(ast.optional)}`;
    case "slice":
      return slice(ast);
    case "literal":
      return ast.text;
    case "string":
      return (ast.format ?? "") + string(ast.parts);
    case "format":
      return ast.name;
    case "array":
      return `[${ast.of === undefined ? "" : unparse(ast.of)}]`;
    case "object":
      return `{${ast.entries.map(({ key, value }) => `(${unparse(key)}): ${closed(value)}`).join(", ")}}`;
    case "negate":
      return `-${closed(ast.of)}`;
    case "pipe":
      return `${closed(ast.left)} | ${closed(ast.right)}`;
    case "comma":
      return `${closed(ast.left)}, ${closed(ast.right)}`;
    case "binary":
    case "assign":
      return `${closed(ast.left)} ${ast.op} ${closed(ast.right)}`;
    case "if": {
      const otherwise = ast.otherwise === undefined ? "." : unparse(ast.otherwise);
      return `if ${unparse(ast.condition)} then ${unparse(ast.then)} else ${otherwise} end`;
    }
    case "try":
      return `try ${closed(ast.body)}${ast.handler === undefined ? "" : ` catch ${closed(ast.handler)}`}`;
    case "variable":
      return `$${ast.name}`;
    case "call":
      return ast.name + (ast.args.length === 0 ? "" : `(${ast.args.map(unparse).join("; ")})`);
    case "break":
      return `break $${ast.name}`;
    default:
      return ast.spelling;
  }
}

const ATOMS = new Set(["literal", "string", "format", "array", "object", "variable", "call"]);

function closed(ast: Ast): string {
  return ATOMS.has(ast.type) || isPath(ast) ? unparse(ast) : `(${unparse(ast)})`;
}

function isPath(ast: Ast): boolean {
  if (ast.type === "identity") return true;
  return (ast.type === "index" || ast.type === "iterate") && ast.optional !== true && isPath(ast.of);
}

function index({ of, key, optional }: Ast & { type: "index" }): string {
  const name = constantText(key);
  if (name === undefined || !/^[A-Za-z_]\w*$/.test(name)) return `${base(of)}[${unparse(key)}]${mark(optional)}`;
  return `${of.type === "identity" ? "" : base(of)}.${name}${mark(optional)}`;
}

/** What a bracket may follow. */
function base(ast: Ast): string {
  return isPath(ast) ? unparse(ast) : `(${unparse(ast)})`;
}

function mark(optional: boolean | undefined): string {
  return optional === true ? "?" : "";
}

function slice({ of, from, to, optional }: Ast & { type: "slice" }): string {
  const bounds = `${from === undefined ? "" : closed(from)}:${to === undefined ? "" : closed(to)}`;
  return `${base(of)}[${bounds}]${mark(optional)}`;
}

function string(parts: readonly (string | Ast)[]): string {
  const inner = parts.map((part) =>
    typeof part === "string" ? JSON.stringify(part).slice(1, -1) : `\\(${unparse(part)})`,
  );
  return `"${inner.join("")}"`;
}
