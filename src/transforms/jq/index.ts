/** `--jq EXPRESSION` (docs/jq.md): for the records of a section, or for the whole document where that can be streamed. */
import { type Catalog, isOfSection } from "../../catalog/index.js";
import { StorageError } from "../../errors.js";
import type { Transform } from "../transform.js";
import { type DocumentPlan, planDocument, type Step } from "./document.js";
import { NotStreamed } from "./document-paths.js";
import { type Ast, children } from "./language/ast.js";
import { JqSyntaxError } from "./language/lexer.js";
import { parseJq } from "./language/parser.js";
import { FIRST_COMPILE_SECONDS, RealJq } from "./real/real-jq.js";
import { JqProgram } from "./records/stage.js";
import { createJqStage, type PlannedStep } from "./records/transform.js";

export interface JqOptions {
  /** The form in which an expression sees embeddings. */
  readonly vectors: "base64" | "json";
  /** What jq itself may take for one record. */
  readonly timeoutSeconds: number;
  readonly catalog: Catalog;
  /** One line for `--verbose`. */
  readonly onInfo?: ((message: string) => void) | undefined;
  /** What `now` is: one time for the whole run, so that both engines and all records see the same. Default: now. */
  readonly now?: number | undefined;
}

/** `sessions: …`: no jq program begins like that. */
const SECTION_FORM = /^\s*([A-Za-z_]\w*(?:\.\w+)*)\s*:(?!:)/;

/** What reaches outside the record, or would end the run. */
const OUTSIDE = new Set(
  `input inputs input_filename input_line_number debug stderr halt halt_error env get_search_list modulemeta
  get_prog_origin get_jq_origin builtins`.split(/\s+/),
);

/**
 * E_JQ_SYNTAX with the column, E_JQ_LIMIT where compiling takes too long, E_JQ_UNSUPPORTED for what needs the whole document at once, E_USAGE for a section that is not
 * there: all before anything is opened.
 */
