/** What a command says, and where: results on stdout, everything about the run on stderr. */
import type { StorageError } from "../../errors.js";
import { redact } from "../../redaction.js";
import { errorLines, errorStack, reportError } from "./error-report.js";
import { takeForeignLines, writeOurs } from "./foreign-lines.js";
import { visibleJson, visibleText } from "./visible-text.js";

export interface OutputOptions {
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  /** The result as one JSON object instead of lines for people. */
  readonly json?: boolean | undefined;
  /** The form of what goes to stderr. */
  readonly logFormat?: "text" | "json" | undefined;
  /** Nothing but the document may go to stdout. */
  readonly documentOnStdout?: boolean | undefined;
}

export interface Output {
  /** A line of the result, for people. Not with --quiet or --json. */
  line(text: string): void;
  /** The same of names that are data, as they are: whoever copies them must not get others. */
  names(text: string): void;
  /** The result, with --json. */
  result(value: object): void;
  /** On stderr. Not with --quiet. */
  info(text: string, fields?: object): void;
  /** On stderr. Not with --quiet. */
  warn(text: string): void;
  /** On stderr, also with --quiet. */
  notice(text: string): void;
  /** On stderr, always; with --json also as the result, unless `hasResult`. */
  error(error: StorageError, hasResult?: boolean): void;
}

/** int8 values as JSON strings; everything else as JSON.stringify does, in characters that can be seen. */
function toJson(value: object): string {
  return visibleJson(JSON.stringify(value, (_key, one) => (typeof one === "bigint" ? one.toString() : one)));
}

export function createOutput(options: OutputOptions): Output {
  const { quiet, verbose, json, logFormat, documentOnStdout } = options;
  const writeResult = (text: string): void => {
    if (documentOnStdout) writeOurs(text);
    else process.stdout.write(text);
  };
  // Which then carries nothing else, so that it can be parsed.
  const resultOnStderr = json === true && documentOnStdout === true;
  const log = (level: string, text: string, fields: object = {}, isResult = false): void => {
    const message = redact(text);
    const time = new Date().toISOString();
    const visible = visibleText(message);
    // In a file, lines of many runs follow each other.
    const stamped = process.stderr.isTTY || isResult ? visible : `${time} ${visible}`;
    const line = logFormat === "json" ? toJson({ time, level, message, ...fields }) : stamped;
    // A progress bar may stand in the terminal's line.
    writeOurs(process.stderr.isTTY ? `\r\u001b[K${line}\n` : `${line}\n`);
  };
  if (logFormat === "json")
    takeForeignLines((line) => toJson({ time: new Date().toISOString(), level: "info", message: line }));
  return {
    line(text) {
      if (quiet || json) return;
      if (documentOnStdout) log("info", text, {}, true);
      else process.stdout.write(`${visibleText(redact(text))}\n`);
    },
    names(text) {
      if (!quiet && !json) process.stdout.write(`${visibleText(text)}\n`);
    },
    result(value) {
      if (json) writeResult(`${toJson(value)}\n`);
    },
    info(text, fields) {
      if (!quiet && !resultOnStderr) log("info", text, fields);
    },
    warn(text) {
      if (!quiet && !resultOnStderr) log("warning", logFormat === "json" ? text : `Warning: ${text}`);
    },
    notice(text) {
      if (!resultOnStderr) log("info", text);
    },
    error(error, hasResult = false) {
      const report = reportError(error);
      if (json && !hasResult) writeResult(`${toJson({ error: report })}\n`);
      if (resultOnStderr) return;
      const stack = verbose ? errorStack(error) : undefined;
      if (logFormat === "json") {
        const { message, ...fields } = report;
        log("error", message, stack === undefined ? fields : { ...fields, stack });
      } else {
        const lines = stack === undefined ? errorLines(report) : [...errorLines(report), stack];
        writeOurs(`${lines.join("\n")}\n`);
      }
    },
  };
}
