/** --tenants-from: the tenants of a run, one a line. */
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { StorageError } from "../../errors.js";

/** Nobody can tell whether a file names them all. */
export const UNPROVEN =
  "only the tenants of --tenants-from are taken: that these are all is not proven (--as-owner, a superuser and BYPASSRLS prove it)";

/** Lines as they are, without those that are empty. E_INPUT_NOT_FOUND, E_USAGE. */
export async function readTenantsFile(path: string): Promise<string[]> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new StorageError("E_INPUT_NOT_FOUND", `the file of --tenants-from cannot be read: ${path}`, {
      detail: error.code ?? error.message,
    });
  });
  if (!isUtf8(bytes)) throw new StorageError("E_USAGE", `the file of --tenants-from is no UTF-8 text: ${path}`);
  const tenants = bytes
    .toString("utf8")
    .replace(/^\ufeff/, "")
    .split(/\r?\n/)
    .filter((line) => line !== "");
  if (tenants.length > 0) return [...new Set(tenants)];
  throw new StorageError("E_USAGE", `the file of --tenants-from names no tenant: ${path}`, {
    hint: "Without --tenants-from and --tenant all tenants' records are taken.",
  });
}
