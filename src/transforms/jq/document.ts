/**
 * Programs for whole documents that can be done section by section, record by record. Nothing is guessed.
 * Over 300 lines: one planner knows every form that can be streamed.
 */
import { type Catalog, isOfSection } from "../../catalog/index.js";
import {
  findsNoRecord,
  isClosed,
  isSingle,
  NotStreamed,
  type PathStep,
  pathText,
  programOf,
  waysOf,
} from "./document-paths.js";
import { type Ast, call, constantText, IDENTITY, pipe } from "./language/ast.js";
import { unparse } from "./language/unparse.js";

/** What is done with the records of one section, in order. */
export type Step =
  /** `ast`: undefined where only jq itself understands it. */
  | { readonly type: "program"; readonly ast: Ast | undefined; readonly source: string }
  /** The records from `from` on, up to `to`. */
  | { readonly type: "slice"; readonly from: number; readonly to: number }
  | { readonly type: "drop" };

export interface DocumentPlan {
  /** By the path of the record kind. */
  readonly steps: Map<string, Step[]>;
  /** What of the program has no effect, for the user. */
  readonly notes: string[];
}

/** Members of a document that are no records: the target or the document's writer makes them. */
const HEADER = new Set(["version", "exported_at", "source_backend", "producer", "migrations", "manifest"]);

interface Target {
  /** Paths of record kinds. */
  readonly kinds: readonly string[];
  /** What is done to each record; undefined: the section itself. */
  readonly record: Ast | undefined;
}

export function planDocument(program: Ast, catalog: Catalog): DocumentPlan {
  const planner = new Planner(catalog);
  for (const piece of pieces(program)) planner.add(piece);
  return planner;
}

function pieces(ast: Ast): Ast[] {
  return ast.type === "pipe" ? [...pieces(ast.left), ...pieces(ast.right)] : [ast];
}

class Planner implements DocumentPlan {
  readonly steps = new Map<string, Step[]>();
  readonly notes: string[] = [];
  constructor(private readonly catalog: Catalog) {}

  add(piece: Ast): void {
    if (piece.type === "identity") return;
    if (piece.type === "call" && piece.name === "del" && piece.args.length === 1) this.delete(piece.args[0] as Ast);
    else if (piece.type === "assign") this.assign(piece);
    else if (piece.type === "object") this.construct(piece);
    else throw refused(piece, "its result depends on more than one record at a time, or is no document");
  }

  private push(kinds: readonly string[], step: Step): void {
    for (const kind of kinds) {
      const steps = this.steps.get(kind);
      if (steps === undefined) this.steps.set(kind, [step]);
      else steps.push(step);
    }
  }

  private delete(paths: Ast): void {
    const records = new Map<string, Ast>();
    for (const way of waysOf(paths)) {
      const [first] = way;
      if (way.length === 1 && first !== undefined && "key" in first && HEADER.has(first.key)) {
        this.notes.push(`.${first.key} is written anew in any case`);
        continue;
      }
      const { kinds, record } = this.target(way, paths);
      if (record === undefined) this.push(kinds, { type: "drop" });
      else
        for (const kind of kinds) {
          const before = records.get(kind);
          records.set(kind, before === undefined ? record : { type: "comma", left: before, right: record });
        }
    }
    for (const [kind, record] of records) this.push([kind], programStep(deletion(record)));
  }

  private assign(piece: Ast & { type: "assign" }): void {
    const ways = waysOf(piece.left);
    for (const way of ways) {
      const [first] = way;
      if (way.length === 1 && first !== undefined && "key" in first && first.key === "data" && piece.op === "=") {
        this.constructData(piece.right, piece);
        return;
      }
      if (first !== undefined && "key" in first && HEADER.has(first.key))
        throw refused(piece, `.${first.key} belongs to the header, which is written anew`);
    }
    const records = new Map<string, Ast>();
    for (const way of ways) {
      const { kinds, record } = this.target(way, piece);
      if (record === undefined) this.assignSection(kinds, piece);
      else
        for (const kind of kinds) {
          const before = records.get(kind);
          records.set(kind, before === undefined ? record : { type: "comma", left: before, right: record });
        }
    }
    if (records.size > 0 && piece.op !== "|=" && !isClosed(piece.right))
      throw refused(piece, "the assigned value is made from the document; |= makes it from the old value");
    for (const [kind, record] of records) this.push([kind], programStep(assignment(record, piece)));
  }

