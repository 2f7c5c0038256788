/** `llmspell storage validate`: all that an import of a document would refuse. */
import {
  type DocumentValidation,
  type Finding,
  type FindingGroup,
  type ValidateOptions,
  validateDocument,
} from "../api/document-validation.js";
import { EXIT, StorageError } from "../errors.js";
import { redact } from "../redaction.js";
import { documentLocation, filesOf } from "../stores/index.js";
import { type LinesFile, type LinesForm, openLinesFile } from "./files/lines-file.js";
import { reportError } from "./shown/error-report.js";
import { createProgressDisplay, formatCount } from "./shown/progress.js";
import { type CommonFlags, outputFor } from "./transfer.js";

export interface ValidateFlags extends CommonFlags {
  readonly for?: NonNullable<ValidateOptions["for"]>;
  readonly findings?: string;
  readonly times?: "us" | "s";
  readonly verifyManifest?: boolean;
}

const FINDINGS: LinesForm = { flag: "--findings", noun: "findings", begins: '{"line":' };

/** Gives the exit status. */
export async function runValidate(flags: ValidateFlags, signal: AbortSignal, document: string): Promise<number> {
  const output = outputFor(flags);
  const location = documentLocation(document);
  const name = document === "-" ? "standard input" : redact(document);
  output.line(`Validating ${name}${flags.for === undefined ? "" : ` for ${flags.for}`}...`);
  const stdout = flags.quiet && !flags.json ? "nothing" : "result";
  const file =
    flags.findings === undefined
      ? undefined
      : await openLinesFile(flags.findings, FINDINGS, { files: filesOf([location]), stdout, signal });
  const progress = await createProgressDisplay(output, flags);
  const warnings: string[] = [];
  let result: DocumentValidation;
  try {
    result = await validateDocument(location, {
      signal,
      onStart: (_header, estimate) => progress.start(estimate),
      onProgress: (one) => progress.update(one),
      onFinding: (finding) => file?.write(findingLine(finding)),
      onWarning(message) {
        warnings.push(message);
        output.warn(message);
      },
      ...(flags.for === undefined ? {} : { for: flags.for }),
      ...(flags.times === undefined ? {} : { times: flags.times }),
      ...(flags.verifyManifest === undefined ? {} : { verifyManifest: flags.verifyManifest }),
    });
  } catch (error) {
    await closeQuietly(file);
    throw error;
  } finally {
    progress.stop();
  }
  await file?.close();
  for (const line of resultLines(result)) output.line(line);
  const error = result.findings === 0 ? undefined : invalid(result, flags.findings);
  const { header, sections, seconds, ...rest } = result;
  output.result({
    ...rest,
    ...(header === undefined ? {} : { sourceBackend: header.backend, migrations: header.migrations }),
    sections: Object.fromEntries(sections.map(({ path, records }) => [path, records])),
    seconds: Math.round(seconds * 1000) / 1000,
    warnings,
    ...(error === undefined ? {} : { error: reportError(error) }),
  });
  if (error === undefined) return EXIT.done;
  output.error(error, true);
  return error.exitStatus;
}

/** What the file could not take is behind an error that counts more. */
async function closeQuietly(file: LinesFile | undefined): Promise<void> {
  await file?.close().catch(() => undefined);
}

function findingLine({ file, line, section, key, field, code, message, detail }: Finding): Buffer {
  const place = {
    line: line ?? null,
    ...(file === undefined ? {} : { file }),
    section: section ?? null,
    key: key ?? null,
    field: field ?? null,
  };
  const reason = redact(detail === undefined ? message : `${message}: ${detail}`);
  return Buffer.from(`${JSON.stringify({ ...place, code, reason })}\n`);
}

function resultLines({ records, sections, findings, groups, complete }: DocumentValidation): string[] {
  const what = `${many(records, "record")} in ${many(sections.length, "section")}`;
  if (findings === 0) return [`✅ No findings: ${what}`];
  const counted = many(findings, "finding");
  return [
    `❌ ${counted}: ${what}${complete ? "" : " were read, and not the whole document: references are not checked"}`,
    ...groups.flatMap(groupLines),
  ];
}

function groupLines({ section, code, count, first }: FindingGroup): string[] {
  const { file, line, key, field, message, detail, hint } = first;
  const place = [
    file === undefined ? "" : file,
    line === undefined ? "" : `line ${line}`,
    key === undefined ? "" : `record ${key}`,
    field === undefined ? "" : `field ${field}`,
  ].filter((part) => part !== "");
  const where = place.length === 0 ? "" : `${place.join(", ")}: `;
  return [
    `  - ${section ?? "the document"} [${code}]: ${formatCount(count)}`,
    `      ${count > 1 ? "first: " : ""}${where}${message}${detail === undefined ? "" : ` (${detail})`}`,
    ...(hint === undefined ? [] : [`      Hint: ${hint}`]),
  ];
}

function invalid({ findings, first }: DocumentValidation, file: string | undefined): StorageError {
  const { section, key, field, code, message } = first as Finding;
  return new StorageError("E_DOCUMENT_INVALID", `the document has ${many(findings, "finding")}`, {
    ...(section === undefined ? {} : { section }),
    ...(key === undefined ? {} : { key }),
    ...(field === undefined ? {} : { field }),
    detail: `an import would stop at: ${message} [${code}]`,
    hint:
      file === undefined
        ? "With --findings FILE each of them is written with its line."
        : `They are in ${file}, one per line.`,
  });
}

function many(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}