export async function createJqTransform(expression: string, options: JqOptions): Promise<Transform> {
  try {
    return await createTransform(expression, options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new StorageError("E_JQ_SYNTAX", "jq: the expression is nested too deeply", {}, error);
  }
}

async function createTransform(expression: string, options: JqOptions): Promise<Transform> {
  const { catalog, onInfo = () => {}, vectors, timeoutSeconds, now = Date.now() / 1000 } = options;
  const form = SECTION_FORM.exec(expression);
  const plan =
    form === null ? await documentPlan(expression, options, now) : await sectionPlan(expression, form, options, now);
  for (const note of plan.notes) onInfo(`jq: ${note}`);
  const programs = new Map<string, JqProgram>();
  const steps = new Map<string, PlannedStep[]>();
  /** Of all sections whose records a program gets. */
  const fields = new Map<JqProgram, Set<string>>();
  const fieldsOf = (program: JqProgram): Set<string> => {
    const names = fields.get(program) ?? new Set();
    fields.set(program, names);
    return names;
  };
  for (const [path, planned] of plan.steps) {
    const made = planned.map((step): PlannedStep => {
      if (step.type !== "program") return step;
      const program = programs.get(step.source) ?? new JqProgram(step.source, step.ast, now, timeoutSeconds);
      programs.set(step.source, program);
      return program;
    });
    steps.set(path, made);
    for (const { name } of catalog.byPath.get(path)?.fields ?? [])
      for (const step of made) if (!("type" in step)) fieldsOf(step).add(name);
    onInfo(`jq: ${path}: ${made.map(describe).join(", then ")}`);
  }
  for (const program of programs.values()) {
    if (program.reason === undefined) continue;
    const message = await compileError(program.source, now, timeoutSeconds);
    if (message !== undefined) throw notJq(expression, placeOf(message, expression), message);
  }
  for (const [program, names] of fields) refuseUnknownFields(program, names, expression);
  return createJqStage({ expression, steps, vectors });
}

/** A path that no record can have does nothing, and is said to be wrong rather than that. E_USAGE. */
function refuseUnknownFields(program: JqProgram, fields: ReadonlySet<string>, expression: string): void {
  const unknown = [...program.usage.expected].filter((name) => !fields.has(name));
  if (unknown.length === 0) return;
  throw new StorageError("E_USAGE", `jq ${expression}: the records have no field ${unknown.join(", ")}`, {
    hint: `Their fields are ${[...fields].join(", ")}.`,
  });
}

function describe(step: PlannedStep): string {
  if ("type" in step) return step.type === "drop" ? "dropped" : "counted";
  return step.reason === undefined ? "compiled" : `jq itself (jq-web), because of ${step.reason}`;
}

async function documentPlan(expression: string, options: JqOptions, now: number): Promise<DocumentPlan> {
  const { catalog, timeoutSeconds } = options;
  const ast = await parsed(expression, expression, 0, now, timeoutSeconds);
  try {
    if (ast === undefined) throw new NotStreamed("the expression uses syntax that is not known here");
    refuseOutside(ast);
    return planDocument(ast, catalog);
  } catch (error) {
    if (!(error instanceof NotStreamed)) throw error;
    throw new StorageError(
      "E_JQ_UNSUPPORTED",
      `jq: the expression needs the whole document at once: ${error.message}`,
      {
        hint: `On an exported file: jq '${expression.replaceAll("'", "'\\''")}' in.json > out.json`,
      },
    );
  }
}

async function sectionPlan(
  expression: string,
  form: RegExpExecArray,
  options: JqOptions,
  now: number,
): Promise<DocumentPlan> {
  const { catalog, timeoutSeconds } = options;
  const [{ length }, section = ""] = form;
  const paths = catalog.kinds.map(({ path }) => path);
  const found = catalog.kinds.filter((kind) => isOfSection(kind, section)).map(({ path }) => path);
  if (found.length === 0)
    throw new StorageError("E_USAGE", `jq: unknown section: ${section}`, {
      hint: `The sections are ${paths.join(", ")}.`,
    });
  const source = expression.slice(length);
  const ast = await parsed(source, expression, length, now, timeoutSeconds);
  try {
    if (ast !== undefined) refuseOutside(ast);
  } catch (error) {
    if (!(error instanceof NotStreamed)) throw error;
    throw new StorageError("E_JQ_UNSUPPORTED", `jq: ${error.message}`);
  }
  const steps: [string, Step[]][] = found.map((path) => [path, [{ type: "program", ast, source }]]);
  return { steps: new Map(steps), notes: [] };
}

/** The tree of a program that begins at `offset` of the expression; undefined where only jq itself understands it. */
async function parsed(
  source: string,
  expression: string,
  offset: number,
  now: number,
  seconds: number,
): Promise<Ast | undefined> {
  try {
    return parseJq(source);
  } catch (error) {
    if (!(error instanceof JqSyntaxError)) throw error;
    const message = await compileError(source, now, seconds);
    if (message === undefined) return undefined;
    throw notJq(expression, offset + error.at, error.message);
  }
}

/** Why jq itself refuses the program. */
async function compileError(source: string, now: number, seconds: number): Promise<string | undefined> {
  const jq = new RealJq(source, now, seconds, Math.max(seconds, FIRST_COMPILE_SECONDS));
  try {
    return await jq.compileError();
  } finally {
    jq.close();
  }
}

/** Where the function or variable of a message of jq stands. */
function placeOf(message: string, expression: string): number {
  const name = /^(\$?\w+)(?:\/\d+)? is not defined/.exec(message)?.[1];
  return name === undefined ? 0 : Math.max(0, expression.indexOf(name));
}

function notJq(expression: string, at: number, message: string): StorageError {
  const before = expression.slice(0, at).split("\n");
  const column = (before.at(-1) as string).length;
  const line = expression.split("\n")[before.length - 1] as string;
  const place = before.length > 1 ? `line ${before.length}, column ${column + 1}` : `column ${column + 1}`;
  // Under the line of the expression, which stands behind "Hint: ".
  return new StorageError("E_JQ_SYNTAX", `jq: ${message}, at ${place}`, {
    hint: `${line}\n${" ".repeat("Hint: ".length + column)}^`,
  });
}

function refuseOutside(ast: Ast): void {
  const isOutside = (ast.type === "call" && OUTSIDE.has(ast.name)) || (ast.type === "variable" && ast.name === "ENV");
  if (isOutside) throw new NotStreamed(`${ast.type === "variable" ? "$" : ""}${ast.name} reaches beyond the record`);
  for (const child of children(ast)) refuseOutside(child);
}
