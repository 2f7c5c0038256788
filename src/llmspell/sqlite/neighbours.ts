/** What llmspell keeps of an SQLite database outside of it: saved HNSW indexes, and memory of processes that have it open. */
import { readdirSync, readlinkSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { workingFolder } from "../../folders.js";

/** Where llmspell 0.14 saves its indexes: in the folder that it is started in, or beside the database. */
const INDEX_FOLDERS = ["data/hnsw_indices", "hnsw_indices"];

/** What a run that changed vectors of the database has to tell its user. */
export function vectorNotes(path: string): string[] {
  const notes: string[] = [];
  for (const folder of indexFolders(path))
    notes.push(
      `${folder} has HNSW indexes that llmspell saved before this run: delete them, and it builds them from the new vectors`,
    );
  const users = processesWith(path);
  if (users.length > 0)
    notes.push(
      `${users.length === 1 ? "another process has" : "other processes have"} the database open (${users.join(", ")}): llmspell searches indexes in its memory, which do not have the new vectors; start it anew`,
    );
  return notes;
}

function indexFolders(path: string): string[] {
  const bases = new Set([dirname(path), workingFolder() ?? dirname(path)]);
  return [...bases]
    .flatMap((base) => INDEX_FOLDERS.map((name) => join(base, name)))
    .filter((folder) => namesIn(folder).some((name) => name.endsWith(".hnsw")));
}

/** `process 12 (llmspell)` of each that has the file open, as far as this user may see it; Linux only. */
function processesWith(path: string): string[] {
  let real: string;
  try {
    real = realpathSync(path);
  } catch {
    return [];
  }
  return namesIn("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => namesIn(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === real))
    .map((pid) => `process ${pid}`);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
