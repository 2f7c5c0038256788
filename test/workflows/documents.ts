/** Comparisons of export documents, by the guide's own means and by their bytes. */
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";

/** SHA-256 of a file, read as a stream. */
export async function fileDigest(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** SHA-256 of a document's `data` part exactly as it is written. */
export function dataDigest(path: string): string {
  const document = readFileSync(path);
  const from = document.indexOf('"data":');
  const to = document.lastIndexOf('"manifest":');
  if (from < 0 || to < from) throw new Error(`${path} is no export document`);
  return createHash("sha256").update(document.subarray(from, to)).digest("hex");
}

/** Records of each array, from the document's manifest. */
export function manifestCounts(path: string): Record<string, number> {
  const document = readFileSync(path);
  const from = document.lastIndexOf('"manifest":') + '"manifest":'.length;
  const manifest = JSON.parse(document.subarray(from, document.lastIndexOf("}")).toString("utf8")) as Record<
    string,
    { records?: number }
  >;
  return Object.fromEntries(
    Object.entries(manifest)
      .filter(([, entry]) => typeof entry === "object")
      .map(([name, entry]) => [name, entry.records ?? 0]),
  );
}
