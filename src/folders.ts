/** The folders that paths begin at, on machines where one of them is missing. */
import { homedir } from "node:os";
import { isAbsolute, join, normalize, resolve } from "node:path";
import { StorageError } from "./errors.js";

/** Undefined for a user without HOME and without an entry in the system's list of users (containers). */
export function homeFolder(): string | undefined {
  try {
    return homedir() || undefined;
  } catch {
    return undefined;
  }
}

/** Undefined where it was deleted under the process. */
export function workingFolder(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}

/** `~` and `~/…` as the home folder; anything else relative to `directory`, by default the working directory. E_USAGE where that folder is not there. */
export function expandPath(path: string, directory: string | undefined = workingFolder()): string {
  if (path === "~" || path.startsWith("~/")) {
    const home = homeFolder();
    if (home !== undefined) return join(home, path.slice(1));
    throw new StorageError("E_USAGE", `${path} begins with a home folder, and this user has none`, {
      hint: "Set HOME, or name the store by its whole path, e.g. --database /data/llmspell.db.",
    });
  }
  if (isAbsolute(path)) return normalize(path);
  if (directory !== undefined) return resolve(directory, path);
  throw new StorageError("E_USAGE", `${path} is a path from the working directory, which does not exist any more`, {
    hint: "Change to a folder that exists, or give whole paths.",
  });
}
