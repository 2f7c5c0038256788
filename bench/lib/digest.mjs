// The SHA-256 of a document's `data`, read as a stream, compressed or not: equal for equal data whatever they came from.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createGunzip, createZstdDecompress } from "node:zlib";

/** The manifest stands in the last kilobytes. */
const TAIL = 65536;

export async function dataDigest(path) {
  const file = createReadStream(path, { highWaterMark: 1048576 });
  const decompressor = path.endsWith(".gz")
    ? createGunzip()
    : path.endsWith(".zst")
      ? createZstdDecompress()
      : undefined;
  const hash = createHash("sha256");
  let pending = Buffer.alloc(0);
  let begun = false;
  for await (const chunk of decompressor === undefined ? file : file.pipe(decompressor)) {
    let bytes = Buffer.concat([pending, chunk]);
    if (!begun) {
      const at = bytes.indexOf('"data":');
      if (at >= 0) bytes = bytes.subarray(at);
      begun = at >= 0;
    }
    const ready = begun ? Math.max(0, bytes.length - TAIL) : 0;
    hash.update(bytes.subarray(0, ready));
    pending = bytes.subarray(ready);
  }
  const end = pending.lastIndexOf('"manifest":');
  if (!begun || end < 0) throw new Error(`${path} is no whole document`);
  return hash.update(pending.subarray(0, end)).digest("hex");
}

/** Throws unless the document holds exactly the data of that digest. */
export async function expectData(path, digest) {
  if ((await dataDigest(path)) !== digest) throw new Error(`${path} holds other data than were put in`);
}
