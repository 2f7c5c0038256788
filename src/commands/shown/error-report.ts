/** How an error is shown: its first line, where it happened, what caused it, what to do. */
import type { StorageError } from "../../errors.js";
import { redact } from "../../redaction.js";
import { visibleText } from "./visible-text.js";

export interface ErrorReport {
  readonly code: string;
  readonly exitStatus: number;
  readonly message: string;
  readonly section?: string;
  readonly key?: string;
  readonly field?: string;
  /** Of an export directory. */
  readonly file?: string;
  readonly causes: readonly string[];
  readonly hint?: string;
  /** The target may have all of the records, or none. */
  readonly outcomeUnknown?: true;
  /** What this run has loaded stays in the target. */
  readonly unfinishedRun?: number;
}

/** `error` without secrets. A foreign key that does not hold is reported by its section, as the migration guide has it. */
export function reportError(error: StorageError): ErrorReport {
  const { section, key, field, file, hint, detail, steps, outcomeUnknown, unfinishedRun } = error.context;
  const isOrphan = error.code === "E_ORPHAN" && section !== undefined;
  const message = isOrphan ? `Failed to import ${section.split(".").at(-1)}` : error.message;
  const causes = [
    ...(isOrphan ? [`Foreign key constraint violation: ${error.message}`] : []),
    ...(detail === undefined ? [] : [detail]),
    ...causeMessages(error.cause),
    ...(steps === undefined ? [] : [`the record came through ${steps.join(", then ")}`]),
  ];
  return {
    code: error.code,
    exitStatus: error.exitStatus,
    message: redact(message),
    ...(section === undefined ? {} : { section }),
    ...(key === undefined ? {} : { key }),
    ...(field === undefined ? {} : { field }),
    ...(file === undefined ? {} : { file }),
    causes: [...new Set(causes.map(redact))].filter((cause) => cause !== "" && cause !== redact(message)),
    ...(hint === undefined ? {} : { hint: redact(hint) }),
    ...(outcomeUnknown === undefined ? {} : { outcomeUnknown }),
    ...(unfinishedRun === undefined ? {} : { unfinishedRun }),
  };
}

function causeMessages(cause: unknown): string[] {
  const messages: string[] = [];
  for (let at = cause; at instanceof Error && messages.length < 10; at = at.cause) {
    messages.push(issuesOf(at) ?? (at.message.split("\n", 1)[0] as string));
  }
  return messages;
}

/** What a schema (zod, and whatever is made like it) has to say of a value; its message is JSON of many lines. */
function issuesOf(error: Error): string | undefined {
  const { issues } = error as { readonly issues?: unknown };
  if (!Array.isArray(issues)) return undefined;
  const texts = issues.map((issue: { readonly path?: unknown; readonly message?: unknown } | null) => {
    const path = Array.isArray(issue?.path) ? issue.path.map(String).join(".") : "";
    return `${path === "" ? "" : `${path}: `}${issue?.message}`;
  });
  return texts.join("; ");
}

/** The lines for a terminal. */
export function errorLines(report: ErrorReport): string[] {
  // Only a hint of jq's syntax has lines: the expression's, and one that points into it.
  const { code, hint } = report;
  const hints = hint === undefined ? [] : code === "E_JQ_SYNTAX" ? `Hint: ${hint}`.split("\n") : [`Hint: ${hint}`];
  const place = [
    report.file === undefined ? "" : `file ${report.file}`,
    report.section === undefined ? "" : `section ${report.section}`,
    report.key === undefined ? "" : `record ${report.key}`,
    report.field === undefined ? "" : `field ${report.field}`,
  ].filter((part) => part !== "");
  return [
    `Error: ${report.message} [${report.code}]`,
    ...(place.length === 0 ? [] : [`  at ${place.join(", ")}`]),
    ...report.causes.map((cause) => `Caused by: ${cause}`),
    ...hints,
  ].map(visibleText);
}

/** The stacks of the error and its causes, for --verbose. Lines that are none of a stack may come from data. */
export function errorStack(error: Error): string {
  const stacks: string[] = [];
  for (let at: unknown = error; at instanceof Error && stacks.length < 10; at = at.cause) stacks.push(at.stack ?? "");
  const lines = redact(stacks.join("\ncaused by: ")).split("\n");
  return lines
    .map((line, at) => (at === 0 || /^(caused by: | {4}at )/.test(line) ? line : `    ${line}`))
    .map(visibleText)
    .join("\n");
}
