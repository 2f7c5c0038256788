/** What a program does with a record: which fields it looks at, and whether it can give nothing for it. */
import { type Ast, children, constantText } from "../language/ast.js";
import { TYPE_FILTERS } from "./builtins.js";

export interface Usage {
  /** The fields that it reads or writes; undefined: it may look at any. */
  readonly fields: ReadonlySet<string> | undefined;
  /** The fields that are read or deleted of the record itself, and never made by the program. */
  readonly expected: ReadonlySet<string>;
  /** Every output is the record, changed or not; otherwise every output is something new. */
  readonly keepsRecord: boolean;
}

/** What an output can be. */
const NOTHING = 0;
const RECORD = 1;
const OTHER = 2;

class Tracker {
  readonly fields = new Set<string>();
  readonly expected = new Set<string>();
  /** Made by the program, perhaps only for a while. */
  readonly made = new Set<string>();
  usesAll = false;

  /** `input`: what `.` is. */
  outputs(ast: Ast, input: number): number {
    // What is in variables was counted when they were bound.
    if (input === OTHER) return OTHER;
    switch (ast.type) {
      case "identity":
        return input;
      case "index":
        return this.index(ast, input);
      case "pipe":
        return this.outputs(ast.right, this.outputs(ast.left, input));
      case "comma":
        return this.outputs(ast.left, input) | this.outputs(ast.right, input);
      case "if":
        this.outputs(ast.condition, input);
        return (
          this.outputs(ast.then, input) | (ast.otherwise === undefined ? input : this.outputs(ast.otherwise, input))
        );
      case "binary":
        return this.binary(ast, input);
      case "assign":
        return this.assign(ast, input);
      case "try":
        return this.outputs(ast.body, input) | (ast.handler === undefined ? NOTHING : this.outputs(ast.handler, OTHER));
      case "as": {
        this.consume(ast.source, input);
        if (ast.patterns.some((pattern) => !("name" in pattern))) this.usesAll = true;
        return this.outputs(ast.body, input);
      }
      case "call":
        return this.call(ast, input);
      case "literal":
      case "string":
      case "array":
      case "object":
      case "negate":
      case "slice":
      case "iterate":
      case "variable":
        for (const child of children(ast)) this.consume(child, input);
        return OTHER;
      default:
        this.usesAll = true;
        return OTHER;
    }
  }

  /** The outputs are looked into. */
  private consume(ast: Ast, input: number): void {
    if ((this.outputs(ast, input) & RECORD) !== 0) this.usesAll = true;
  }

  private index({ of, key, optional }: Ast & { type: "index" }, input: number): number {
    const from = this.outputs(of, input);
    this.consume(key, input);
    const name = constantText(key);
    if ((from & RECORD) !== 0) {
      if (name === undefined) this.usesAll = true;
      else this.fields.add(name);
      if (name !== undefined && from === RECORD && optional !== true) this.expected.add(name);
    }
    return OTHER;
  }

  /** The fields that an assignment to `path` makes. */
  private make(path: Ast): void {
    if (path.type === "comma" || path.type === "pipe") {
      this.make(path.left);
      this.make(path.right);
    } else if (path.type === "index") {
      const name = constantText(path.key);
      if (name !== undefined) this.made.add(name);
      this.make(path.of);
    }
  }

  private binary({ op, left, right }: Ast & { type: "binary" }, input: number): number {
    if (op === "//") return this.outputs(left, input) | this.outputs(right, input);
    if (op === "and" || op === "or") {
      this.outputs(left, input);
      this.outputs(right, input);
    } else {
      this.consume(left, input);
      this.consume(right, input);
    }
    return OTHER;
  }

  private assign({ op, left, right }: Ast & { type: "assign" }, input: number): number {
    // What replaces the record itself is no longer the record.
    this.consume(left, input);
    this.make(left);
    if (op === "|=") this.outputs(right, OTHER);
    else this.consume(right, input);
    return input;
  }

  private call({ name, args }: Ast & { type: "call" }, input: number): number {
    const [first] = args;
    if (name === "not" || name === "now" || name === "type" || name === "empty")
      return name === "empty" ? NOTHING : OTHER;
    if (first !== undefined && args.length === 1) {
      const key = constantText(first);
      if (name === "select") {
        this.outputs(first, input);
        return input;
      }
      if (name === "del") {
        this.consume(first, input);
        return input;
      }
      if (name === "first") return this.outputs(first, input);
      if (name === "has" && key !== undefined && (input & RECORD) !== 0) {
        this.fields.add(key);
        return OTHER;
      }
    }
    if ((input & RECORD) !== 0) this.usesAll = true;
    return OTHER;
  }
}

export function usageOf(ast: Ast): Usage {
  const tracker = new Tracker();
  const outputs = tracker.outputs(ast, RECORD);
  const usesAll = tracker.usesAll || outputs === (RECORD | OTHER);
  const expected = new Set([...tracker.expected].filter((name) => !tracker.made.has(name)));
  return { fields: usesAll ? undefined : tracker.fields, expected, keepsRecord: outputs !== OTHER };
}

