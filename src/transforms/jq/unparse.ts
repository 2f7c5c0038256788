/** The text of a program, from its tree. */
import type { Ast } from "./ast.js";

export function unparse(ast: Ast): string {
  switch (ast.type) {
    case "identity":
      return ".";
    case "recurse":
      return "..";
    case "index":
      return `${base(ast.of)}[${unparse(ast.key)}]${mark(ast.optional)}`;
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
      return `{${ast.entries.map(({ key, value }) => `${closed(key)}: ${closed(value)}`).join(", ")}}`;
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
      throw new Error("a break stands inside its label, which has its own text");
    default:
      return ast.spelling;
  }
}

function closed(ast: Ast): string {
  return `(${unparse(ast)})`;
}

/** What a bracket may follow. */
function base(ast: Ast): string {
  const isPath = ast.type === "identity" || ((ast.type === "index" || ast.type === "iterate") && ast.optional !== true);
  return isPath ? unparse(ast) : closed(ast);
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
