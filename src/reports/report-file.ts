/** The file of a report: made before the run begins, so that one that cannot be written is known then. */
import { open, stat } from "node:fs/promises";
import { openFileOutput, resolveLinks } from "../document/files/output.js";
import { StorageError } from "../errors.js";
import { PAGE_BEGIN, reportPage } from "./page.js";
import type { Report } from "./report.js";

/** What every report as JSON begins with. */
const JSON_BEGIN = '{"report":"llmspell-storage",';

export interface ReportFile {
  /** Puts the report under its name, whole. E_DISK_FULL, E_IO. */
  write(report: Report): Promise<void>;
  /** Leaves what was there. */
  abort(): Promise<void>;
}

/** `files`: what the run reads or writes. E_USAGE, E_OUTPUT_EXISTS for a file that is no report, E_READ_ONLY, E_IO. */
export async function openReportFile(path: string, files: readonly string[]): Promise<ReportFile> {
  const form = /\.(html?|json)$/i.exec(path)?.[1]?.toLowerCase();
  if (form === undefined)
    throw new StorageError("E_USAGE", `--report takes a name that ends in .html or .json, not ${path}`);
  const final = await resolveLinks(path).catch((error) => {
    throw error instanceof StorageError ? error : unwritable(path, error);
  });
  const used = await Promise.all(files.map((file) => resolveLinks(file).catch(() => file)));
  if (used.includes(final)) throw new StorageError("E_USAGE", "--report names a file that the run reads or writes");
  await refuseOtherFile(path);
  const output = await openFileOutput(path, true).catch((error) => {
    throw error instanceof StorageError && error.code !== "E_IO" ? error : unwritable(path, error);
  });
  return {
    async write(report) {
      const text = form === "json" ? reportJson(report) : reportPage(report);
      await output.write(Buffer.from(text));
      await output.finish();
    },
    abort: () => output.abort(),
  };
}

/** A key a line, so that two reports can be compared. */
function reportJson(report: Report): string {
  const [first, ...rest] = Object.entries(report).map(
    ([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`,
  );
  return `{${first},\n${rest.join(",\n")}}\n`;
}

async function refuseOtherFile(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined || stats.size === 0) return;
  if (stats.isFile()) {
    const file = await open(path, "r").catch((error) => {
      throw unwritable(path, error);
    });
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(PAGE_BEGIN.length), 0, PAGE_BEGIN.length, 0);
      const begin = buffer.toString("latin1", 0, bytesRead);
      if (begin === PAGE_BEGIN || begin.startsWith(JSON_BEGIN)) return;
    } finally {
      await file.close();
    }
  } else if (!stats.isDirectory()) return;
  throw new StorageError("E_OUTPUT_EXISTS", `${path} exists and is no report`, {
    hint: "Choose another name for --report.",
  });
}

function unwritable(path: string, error: unknown): StorageError {
  const cause = error instanceof StorageError ? error.cause : error;
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR")
    return new StorageError("E_USAGE", `the folder of the report ${path} does not exist`, {}, cause);
  return new StorageError("E_READ_ONLY", `the report ${path} cannot be written`, {}, cause);
}
