import type { ByteWriter } from "./byte-writer.js";

/** Up to here a loop is faster than a call into native code. UTF-16 units. */
const SHORT = 48;

/** Appends well-formed text as UTF-8. */
export function writeUtf8(text: string, out: ByteWriter): void {
  if (text.length > SHORT || !writeAscii(text, out)) out.utf8(text);
}

/** False (and nothing is appended) when the text is not ASCII. */
function writeAscii(text: string, out: ByteWriter): boolean {
  out.ensure(text.length);
  const target = out.bytes;
  const start = out.length;
  let seen = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    seen |= unit;
    target[start + i] = unit;
  }
  if (seen > 0x7f) return false;
  out.length = start + text.length;
  return true;
}
