/** Whether two machines have the same plugin: a digest of its files. */
import { createHash, hash } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { dirname, relative, resolve, sep } from "node:path";
import { resolveModule } from "./load.js";

/** Texts in which other files may be named. */
const PROGRAM = /\.[cm]?[jt]sx?$/i;
/** A text that may be a path beside the file. */
const BESIDE = /(["'`])(\.{1,2}\/[^"'`\n]+)\1/g;
const CHUNK_BYTES = 1048576;

/**
 * SHA-256 of a plugin's module and of the files that it names by relative paths, and these in turn. What it takes from packages, and
 * finds in other ways, is not looked at. Throws what reading throws.
 * @param module a path, or a package's name
 * @param from what a path is relative to
 */
export function digestOfModule(module: string, from: string | undefined): string {
  const entry = resolveModule(module, from);
  const home = dirname(entry);
  const nameOf = (file: string): string =>
    // The module's own name may be another elsewhere.
    file === entry ? "" : relative(home, file).split(sep).join("/");
  const digests = new Map<string, string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    const name = nameOf(file);
    if (digests.has(name)) continue;
    digests.set(name, digestOfFile(file));
    if (!PROGRAM.test(file)) continue;
    for (const [, , path = ""] of readFileSync(file, "utf8").matchAll(BESIDE)) {
      const beside = resolve(dirname(file), path);
      if (statSync(beside, { throwIfNoEntry: false })?.isFile() === true) waiting.push(beside);
    }
  }
  return hash("sha256", JSON.stringify([...digests].sort(([one], [other]) => (one < other ? -1 : 1))));
}

/** Of a file of any size. */
function digestOfFile(path: string): string {
  const file = openSync(path, "r");
  try {
    const sum = createHash("sha256");
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let bytes = readSync(file, chunk); bytes > 0; bytes = readSync(file, chunk))
      sum.update(chunk.subarray(0, bytes));
    return sum.digest("hex");
  } finally {
    closeSync(file);
  }
}
