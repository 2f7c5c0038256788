/**
 * Splits zstd input so that no chunk spans two frames: node:zlib drops whatever follows a frame's end in the same chunk,
 * and a .zst may have many frames (pzstd, `cat a.zst b.zst`). Format: RFC 8878, section 3.
 */
import { StorageError } from "../../errors.js";

const MAGIC = 0xfd2fb528;
const MAGIC_SKIPPABLE = 0x184d2a50;

/** What the frame's next bytes are. */
type Part = "magic" | "skippable" | "header" | "block" | "content";

function damaged(): StorageError {
  return new StorageError("E_DOCUMENT_COMPRESSION", "the compressed document is damaged");
}

/** Bytes of the frame header behind the magic number, from its descriptor byte. */
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSize = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  const dictionary = [0, 1, 2, 4][descriptor & 3] as number;
  return 1 + (singleSegment ? 0 : 1) + dictionary + contentSize;
}

/** Bytes of a block's content, from its three-byte header. */
function blockBytes(header: number): number {
  const type = (header >> 1) & 3;
  if (type === 3) throw damaged();
  return type === 1 ? 1 : header >> 3;
}

export async function* splitZstdFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let part: Part = "magic";
  const field = Buffer.alloc(4);
  let fieldLength = 0;
  let left = 0;
  let checksum = 0;
  let last = false;
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = 0; at < chunk.length; ) {
      if (part === "content") {
        const skipped = Math.min(left, chunk.length - at);
        at += skipped;
        left -= skipped;
        if (left > 0) break;
        part = last ? "magic" : "block";
        if (part === "magic" && at > from) {
          yield chunk.subarray(from, at);
          from = at;
        }
        continue;
      }
      const wanted: number = part === "magic" || part === "skippable" ? 4 : part === "header" ? 1 : 3;
      field[fieldLength++] = chunk[at++] as number;
      if (fieldLength < wanted) continue;
      fieldLength = 0;
      last = false;
      if (part === "magic") {
        const magic = field.readUInt32LE(0);
        if (magic !== MAGIC && (magic & 0xfffffff0) >>> 0 !== MAGIC_SKIPPABLE) throw damaged();
        part = magic === MAGIC ? "header" : "skippable";
      } else if (part === "skippable") {
        left = field.readUInt32LE(0);
        last = true;
        part = "content";
      } else if (part === "header") {
        const descriptor = field[0] as number;
        left = headerBytes(descriptor) - 1;
        checksum = (descriptor & 4) === 0 ? 0 : 4;
        part = "content";
      } else {
        const header = field.readUIntLE(0, 3);
        last = (header & 1) === 1;
        left = blockBytes(header) + (last ? checksum : 0);
        part = "content";
      }
    }
    if (from < chunk.length) yield chunk.subarray(from);
  }
}
