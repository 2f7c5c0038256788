/** Warns of stores on this machine that other users can reach. New ones are made for their owner only. */
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";

const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;
const OTHERS_ENTER = 0o001;

/** One line about the file or folder that is there, whoever made it; undefined where others cannot get at it. */
export function accessWarning(path: string): string | undefined {
  if (process.platform === "win32") return undefined;
  try {
    const stats = statSync(path);
    const { mode } = stats;
    if (!stats.isFile() && !stats.isDirectory()) return undefined;
    const needed = stats.isDirectory() ? OTHERS_ENTER : 0;
    const rights = [...(mode & OTHERS_READ ? ["read"] : []), ...(mode & OTHERS_WRITE ? ["write"] : [])];
    if (rights.length === 0 || (mode & needed) !== needed || !isReachable(path)) return undefined;
    const shown = (mode & 0o777).toString(8).padStart(3, "0");
    return `other users may ${rights.join(" and ")} ${path} (mode ${shown}); \`chmod ${stats.isDirectory() ? "700" : "600"}\` keeps it to its owner`;
  } catch {
    return undefined;
  }
}

/** Whether all folders above let others through. */
function isReachable(path: string): boolean {
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    if ((statSync(folder).mode & OTHERS_ENTER) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}
