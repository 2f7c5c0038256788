import type { ByteWriter } from "./byte-writer.js";

/** Up to here a loop is faster than a call into native code. UTF-16 units. */
const SHORT = 48;

/** Appends well-formed text as UTF-8. */
export function writeUtf8(text: string, out: ByteWriter): void {
  if (text.length > SHORT || !writeShort(text, out)) out.utf8(text);
}

/** False (and nothing is appended) where a surrogate is alone. */
function writeShort(text: string, out: ByteWriter): boolean {
  const { length } = text;
  out.ensure(length * 3);
  const target = out.bytes;
  let at = out.length;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) target[at++] = unit;
    else if (unit < 0x800) {
      target[at] = 0xc0 | (unit >> 6);
      target[at + 1] = 0x80 | (unit & 0x3f);
      at += 2;
    } else if (unit >= 0xd800 && unit < 0xe000) {
      const point = text.codePointAt(i) as number;
      if (point < 0x10000) return false;
      target[at] = 0xf0 | (point >> 18);
      target[at + 1] = 0x80 | ((point >> 12) & 0x3f);
      target[at + 2] = 0x80 | ((point >> 6) & 0x3f);
      target[at + 3] = 0x80 | (point & 0x3f);
      at += 4;
      i++;
    } else {
      target[at] = 0xe0 | (unit >> 12);
      target[at + 1] = 0x80 | ((unit >> 6) & 0x3f);
      target[at + 2] = 0x80 | (unit & 0x3f);
      at += 3;
    }
  }
  out.length = at;
  return true;
}