  private assignSection(kinds: readonly string[], piece: Ast & { type: "assign" }): void {
    const { op, right } = piece;
    const isGone = op === "=" && ((right.type === "literal" && right.text === "null") || isEmptyArray(right));
    if (isGone) {
      this.push(kinds, { type: "drop" });
      return;
    }
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1 || !this.catalog.byPath.has(kind))
      throw refused(piece, "it changes several sections at once");
    const steps = op === "|=" ? sectionSteps(right) : op === "=" ? this.sectionValue(right, kind) : undefined;
    if (steps === undefined) throw refused(piece, "the section has to be there as a whole");
    for (const step of steps) this.push([kind], step);
  }

  /** The steps that make a section's new array from its old one. */
  private sectionValue(value: Ast, kind: string): Step[] | undefined {
    const section = `data.${kind}`;
    const relative = withoutSection(value, section);
    return relative === undefined ? undefined : sectionSteps(relative);
  }

  /** `{version: .version, …, data: {…}}` */
  private construct(piece: Ast & { type: "object" }): void {
    let data: Ast | undefined;
    for (const { key, value } of piece.entries) {
      const name = constantText(key);
      if (name === "data") data = value;
      else if (name === undefined || !HEADER.has(name) || pathText(value) !== name)
        throw refused(piece, "members other than the header's own and data are no part of a document");
    }
    if (data === undefined) throw refused(piece, "the result has no data");
    this.constructData(data, piece);
  }

  private constructData(data: Ast, piece: Ast): void {
    if (pathText(data) === "data") return;
    if (data.type !== "object") throw refused(piece, "data has to be made section by section");
    const kept = new Map<string, readonly Step[]>();
    this.collect(data, "", kept, piece);
    for (const { path } of this.catalog.kinds) {
      const steps = kept.get(path);
      if (steps === undefined) this.push([path], { type: "drop" });
      else for (const step of steps) this.push([path], step);
    }
  }

  private collect(
    data: Ast & { type: "object" },
    prefix: string,
    kept: Map<string, readonly Step[]>,
    piece: Ast,
  ): void {
    for (const { key, value } of data.entries) {
      const name = constantText(key);
      const path = `${prefix}${name}`;
      const kinds = name === undefined ? [] : this.kindsOf(path);
      if (kinds.length === 0)
        throw refused(piece, `there is no section ${name === undefined ? "of a made name" : path}`);
      if (pathText(value) === `data.${path}`) for (const kind of kinds) kept.set(kind, []);
      else if (value.type === "object") this.collect(value, `${path}.`, kept, piece);
      else {
        const steps = this.catalog.byPath.has(path) ? this.sectionValue(value, path) : undefined;
        if (steps === undefined) throw refused(piece, `${path} has to be there as a whole`);
        kept.set(path, steps);
      }
    }
  }

  private kindsOf(section: string): string[] {
    return this.catalog.kinds.filter((kind) => isOfSection(kind, section)).map(({ path }) => path);
  }

  private target(way: readonly PathStep[], piece: Ast): Target {
    const keys: string[] = [];
    for (const step of way) {
      if (!("key" in step)) break;
      // Behind a section's array there are no more keys.
      keys.push(step.key);
    }
    const [first, ...names] = keys;
    const section = names.join(".");
    const kinds = names.length === 0 ? [] : this.kindsOf(section);
    if (first !== "data" || kinds.length === 0)
      throw refused(
        piece,
        names.length === 0 || first !== "data"
          ? "it is not about a section's records"
          : `there is no section ${section}`,
      );
    const rest = way.slice(keys.length);
    if (rest.length === 0) return { kinds, record: undefined };
    const depth = this.catalog.byPath.has(section) ? 1 : 2;
    const isEach = rest.length >= depth && rest.slice(0, depth).every((step) => "iterate" in step);
    if (!isEach) throw refused(piece, `it does not go through the records of ${section} one by one`);
    return { kinds, record: programOf(rest.slice(depth)) };
  }
}

/** Deletes what `paths` find in a record; the record itself where they find that. */
function deletion(paths: Ast): Ast {
  if (findsNoRecord(paths)) return call("del", paths);
  const condition = selections(paths);
  if (condition !== undefined) return call("select", pipe(condition, call("not")));
  return inArray(call("del", pipe(ITERATE, paths)));
}

