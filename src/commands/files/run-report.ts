/** The report that `--report FILE` asks for: what the run did, or why it failed. */
import type { TransferResult } from "../../api/results.js";
import { StorageError, toStorageError } from "../../errors.js";
import { expandPath } from "../../folders.js";
import { redact } from "../../redaction.js";
import { failureReport, type Report, type RunFacts, reportOf } from "../../reports/report.js";
import { openReportFile, type ReportFile } from "../../reports/report-file.js";
import { RunLog } from "../../reports/run-log.js";
import { reportError } from "../shown/error-report.js";

export interface ReportedRun {
  readonly command: string;
  /** Names of the stores, without passwords. */
  readonly from: string;
  readonly to: string;
  /** What the run was to do, for people. */
  readonly settings: Readonly<Record<string, string | undefined>>;
  /** What the run reads or writes. */
  readonly files: readonly string[];
  /** Warnings so far; looked at when the report is written. */
  readonly warnings: readonly string[];
}

export class RunReport {
  readonly log = new RunLog();
  private readonly started = new Date();

  private constructor(
    private readonly file: ReportFile,
    private readonly run: ReportedRun,
  ) {}

  /** Undefined where none is wanted. What is wrong with its name is told before the run begins. */
  static async open(path: string | undefined, run: ReportedRun): Promise<RunReport | undefined> {
    if (path === undefined) return undefined;
    return new RunReport(await openReportFile(expandPath(path), run.files), run);
  }

  /** Writes what came of it; gives the error where that cannot be written. */
  async done(result: TransferResult, error?: StorageError): Promise<StorageError | undefined> {
    return this.write((facts) => reportOf(facts, result, error && reportError(error)));
  }

  /** Any other report of the run, a comparison for instance. */
  async write(report: (facts: RunFacts) => Report): Promise<StorageError | undefined> {
    const { command, from, to, settings, warnings } = this.run;
    const shown = Object.entries(settings).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, redact(value)]],
    );
    const facts = {
      command,
      from,
      to,
      started: this.started,
      settings: Object.fromEntries(shown) as Record<string, string>,
      warnings: warnings.map(redact),
      ...this.log.end(),
    };
    try {
      await this.file.write(report(facts));
      return undefined;
    } catch (error) {
      await this.file.abort();
      const { code, message, context, cause } = toStorageError(error);
      const hint = "The command itself is done; only its report is lost.";
      const why = code === "E_DISK_FULL" ? "no space is left where it goes" : message;
      return new StorageError(code, `the report was not written: ${why}`, { ...context, hint }, cause);
    }
  }

  /** Why nothing came of it. What hinders the report counts less. */
  async failed(error: unknown): Promise<void> {
    await this.write((facts) => failureReport(facts, reportError(toStorageError(error))));
  }
}