const ONE_OUTPUT = new Set(
  `not length keys keys_unsorted type tostring tonumber tojson floor add any all has contains startswith endswith ltrimstr
  rtrimstr split join test ascii_downcase ascii_upcase to_entries from_entries with_entries map map_values first recurse now
  sort unique del error`.split(/\s+/),
);

/** Whether there is an output for every record (or an error, which is no dropped record). */
export function alwaysGives(ast: Ast): boolean {
  switch (ast.type) {
    case "identity":
    case "recurse":
    case "literal":
    case "format":
    case "array":
    case "variable":
      return true;
    case "iterate":
      return false;
    case "index":
    case "slice":
      return ast.optional !== true && children(ast).every(alwaysGives);
    case "string":
    case "object":
    case "negate":
    case "pipe":
      return children(ast).every(alwaysGives);
    case "comma":
      return alwaysGives(ast.left) || alwaysGives(ast.right);
    case "binary":
      if (ast.op === "//") return alwaysGives(ast.right);
      return alwaysGives(ast.left) && alwaysGives(ast.right);
    case "assign":
      return ast.op === "|=" || alwaysGives(ast.right);
    case "if":
      return (
        alwaysGives(ast.condition) &&
        alwaysGives(ast.then) &&
        (ast.otherwise === undefined || alwaysGives(ast.otherwise))
      );
    case "try":
      return ast.handler !== undefined && alwaysGives(ast.body) && alwaysGives(ast.handler);
    case "as":
      return ast.patterns.every((pattern) => "name" in pattern) && alwaysGives(ast.source) && alwaysGives(ast.body);
    case "call": {
      if (ast.name === "first" && ast.args.length === 1) return alwaysGives(ast.args[0] as Ast);
      // What takes programs (map, del, …) gives one output whatever they give.
      const programs = ["map", "map_values", "with_entries", "del", "any", "all", "error"].includes(ast.name);
      const known = ONE_OUTPUT.has(ast.name) && !Object.hasOwn(TYPE_FILTERS, ast.name);
      return known && (programs || ast.args.every(alwaysGives));
    }
    default:
      return false;
  }
}

/** What gives at most one output, and takes no longer for it than reading its input. */
const QUICK = new Set(
  `not length keys type tostring tonumber tojson floor has startswith endswith ltrimstr rtrimstr split join ascii_downcase
  ascii_upcase to_entries from_entries empty error now select ${Object.keys(TYPE_FILTERS).join(" ")}`.split(/\s+/),
);
/** The same, for each member of the input. */
const QUICK_LOOPS = new Set(["map", "with_entries", "any", "all"]);
const LONGEST_QUICK_PATTERN = 200;

/**
 * Whether the closures certainly take no longer than reading the record, whatever it holds: each loop goes down from where the
 * one around it stands, and no regular expression tries one text in many ways.
 */
export function isQuick(ast: Ast): boolean {
  if (ast.type === "pipe") return isQuick(ast.left) && isQuick(ast.right);
  if (ast.type === "iterate") return isQuickOne(ast.of);
  return isQuickOne(ast);
}

/** And that there is at most one output: two of many would make a product. */
function isQuickOne(ast: Ast): boolean {
  switch (ast.type) {
    case "identity":
    case "literal":
    case "format":
      return true;
    case "array":
      return ast.of === undefined || isQuick(ast.of);
    case "string":
    case "object":
    case "negate":
    case "pipe":
    case "if":
      return children(ast).every(isQuickOne);
    case "index":
      return isQuickOne(ast.of) && constantText(ast.key) !== undefined;
    case "binary":
      // Of two arrays each item of one is looked for in the other.
      if (ast.op === "-" && ast.left.type !== "literal" && ast.right.type !== "literal") return false;
      return isQuickOne(ast.left) && isQuickOne(ast.right);
    case "assign":
      return isPlainPath(ast.left) && isQuickOne(ast.right);
    case "call": {
      const [first] = ast.args;
      if (ast.name === "del" && first !== undefined) return isPlainPath(first);
      if (ast.name === "test" && first !== undefined) return isQuickPattern(constantText(first));
      if (QUICK_LOOPS.has(ast.name)) return ast.args.every(isQuick);
      return QUICK.has(ast.name) && ast.args.every(isQuickOne);
    }
    default:
      return false;
  }
}

function isPlainPath(ast: Ast): boolean {
  if (ast.type === "comma") return isPlainPath(ast.left) && isPlainPath(ast.right);
  return (
    ast.type === "identity" || (ast.type === "index" && isPlainPath(ast.of) && constantText(ast.key) !== undefined)
  );
}

/** Nothing is repeated. */
function isQuickPattern(pattern: string | undefined): boolean {
  return (
    pattern !== undefined && pattern.length <= LONGEST_QUICK_PATTERN && !/[*+?{]/.test(pattern.replaceAll("(?:", ""))
  );
}