function assignment(paths: Ast, { op, right }: Ast & { type: "assign" }): Ast {
  if (findsNoRecord(paths)) return { type: "assign", op, left: paths, right };
  if (paths.type === "identity" && op === "|=") return call("first", right);
  return inArray({ type: "assign", op, left: pipe(ITERATE, paths), right });
}

const ITERATE: Ast = { type: "iterate", of: IDENTITY };

function inArray(change: Ast): Ast {
  return pipe(pipe({ type: "array", of: IDENTITY }, change), ITERATE);
}

/** The condition of `select(condition)`, where that gives one value. */
function selections(paths: Ast): Ast | undefined {
  const isSelect = paths.type === "call" && paths.name === "select" && paths.args.length === 1;
  return isSelect && isSingle(paths.args[0] as Ast) ? (paths.args[0] as Ast) : undefined;
}

/** The steps of a program that makes a new array from the array `.`. */
function sectionSteps(ast: Ast): Step[] | undefined {
  if (ast.type === "identity") return [];
  if (ast.type === "pipe") {
    const left = sectionSteps(ast.left);
    const right = sectionSteps(ast.right);
    return left === undefined || right === undefined ? undefined : [...left, ...right];
  }
  if (ast.type === "slice" && ast.of.type === "identity") return sliceSteps(ast);
  if (ast.type === "call" && ast.name === "map" && ast.args.length === 1) return [programStep(ast.args[0] as Ast)];
  if (ast.type !== "array" || ast.of === undefined) return undefined;
  const { of } = ast;
  if (of.type === "call" && of.name === "limit" && of.args.length === 2) {
    const count = count0(of.args[0]);
    const inner = count === undefined ? undefined : eachSteps(of.args[1] as Ast);
    return inner === undefined ? undefined : [...inner, { type: "slice", from: 0, to: count as number }];
  }
  return eachSteps(of);
}

/** `.[] | program` */
function eachSteps(ast: Ast): Step[] | undefined {
  const ways = waysOf(ast);
  const [way] = ways;
  if (ways.length !== 1 || way === undefined) return undefined;
  const [first, ...rest] = way;
  if (first === undefined || !("iterate" in first)) return undefined;
  return rest.length === 0 ? [] : [programStep(programOf(rest))];
}

function sliceSteps({ from, to }: Ast & { type: "slice" }): Step[] | undefined {
  const start = from === undefined ? 0 : count0(from);
  const end = to === undefined ? Number.POSITIVE_INFINITY : count0(to);
  return start === undefined || end === undefined ? undefined : [{ type: "slice", from: start, to: end }];
}

/** A whole number that is not negative. */
function count0(ast: Ast | undefined): number | undefined {
  return ast?.type === "literal" && /^\d{1,15}$/.test(ast.text) ? Number(ast.text) : undefined;
}

function isEmptyArray(ast: Ast): boolean {
  return ast.type === "array" && ast.of === undefined;
}

function programStep(ast: Ast): Step {
  return { type: "program", ast, source: unparse(ast) };
}

/** The same program with the section's path, at its beginning, replaced by `.`; undefined where it begins otherwise. */
function withoutSection(ast: Ast, section: string): Ast | undefined {
  if (pathText(ast) === section) return IDENTITY;
  switch (ast.type) {
    case "pipe": {
      const left = withoutSection(ast.left, section);
      return left === undefined ? undefined : pipe(left, ast.right);
    }
    case "slice":
    case "iterate":
    case "index": {
      const inner = withoutSection(ast.of, section);
      if (inner === undefined) return undefined;
      // A bound or a key that looks at the document would look at something else now.
      const parts = ast.type === "slice" ? [ast.from, ast.to] : ast.type === "index" ? [ast.key] : [];
      return parts.every((part) => part === undefined || isClosed(part)) ? { ...ast, of: inner } : undefined;
    }
    case "array": {
      const inner = ast.of === undefined ? undefined : withoutSection(ast.of, section);
      return inner === undefined ? undefined : { ...ast, of: inner };
    }
    case "call": {
      const [count, outputs] = ast.args;
      if (ast.name !== "limit" || ast.args.length !== 2) return undefined;
      const inner = withoutSection(outputs as Ast, section);
      return inner === undefined ? undefined : { ...ast, args: [count as Ast, inner] };
    }
    default:
      return undefined;
  }
}

function refused(ast: Ast, reason: string): NotStreamed {
  return new NotStreamed(`${unparse(ast)}: ${reason}`);
}
