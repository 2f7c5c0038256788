/** Removes an export directory. */
import { lstat, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { lockDirectory } from "./directory-writer.js";
import { examineDirectory, removeFile } from "./layout.js";
import { MANIFEST_NAME, readManifest } from "./manifest.js";

/** Whether it is a folder, no symlink, with a manifest of ours. */
export async function isOwnDirectory(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats?.isDirectory() !== true) return false;
  return readManifest(path).then(
    (manifest) => manifest !== undefined,
    () => false,
  );
}

/** What the export wrote, and then the folder; throws where it is not empty, or where a run writes there (E_LOCKED). */
export async function removeDirectory(folder: string): Promise<void> {
  const lock = await lockDirectory(folder);
  try {
    const { manifest, leftovers } = await examineDirectory(folder);
    for (const name of [...(manifest?.files.map((file) => file.name) ?? []), ...leftovers])
      await removeFile(join(folder, name));
    // The last: whoever is killed before it is found again by it.
    await removeFile(join(folder, MANIFEST_NAME));
  } catch (error) {
    lock.release();
    throw error;
  }
  await lock.giveUp();
  await rmdir(folder);
}
