/** `--keep N`: documents whose names tell when they were made, of which the newest stay. */
import { lstat, readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isOwnDirectory, removeDirectory } from "../document/directory/remove.js";
import { documentHead } from "../document/files/output.js";
import { isOwnHead } from "../document/header.js";
import { StorageError } from "../errors.js";
import { catalog } from "../llmspell/catalog/index.js";
import type { RunContext } from "../records/run-context.js";
import { type AnyLocation, createSource, databaseOf, filesOf } from "../stores/index.js";

/** Parts of a time (UTC), from the coarsest on, with their digits. */
const PARTS = [
  ["%Y", 4],
  ["%m", 2],
  ["%d", 2],
  ["%H", 2],
  ["%M", 2],
  ["%S", 2],
] as const;

const HINT =
  "As in --output 'backup-%Y-%m-%dT%H%M%SZ.json.gz': %Y %m %d %H %M %S, from the year on, in UTC; %% is a percent sign.";

export interface Retention {
  /** Where the new document goes. */
  readonly location: AnyLocation;
  readonly path: string;
  /**
   * Reads the new document back, and removes all but the `keep` newest of the name's form, itself among them: regular files
   * that begin as this tool's documents do, or, of a directory, this tool's directories. Nothing is removed for a document without records. Gives the names of what was
   * removed, and a line for each that could not be. E_DOCUMENT_*, E_INTERRUPTED.
   */
  apply(written: ReadonlyMap<string, number>, signal: AbortSignal): Promise<Kept>;
}

export interface Kept {
  readonly removed: readonly string[];
  readonly warnings: readonly string[];
}

/** `location`: a document whose file name has the form. E_USAGE. */
export function planRetention(location: AnyLocation, keep: number, now: Date): Retention {
  if (!(Number.isSafeInteger(keep) && keep > 0)) throw new StorageError("E_USAGE", "keep is no positive integer");
  const [file] = filesOf([location]);
  if (file === undefined || databaseOf(location) !== undefined)
    throw new StorageError("E_USAGE", "--keep needs files: the output is none", { hint: HINT });
  const folder = dirname(file);
  const form = parseForm(basename(file));
  if (/%[YmdHMS]/.test(folder))
    throw new StorageError("E_USAGE", "--keep needs the time in the file's name, not in its folder's", { hint: HINT });
  const name = form.nameAt(now);
  const path = join(folder, name);
  return {
    location: { ...location, path } as AnyLocation,
    path,
    async apply(written, signal) {
      await readBack({ ...location, path } as AnyLocation, written, signal);
      if ([...written.values()].every((count) => count === 0))
        return { removed: [], warnings: ["the document has no records: no older ones were removed"] };
      const isFolder = (await lstat(path)).isDirectory();
      const [isOwn, remove] = isFolder
        ? [isOwnDirectory, removeDirectory]
        : [isOwnDocument, (name: string) => rm(name)];
      const others: [time: string, name: string][] = [];
      for (const other of await readdir(folder)) {
        const time = form.timeOf(other);
        if (time === undefined || other === name) continue;
        if (await isOwn(join(folder, other))) others.push([time, other]);
      }
      others.sort(([a], [b]) => (a < b ? 1 : -1));
      const removed: string[] = [];
      const warnings: string[] = [];
      for (const [, other] of others.slice(keep - 1)) {
        try {
          await remove(join(folder, other));
          removed.push(join(folder, other));
        } catch (error) {
          // Another run may have removed it.
          if ((error as NodeJS.ErrnoException).code !== "ENOENT")
            warnings.push(`${join(folder, other)} could not be removed: ${(error as Error).message}`);
        }
      }
      return { removed, warnings };
    },
  };
}

interface Form {
  nameAt(now: Date): string;
  /** In digits, coarse parts first; undefined for another name. */
  timeOf(name: string): string | undefined;
}

function parseForm(template: string): Form {
  const pieces = template.split(/(%.?)/s);
  const found = pieces.filter((piece) => piece.startsWith("%") && piece !== "%%");
  const wanted = PARTS.slice(0, found.length).map(([part]) => part as string);
  if (found.length === 0 || !wanted.every((part) => found.includes(part)))
    throw new StorageError("E_USAGE", "--keep needs a name that tells the time", { hint: HINT });
  const pattern = pieces.map((piece) => {
    const digits = PARTS.find(([part]) => part === piece)?.[1];
    return digits === undefined ? escaped(piece === "%%" ? "%" : piece) : `(\\d{${digits}})`;
  });
  const expression = new RegExp(`^${pattern.join("")}$`, "s");
  return {
    nameAt(now) {
      const [date = "", time = ""] = now.toISOString().split("T");
      const values = [...date.split("-"), ...time.slice(0, 8).split(":")];
      const textOf = (piece: string): string => {
        const at = PARTS.findIndex(([part]) => part === piece);
        if (at >= 0) return values[at] as string;
        return piece === "%%" ? "%" : piece;
      };
      return pieces.map(textOf).join("");
    },
    timeOf(name) {
      const match = expression.exec(name);
      return match === null ? undefined : wanted.map((part) => match[found.indexOf(part) + 1]).join("");
    },
  };
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

async function isOwnDocument(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  return stats?.isFile() === true && isOwnHead((await documentHead(path)) ?? "");
}

/** E_DOCUMENT_MANIFEST, and what else reading finds. */
async function readBack(
  location: AnyLocation,
  written: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const source = await createSource(location, { signal, catalog }, { config: undefined });
  const context: RunContext = {
    signal,
    async reject({ error }) {
      throw error;
    },
    isRejected: () => false,
    warn: () => {},
    leftOut: () => {},
  };
  const found = new Map<string, number>();
  try {
    await source.open(context);
    for await (const batch of source.read({ paths: new Set(written.keys()) }, context)) {
      signal.throwIfAborted();
      found.set(batch.kind.path, (found.get(batch.kind.path) ?? 0) + batch.rows);
      await batch.large?.discard();
    }
  } finally {
    await source.close();
  }
  for (const [section, records] of written)
    if ((found.get(section) ?? 0) !== records)
      throw new StorageError("E_DOCUMENT_MANIFEST", `the document has not the records that were written`, { section });
}
