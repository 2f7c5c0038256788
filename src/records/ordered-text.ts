/** Texts as bytes that may be followed by others, and whose order is that of the texts' UTF-8 bytes: no encoding begins another one. */
import type { ByteWriter } from "../codecs/byte-writer.js";

/** A zero byte is followed by 255, and the text by two zeros: so a text sorts before those that it begins. */
export function writeOrderedText(source: Buffer, start: number, end: number, out: ByteWriter): void {
  let from = start;
  for (let at = start; at < end; at++)
    if (source[at] === 0) {
      out.copy(source, from, at + 1);
      out.byte(0xff);
      from = at + 1;
    }
  out.copy(source, from, end);
  out.byte(0);
  out.byte(0);
}

/** Appends the text; gives where its encoding ends. */
export function readOrderedText(source: Buffer, start: number, out: ByteWriter): number {
  let from = start;
  for (;;) {
    const zero = source.indexOf(0, from);
    if (source[zero + 1] !== 0xff) {
      out.copy(source, from, zero);
      return zero + 2;
    }
    out.copy(source, from, zero + 1);
    from = zero + 2;
  }
}
