/** Whether a file of an export directory is the one that was written, told by its bytes alone: nothing of it is decoded. */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import type { DirectoryFile } from "../document/directory/manifest.js";
import { readManifest } from "./json-document.js";

const CHUNK_BYTES = 1048576;

/**
 * False also where that cannot be told (a compressed file, one that cannot be read): whoever reads it through has the words for it.
 * @param head what its head says, as it is printed
 */
export async function isAsWritten(
  path: string,
  { bytes, sha256, sections }: DirectoryFile,
  head: string,
  signal: AbortSignal,
): Promise<boolean> {
  const beginning = Buffer.from(head, "utf8");
  const hash = createHash("sha256");
  // Two for all of the file, one of which is read into while the other is hashed: memory outside V8's heap is what its garbage collections go by.
  let [buffer, other] = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)];
  let length = 0;
  let file: FileHandle | undefined;
  let reading: Promise<{ readonly bytesRead: number }> | undefined;
  try {
    file = await open(path);
    reading = file.read(buffer, 0, buffer.length, null);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await reading;
      if (bytesRead === 0) break;
      reading = file.read(other, 0, other.length, null);
      if (length === 0 && !buffer.subarray(0, Math.min(bytesRead, beginning.length)).equals(beginning)) return false;
      hash.update(buffer.subarray(0, bytesRead));
      length += bytesRead;
      [buffer, other] = [other, buffer];
    }
  } catch {
    signal.throwIfAborted();
    return false;
  } finally {
    // One that nobody waits for any more.
    await reading?.catch(() => {});
    await file?.close();
  }
  if (length !== bytes || hash.digest("hex") !== sha256) return false;
  // What the directory's manifest says of the file is what the file says of itself.
  const { total: _total, ...own } = (await readManifest(path)) ?? {};
  return (
    Object.keys(own).length === sections.size &&
    [...sections].every(([name, said]) => own[name]?.records === said.records && own[name]?.sha256 === said.sha256)
  );
}
